#!/usr/bin/python3
"""Whose a port is: what Linux says of several sockets on one, over whatever network the process has.
usage: datagram_ports.py named OWN PEER [OWN6 PEER6]   ports that are asked for by number
       datagram_ports.py chosen OWN PEER COUNT         prints the ports of COUNT sockets, and keeps them"""

import errno
import itertools
import signal
import socket
import sys

from checks import expect, failure

REUSE = {"": (), "a": (socket.SO_REUSEADDR,), "p": (socket.SO_REUSEPORT,), "ap": (socket.SO_REUSEADDR, socket.SO_REUSEPORT)}
PORT = 5000


def datagram_socket(share="", address=None, only6=None):
    s = socket.socket(socket.AF_INET6 if address and ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    for option in REUSE[share]:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    if only6 is not None:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
    return s


def bind(share, address, only6=None):
    """The errno, or 0."""
    with datagram_socket(share, address, only6) as s:
        return failure(s.bind, (address, PORT))


def named(own, peer, own6=None, peer6=None):
    for first, second in itertools.product(REUSE, REUSE):
        agree = ("a" in first and "a" in second) or ("p" in first and "p" in second)
        taken = 0 if agree else errno.EADDRINUSE
        for address, is_connected in itertools.product(("0.0.0.0", own), (False, True)):
            what = f"{address} {'with a peer' if is_connected else ''} by '{first}', then by '{second}'"
            with datagram_socket(first, address) as s:
                s.bind((address, PORT))
                if is_connected:
                    s.connect((peer, 9))
                    expect(s.getsockname() == (own, PORT), f"{what}: {s.getsockname()}")
                for other, only6 in (("0.0.0.0", None), (own, None), ("::", 0)):
                    got = bind(second, other, only6)
                    expect(got == taken, f"{what}: {other}: {got}")
                expect(bind(second, "::", 1) == 0, f"{what}: IPv6 alone")
                for other in ("0.0.0.0", own):
                    with datagram_socket(second) as t:
                        if agree:
                            t.bind((other, PORT))
                            expect(failure(t.connect, (peer, 10)) == 0, f"{what}: {other}: a peer of its own")
            expect(bind("", "0.0.0.0") == 0, f"{what}: it is free again")
    # With a port that was chosen.
    with datagram_socket() as s, datagram_socket() as t:
        s.connect((peer, 9))
        expect(failure(t.bind, ("0.0.0.0", s.getsockname()[1])) == errno.EADDRINUSE, "the port of a connect")
        expect(failure(t.bind, s.getsockname()) == errno.EADDRINUSE, "its name")
    if own6:
        for address in ("::", own6):
            with datagram_socket("", address) as s:
                s.bind((address, PORT))
                s.connect((peer6, 9))
                expect(bind("", "::", 0) == bind("", "::", 1) == bind("", own6) == errno.EADDRINUSE, f"{address}")
                expect(bind("", own) == 0, f"{address}: IPv4")
        # An IPv6 socket with a peer of IPv4's has an end of IPv4's.
        with datagram_socket("", "::", 0) as s:
            s.bind(("::", PORT))
            s.connect((f"::ffff:{peer}", 9))
            expect(bind("", own) == bind("", "0.0.0.0") == bind("", "::", 0) == errno.EADDRINUSE, "IPv4's")
            expect(bind("", "::", 1) == 0, "IPv6 alone beside IPv4's")


def chosen(own, peer, count):
    sockets = []
    for i in range(count):
        s = datagram_socket()
        if i % 2:
            s.connect((peer, 1 + i))
        else:
            s.bind((own if i % 4 else "0.0.0.0", 0))
        sockets.append(s)
    print("ports " + " ".join(str(s.getsockname()[1]) for s in sockets), flush=True)
    signal.pause()


if __name__ == "__main__":
    {f.__name__: f for f in (named, chosen)}[sys.argv[1]](*(int(a) if a.isdigit() else a for a in sys.argv[2:]))
