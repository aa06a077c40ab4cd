#!/usr/bin/python3
"""Whose a port is: what Linux says of several sockets on one, over whatever network the process has.
usage: datagram_ports.py named OWN PEER [OWN6 PEER6]   ports that are asked for by number
       datagram_ports.py chosen OWN PEER COUNT         prints the ports of COUNT sockets, and keeps them
       datagram_ports.py shared OWN PEER PEER_PORT     sockets with one end and one peer, who sends back what comes"""

import errno
import itertools
import select
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


def getter(sockets, send):
    """Which of the open ones has the answer to what send(b"x") asks."""
    poll = select.poll()
    for s in sockets:
        if s.fileno() >= 0:
            poll.register(s, select.POLLIN)
    send(b"x")
    ready = poll.poll(60000)
    expect(len(ready) == 1, f"{ready} have the answer")
    found = next(i for i, s in enumerate(sockets) if s.fileno() == ready[0][0])
    expect(sockets[found].recv(10) == b"x", "another answer")
    return found


def shared(own, peer, peer_port):
    """Who connects last gets what the peer sends, also by SO_REUSEPORT, and leaves it to the one before."""
    elsewhere = 1 if peer_port != 1 else 2
    for share, address in itertools.product(("a", "p", "ap"), ("0.0.0.0", own)):
        sockets = [datagram_socket(share) for _ in range(4)]
        for s in sockets:
            s.bind((address, PORT))

        def latest(expected, asks, what):
            got = getter(sockets, sockets[asks].send if asks != 2 else lambda x: sockets[2].sendto(x, (peer, peer_port)))
            expect(got == expected, f"'{share}' at {address}: {what}: {got} and not {expected} has it")

        for i in (1, 0, 3):
            expect(failure(sockets[i].connect, (peer, peer_port)) == 0, f"'{share}' at {address}: the peer of another")
            expect(sockets[i].getsockname() == (own, PORT), f"{sockets[i].getsockname()}")
            latest(i, i, f"{i} has connected")
        latest(3, 1, "the first asks")
        latest(3, 2, "one without a peer asks")
        sockets[3].connect((peer, elsewhere))
        latest(0, 1, "3 has another peer")
        sockets[3].connect((peer, peer_port))
        latest(3, 0, "3 is back")
        sockets[1].close()
        latest(3, 0, "1 has closed")
        sockets[3].close()
        latest(0, 0, "3 has closed")
        sockets[0].close()
        latest(2, 2, "nobody has a peer")
        sockets[2].close()


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
    {f.__name__: f for f in (named, chosen, shared)}[sys.argv[1]](*(int(a) if a.isdigit() else a for a in sys.argv[2:]))
