#!/usr/bin/python3
"""System tests of what comes and goes around DPDK's devices of software: VLANs over them, and played peers of net_memif.
usage: dpdk_life_cases.py CASE"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lab"), str(HERE / "programs")]
import memif_peer  # noqa: E402
import programs as p  # noqa: E402
from cases import expect, expect_reclaimed  # noqa: E402
from dpdk_cases import (NAME, OUR_MAC, TAP, arp_request, config, device, echo_request, expect_sound,  # noqa: E402
                        finish_checksums, kernel_pings, kernel_takes_up, laboratory, startup, trusting, vdev, wait_link)
from lab import STACK_IP4, Lab, run_case, wait_until  # noqa: E402
from vlan_cases import KERNEL_IP4, OWN_IP4, OWN_IP6, VLAN, vlan_device  # noqa: E402


def vlan():
    """A VLAN over net_tap, and over net_af_packet, which takes the tags out: created, used, deleted under load while the
    untagged network goes on, made again; then its device goes under load, and takes it along."""
    over_vlan("net_tap0,iface=" + TAP, TAP)
    for words in ("link add loom0 type veth peer name loom1", "link set loom0 up"):
        subprocess.run(["ip"] + words.split(), check=True)
    finish_checksums("loom1")
    over_vlan("net_af_packet0,iface=loom0", "loom1", keys="vlan-strip-offload on")


def over_vlan(text, kernels, keys=""):
    tagged = f"{NAME}.{VLAN}"
    create = [f"create sub-interfaces {NAME} {VLAN}", f"set interface ip address {tagged} {OWN_IP4}/24",
              f"set interface ip address {tagged} {OWN_IP6}/64", f"set interface state {tagged} up"]
    with laboratory(vdev(text, keys=keys)) as lab:
        def names():
            return [i["Name"] for i in lab.cli("show", "interface", as_json=True)["interfaces"]]

        kernel_takes_up(kernels)
        relay = vlan_device(lab, name=f"vlan-{kernels}", parent=kernels)
        for words in create:
            lab.cli(*words.split())
        for address in (OWN_IP4, OWN_IP6, STACK_IP4):
            kernel_pings(lab, address=address)
        with p.Nginx(lab, p.Side("kernel", KERNEL_IP4), port=8081) as n:
            p.curl_matches(lab, n, "10m", env=lab.preload())
        with p.Nginx(lab, p.Side("hostloom serves", OWN_IP4, server_env=lab.preload())) as n:
            p.curl_matches(lab, n, "10m")
            expect(("VLAN_STRIP" in lab.cli("show", "hardware-interfaces")) == bool(keys), "tags are taken out where they are to be")
            expect_sound(lab)

            @contextlib.contextmanager
            def load():
                child = lab.spawn(["sh", "-c", f"while :; do curl -sS -m 5 -o /dev/null {n.url('10m')}; sleep 0.1; done"],
                                  name="load", start_new_session=True)
                try:
                    seen = int(device(lab)["rx packets"])
                    wait_until(lambda: int(device(lab)["rx packets"]) > seen + 100, "packets flow")
                    yield
                finally:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()

            for _ in range(5):
                with load():
                    lab.cli("delete", "sub-interface", tagged)
                    expect(names() == [NAME], "it alone is gone")
                    kernel_pings(lab)
                    for words in create:
                        lab.cli(*words.split())
                p.curl_matches(lab, n, "1k")
            with load():
                lab.cli("delete", "dpdk", "vdev", NAME)
                expect(names() == [], "the device takes it along")
        if relay:
            lab.stop(relay)
        else:  # a TAP has taken it along
            subprocess.run(["ip", "link", "del", f"vlan-{kernels}"], capture_output=True, check=False)
        lab.cli("create", "dpdk", "vdev", text, "name", NAME, *keys.split())
        for words in startup() + create:
            lab.cli(*words.split())
        wait_link(lab, "up")
        kernel_takes_up(kernels)
        vlan_device(lab, name=f"vlan-{kernels}", parent=kernels)
        for address in (OWN_IP4, OWN_IP6, STACK_IP4):
            kernel_pings(lab, address=address)
        expect(("VLAN_STRIP" in lab.cli("show", "hardware-interfaces")) == bool(keys), "a command is as good as the stanza")
        expect_reclaimed(lab)  # who was left in the middle hears from the kernel that nobody is there


def memif_peers():
    """net_memif as a server outlives what its clients do: those that go while their packets are read, and answered, those that
    go before they are greeted, those that say nothing until the device is deleted."""
    frames = [arp_request()] + [echo_request(i, 1400) for i in range(memif_peer.SLOTS - 1)]
    with Lab(daemon=False) as lab:
        at = lab.dir / "memif.sock"
        text = f"net_memif0,role=server,id=0,socket={at},socket-abstract=no"
        lab.config_extra = config(trusting(text))
        lab.startup = [f"set interface mac address {NAME} {OUR_MAC.hex(':')}", *startup()]
        lab.start_daemon()

        def peer_sends(waits):
            """All it can; then it is gone. The daemon hears of a link twice a second, and answers who waits for that."""
            peer = memif_peer.Peer(at)
            peer.shake_hands()
            peer.offer()
            if waits:
                wait_link(lab, "up")
            peer.send(frames)
            wait_for_now(lab, lambda: peer.answers() >= 65 if waits else peer.is_being_read())
            peer.close()
            if waits:
                wait_link(lab, "down")

        for _ in range(200):
            peer_sends(waits=False)
        for _ in range(10):
            peer_sends(waits=True)
        for _ in range(200):
            memif_peer.Peer(at).close()
        peer_sends(waits=True)
        silent = [memif_peer.Peer(at) for _ in range(3)]
        for peer in silent:
            peer.hear(memif_peer.HELLO)
        lab.cli("delete", "dpdk", "vdev", NAME)
        for peer in silent:
            expect(peer.socket.recv(128) == b"", "who said nothing is hung up on")
        lab.cli("create", "dpdk", "vdev", text, "name", NAME, "trust-peer")
        for words in lab.startup:
            lab.cli(*words.split())
        peer_sends(waits=True)
        expect_sound(lab)
        log = (lab.dir / "hostloom.log").read_text()
        expect("net_memif0: net_memif trusts its peer" in log, log)


def memif_stalled():
    """net_memif's peers, in either role, that stall where its driver would wait for them on EAL's thread: a server that takes
    nobody, whose queue is full, and a client that reads no answers."""
    with Lab(daemon=False) as lab, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        takes_nobody, at = lab.dir / "stalled.sock", lab.dir / "memif.sock"
        server.bind(str(takes_nobody))
        server.listen(0)
        words = "id=0,socket={},socket-abstract=no"
        lab.config_extra = config(trusting("net_memif0,role=client," + words.format(takes_nobody)),
                                  trusting("net_memif1,role=server," + words.format(at), "memif1"))
        lab.startup = startup() + ["set interface state memif1 up"]
        lab.start_daemon()
        wait_until(lambda: f"Failed to connect socket: {takes_nobody}" in (lab.dir / "hostloom.log").read_text(),
                   "it tries again, and there is no room")
        reads_nothing = memif_peer.Peer(at)
        reads_nothing.begin()
        bell = os.eventfd(0, os.EFD_NONBLOCK)
        try:
            while True:
                reads_nothing.add_ring(0, bell)
        except (BrokenPipeError, ConnectionResetError):
            pass  # hung up on, in place of a TimeoutError
        after = memif_peer.Peer(at)
        after.shake_hands()
        wait_link(lab, "up", "memif1")
        for name in (NAME, "memif1"):
            lab.cli("set", "interface", "state", name, "down")
            lab.cli("delete", "dpdk", "vdev", name)
        lab.stop(lab.daemon)
        expect(lab.daemon.returncode == 0, f"the daemon ended with {lab.daemon.returncode}")


def wait_for_now(lab, condition):
    """Without a pause: the peer is to go in the middle of it."""
    until = time.monotonic() + 120
    while not condition():
        expect(lab.daemon.poll() is None, "the daemon lives")
        expect(time.monotonic() < until, "what was sent is read, and answered")


if __name__ == "__main__":
    run_case(vlan, memif_peers, memif_stalled)
