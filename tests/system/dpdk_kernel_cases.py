#!/usr/bin/python3
"""System tests of what becomes of DPDK's devices of software when their interface of the kernel sends nothing, or is moved.
usage: dpdk_kernel_cases.py CASE"""

import contextlib
import errno
import os
import pathlib
import shutil
import socket
import subprocess
import sys

from dpdk_cases import (NAME, TAP, config, device, finish_checksums, kernel_pings, kernel_takes_up, startup, vdev,
                        wait_link)  # first: it knows where lab.py is
from dpdk_peer_cases import OTHER, hardware
from cases import expect, expect_error
from lab import HOST_IP4, STACK_IP4, Failure, Lab, run_case, wait_until
from memif_cases import ping

# A program for interfaces whose drivers know none; libxdp brings it.
XDP_PROGRAM = "/usr/lib/x86_64-linux-gnu/bpf/xsk_def_xdp_prog.o"
OTHER_IP4, OTHER_IP6, OTHER_KERNEL_IP4 = "10.89.0.2", "fd89::2", "10.89.0.1"


def ip(words):
    subprocess.run(["ip", *words.split()], check=True)


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(77)


@contextlib.contextmanager
def nothing_leaves(name):
    """The kernel keeps what is sent by that interface, but for a packet now and then."""
    subprocess.run(["tc", "qdisc", "add", "dev", name, "root", *"tbf rate 1kbit burst 1540 limit 100000000".split()], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", name, "root"], check=True)


def answers(lab):
    """Commands, and another device, also where workers are to stand still for it."""
    lab.cli("show", "version")
    for state in ("down", "up"):
        lab.cli("set", "interface", "state", OTHER, state)
    kernel_takes_other()
    kernel_pings(lab, address=OTHER_IP4)


def kernel_takes_other():
    for words in (f"addr replace {OTHER_KERNEL_IP4}/24 dev {TAP}", f"link set {TAP} up"):
        ip(words)


def held(text):
    """The interface of a device keeps all that is sent, more than there are slots: its worker goes on, and so do others'
    packets; traffic goes on when the kernel lets it; and the device goes down, and away, while nothing leaves."""
    if not shutil.which("tc"):
        raise Failure("there is no tc (Debian package iproute2)")
    tried = subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "1540", "limit", "3000"],
                           capture_output=True, text=True, check=False)
    if "qdisc kind is unknown" in tried.stderr or "No such file or directory" in tried.stderr:
        skip(f"this kernel has no sch_tbf: {tried.stderr.strip()}")
    expect(tried.returncode == 0, f"tc: {tried.stderr}")
    # What goes by way of macv0 waits at loom0, and is macv0's sender's until it has left.
    for words in ("link add loom0 type veth peer name loom1", "link set loom0 up",
                  "link add link loom0 name macv0 type macvlan mode passthru", "link set macv0 up"):
        ip(words)
    kernel_takes_up("loom1")
    finish_checksums("loom1")
    with Lab(startup=startup() + startup(OTHER, OTHER_IP4, OTHER_IP6),
             config_extra=config(vdev(text), vdev(f"net_tap0,iface={TAP}", OTHER))) as lab:
        def fill():
            """Requests whose replies fill all there is."""
            before = int(device(lab)["ring full"])
            wait_until(lambda: lab.run(["ping", "-q", "-f", "-l", "1000", "-c", "1000", "-s", "1400", "-W", "1", STACK_IP4],
                                       check=False) and int(device(lab)["ring full"]) > before, "there is no room left")

        wait_link(lab, "up")
        kernel_pings(lab)
        with nothing_leaves("loom0"):
            fill()
            answers(lab)
        kernel_pings(lab)
        with nothing_leaves("loom0"):
            fill()
            for state in ("down", "up"):
                lab.cli("set", "interface", "state", NAME, state)
            answers(lab)
            lab.cli("delete", "dpdk", "vdev", NAME)
            answers(lab)
        lab.stop(lab.daemon)
        expect(lab.daemon.returncode == 0, f"the daemon ended with {lab.daemon.returncode}")


def held_packet():
    """net_af_packet: its slots."""
    held("net_af_packet0,iface=macv0")


def held_xdp():
    """net_af_xdp: its ring."""
    try:
        socket.socket(44, socket.SOCK_RAW).close()  # AF_XDP
    except OSError as e:
        if e.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            raise
        skip(f"this kernel has no AF_XDP: {e}")
    if not pathlib.Path(XDP_PROGRAM).exists():
        skip(f"there is no {XDP_PROGRAM} (Debian package libxdp1)")
    held(f"net_af_xdp0,iface=macv0,xdp_prog={XDP_PROGRAM}")


@contextlib.contextmanager
def namespace(lab):
    """Another one, with nothing in it: the id of a process there."""
    inside = lab.spawn(["unshare", "--net", "sleep", "infinity"], name="namespace")

    def of(pid):
        return os.readlink(f"/proc/{pid}/ns/net")
    wait_until(lambda: of(inside.pid) != of("self"), "it is in a namespace of its own")
    try:
        yield str(inside.pid)
    finally:
        lab.stop(inside)


def moved():
    """The kernel's end of net_tap is given to another namespace: while it is up, and before it is. It goes on there, down and up
    again; it comes back, under another name as well; and one that is deleted there is gone."""
    text = f"net_tap0,iface={TAP}"
    with Lab(startup=startup(), config_extra=config(vdev(text))) as lab, namespace(lab) as inside:
        def there(words):
            return lab.run(["nsenter", "--net", "-t", inside, *words.split()], check=False)

        def is_reached():
            for words in (f"addr replace {HOST_IP4}/24 dev {TAP}", f"link set {TAP} up"):
                expect(there(f"ip {words}").returncode == 0, words)
            wait_link(lab, "up")
            wait_until(lambda: there(f"ping -c 1 -W 1 {STACK_IP4}").returncode == 0, "it answers there")
            ping(lab, HOST_IP4)

        def set_state(state):
            lab.cli("set", "interface", "state", NAME, state)

        wait_link(lab, "up")
        kernel_takes_up()
        kernel_pings(lab)
        ip(f"link set {TAP} netns {inside}")
        is_reached()
        expect("in another namespace or renamed" in hardware(lab), hardware(lab))
        there(f"ip link set {TAP} down")
        wait_link(lab, "down")
        is_reached()
        set_state("down")
        set_state("up")
        is_reached()
        expect_error(lab, "mtu", "set", "interface", "mtu", "packet", "1400", NAME)
        is_reached()
        there(f"ip link set {TAP} netns {os.getpid()}")
        wait_until(lambda: "renamed" not in hardware(lab), "it is back")
        kernel_takes_up()
        kernel_pings(lab)
        ip(f"link set {TAP} down")
        ip(f"link set {TAP} name {TAP}x")
        kernel_takes_up(f"{TAP}x")
        kernel_pings(lab)
        ip(f"link set {TAP}x down")
        ip(f"link set {TAP}x name {TAP}")
        kernel_takes_up()
        kernel_pings(lab)
        set_state("down")
        ip(f"link set {TAP} netns {inside}")
        set_state("up")
        is_reached()
        lab.cli("create", "dpdk", "vdev", f"net_tap1,iface={TAP}", "name", OTHER)  # the name is free here
        for words in startup(OTHER, OTHER_IP4, OTHER_IP6):
            lab.cli(*words.split())
        kernel_takes_other()
        kernel_pings(lab, address=OTHER_IP4)
        set_state("down")
        set_state("up")
        is_reached()
        kernel_pings(lab, address=OTHER_IP4)
        expect(there(f"ip link del {TAP}").returncode == 0, "it is deleted there")
        wait_link(lab, "down")
        wait_until(lambda: "gone, stopped" in hardware(lab), "it is described as gone and stopped")
        kernel_pings(lab, address=OTHER_IP4)
        lab.cli("delete", "dpdk", "vdev", NAME)
        ip(f"link set {TAP} netns {inside}")
        lab.cli("delete", "dpdk", "vdev", OTHER)
        expect(TAP not in there("ip link").stdout.decode(), "who is deleted while it is there takes it along")


if __name__ == "__main__":
    run_case(held_packet, held_xdp, moved)
