#!/usr/bin/python3
"""System tests of what comes and goes around DPDK's devices of software: played peers of net_memif.
usage: dpdk_life_cases.py CASE"""

import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lab"), str(HERE / "programs")]
import memif_peer  # noqa: E402
from cases import expect  # noqa: E402
from dpdk_cases import (NAME, OUR_MAC, arp_request, config, echo_request, expect_sound, startup, vdev,  # noqa: E402
                        wait_link)
from lab import Lab, run_case, wait_until  # noqa: E402


def memif_peers():
    """net_memif as a server outlives what its clients do: those that go while their packets are read, and answered, those that
    go before they are greeted, those that say nothing until the device is deleted."""
    frames = [arp_request()] + [echo_request(i, 1400) for i in range(memif_peer.SLOTS - 1)]
    with Lab(daemon=False) as lab:
        at = lab.dir / "memif.sock"
        text = f"net_memif0,role=server,id=0,socket={at},socket-abstract=no"
        lab.config_extra = config(vdev(text))
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
        lab.cli("create", "dpdk", "vdev", text, "name", NAME)
        for words in lab.startup:
            lab.cli(*words.split())
        peer_sends(waits=True)
        expect_sound(lab)
        log = (lab.dir / "hostloom.log").read_text()
        expect(f"{NAME}: net_memif trusts its peer" in log, log)


def wait_for_now(lab, condition):
    """Without a pause: the peer is to go in the middle of it."""
    until = time.monotonic() + 120
    while not condition():
        expect(lab.daemon.poll() is None, "the daemon lives")
        expect(time.monotonic() < until, "what was sent is read, and answered")


if __name__ == "__main__":
    run_case(memif_peers)
