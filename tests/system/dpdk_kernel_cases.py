#!/usr/bin/python3
"""System tests of what becomes of DPDK's devices of software when their interface of the kernel sends nothing, or is moved.
usage: dpdk_kernel_cases.py CASE"""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys

from dpdk_cases import (NAME, TAP, config, device, finish_checksums, kernel_pings, kernel_takes_up, startup, vdev,
                        wait_link)  # first: it knows where lab.py is
from dpdk_peer_cases import OTHER, hardware
from cases import expect
from lab import STACK_IP4, Lab, run_case, wait_until

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
    tried = subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "1540", "limit", "3000"],
                           capture_output=True, check=False) if shutil.which("tc") else None
    if not tried or tried.returncode != 0:
        skip("this kernel has no sch_tbf, or there is no tc")
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
        skip(f"AF_XDP: {e}")
    if not pathlib.Path(XDP_PROGRAM).exists():
        skip(f"there is no {XDP_PROGRAM} (Debian package libxdp1)")
    held(f"net_af_xdp0,iface=macv0,xdp_prog={XDP_PROGRAM}")


if __name__ == "__main__":
    run_case(held_packet, held_xdp)
