#!/usr/bin/python3
"""System tests of sockets that have one interface alone: by a link-local address (RFC 4007), or by SO_BINDTODEVICE.
usage: link_cases.py CASE"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Lab, wait_until  # noqa: E402
from udp_program_cases import link_addresses  # noqa: E402

STREAMS = [PYTHON, str(pathlib.Path(__file__).resolve().parent / "programs" / "stream_link.py")]
PORT = "7000"


def both_ways(lab, own, host, interface):
    with lab.program([*STREAMS, "echo", PORT], name="echo") as s:
        lab.port_of(s)
        lab.run([*STREAMS, "connects", own, host, PORT, str(interface)], env=lab.preload(), timeout=200)
    with lab.program([*STREAMS, "serves", own, PORT, str(interface)], name="serves", env=lab.preload()) as s:
        lab.port_of(s)
        lab.run([*STREAMS, "asks", own, PORT, "tap0"], timeout=90)
        said = [f"peer {interface} is {interface} at {interface}"] * 2
        wait_until(lambda: lab.output(s).count("peer") == 2, "both are accepted")
        expect(re.findall("peer.*", lab.output(s)) == said, lab.output(s))


def streams(n_workers=1):
    """sin6_scope_id of connect, bind, accept, getsockname and getpeername."""
    with Lab(workers=n_workers) as lab:
        own, host = link_addresses(lab)
        shown = re.search(r"^tap0\s+(\d+)", lab.cli("show", "interface"), re.MULTILINE)
        expect(shown, "tap0 has no index")
        both_ways(lab, own, host, int(shown[1]) + 1)
        expect_reclaimed(lab)


def stream_workers():
    """The same with two workers."""
    streams(2)


def listeners(n_workers=1):
    """Listeners of two links that share a port: each is asked of its own, whichever the flow leads to first."""
    with Lab(workers=n_workers) as lab:
        link_addresses(lab)
        for line in ("create tap id 1 host-if-name tap1", "set interface state tap1 up",
                     "set interface ip address tap0 fe80::5/64", "set interface ip address tap1 fe80::5/64"):
            lab.cli(*line.split())
        shown = lab.cli("show", "interface")
        number = {tap: str(int(re.search(rf"^{tap}\s+(\d+)", shown, re.MULTILINE)[1]) + 1) for tap in ("tap0", "tap1")}
        asked = ["ip", "-6", "-o", "address", "show", "dev", "tap1", "scope", "link", "-tentative"]
        wait_until(lambda: b"fe80" in lab.run(asked).stdout, "nobody else has the kernel's second address")
        serve = [*STREAMS, "links", "fe80::5", PORT, *number.values()]
        with lab.program(serve, name="links", env=lab.preload()) as s:
            lab.port_of(s)
            for tap in ("tap0", "tap1"):
                lab.run([*STREAMS, "asks_links", "fe80::5", PORT, number[tap], tap, "40"], timeout=200)
        expect_reclaimed(lab)


def listener_workers():
    """The same with two workers."""
    listeners(2)


def devices(n_workers=1):
    """SO_BINDTODEVICE before and after bind(), of streams and datagrams, as the kernel has it."""
    programs = [PYTHON, str(pathlib.Path(__file__).resolve().parent / "programs" / "bound_device.py")]
    with Lab(workers=n_workers) as lab:
        lab.cli("create", "loopback", "interface")
        # Both have a tap0, and each its own other one. The program is right about Linux.
        for own, other, peer, env, peer_env in ((STACK_IP4, "loop0", HOST_IP4, lab.preload(), None),
                                                (HOST_IP4, "lo", STACK_IP4, None, lab.preload())):
            with lab.program([*programs, "serves", own, PORT, "tap0", other], name="serves", env=env) as s:
                lab.port_of(s)
                lab.run([*programs, "asks", own, PORT], env=peer_env, timeout=240)
                lab.run([*programs, "connects", peer, own, PORT, "tap0"], env=peer_env, timeout=240)
        expect_reclaimed(lab)


def device_workers():
    """The same with two workers."""
    devices(2)


if __name__ == "__main__":
    laboratory.run_case(streams, stream_workers, listeners, listener_workers, devices, device_workers)
