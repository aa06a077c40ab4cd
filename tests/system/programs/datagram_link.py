#!/usr/bin/python3
"""Datagrams of a program that names its link, or sends without checksums, over whatever network the process has.
usage: datagram_link.py scoped OWN HOST PORT INTERFACE   link-local addresses; INTERFACE as recvfrom() has told it
       datagram_link.py kernels ADDRESS DEVICE           a link-local address of the kernel's
       datagram_link.py group OWN GROUP PORT             from OWN, by IP_MULTICAST_IF
       datagram_link.py echo ADDRESS PORT [OWN]          sends back what comes, also to a group, by OWN
       datagram_link.py checks ADDRESS PORT              hears at PORT without, at PORT + 1 with UDP_NO_CHECK6_RX
       datagram_link.py unchecked ADDRESS PORT           sends there with UDP_NO_CHECK6_TX, until both have answered
       datagram_link.py turns ADDRESS PORT PID           the same now and then, while process PID is stopped
       datagram_link.py grow OWN PORT                    PORT + 1 answers, while what comes to PORT waits
       datagram_link.py feed ADDRESS PORT N BYTES        so many there, each followed by a question to PORT + 1"""

import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys

from checks import expect, failure

UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX = 101, 102
IPPROTO_UDP, IPPROTO_IPV6 = 17, 41


def datagram_socket(address="::", port=None, scope=0):
    six = ":" in address
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(120)
    if port is not None:
        s.bind((address, port, 0, scope) if six else (address, port))
    return s


asked = {}  # what each socket has asked


def answered(s, send, question):
    """Asks until there is an answer: neighbours may not be known yet. What was asked before, and again because nobody
    answered within a second, may be answered later."""
    s.settimeout(1)
    before = asked.setdefault(s, set())
    for _ in range(60):
        send(question)
        try:
            while (said := s.recvfrom(100))[0] in before - {question}:
                pass
        except TimeoutError:
            continue
        answer, peer = said
        expect(answer == question, f"the answer is {answer}")
        before.add(question)
        return peer
    sys.exit(f"FAILED: nobody answers {question}")


def scoped(own, host, port, interface):
    """Sockets that have one interface alone talk to this host and to the other one."""
    anybody = datagram_socket("::", port)
    for name in ("connected", "bound"):
        s = datagram_socket(own, 0, interface) if name == "bound" else datagram_socket()
        if name == "connected":
            s.connect((own, port, 0, interface))
            s.send(b"to myself")
        else:
            s.sendto(b"to myself", (own, port, 0, interface))
        question, peer = anybody.recvfrom(100)
        expect(question == b"to myself", f"{name}: {question}")
        expect(peer[0].split("%")[0] == own, f"{name}: from {peer}")
        anybody.sendto(b"from myself", (*peer[:3], interface))
        answer, _ = s.recvfrom(100)
        expect(answer == b"from myself", f"{name}: {answer}")
        if name == "bound":
            peer = answered(s, lambda q: s.sendto(q, (host, port, 0, interface)), b"to the host")
        else:
            s = datagram_socket()
            s.connect((host, port, 0, interface))
            peer = answered(s, s.send, b"to the host")
        expect(peer[0].split("%")[0] == host, f"{name}: from {peer}")
    # Another than it has may not be named.
    other = struct.pack("16sI", bytes(16), interface + 77)
    expect(failure(s.sendmsg, [b"x"], [(IPPROTO_IPV6, socket.IPV6_PKTINFO, other)]) == errno.EINVAL, "IPV6_PKTINFO")
    expect(failure(s.setsockopt, IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface + 77) == errno.ENODEV,
           "IPV6_MULTICAST_IF")
    s.setsockopt(IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface)
    for fresh in (True, False):  # a socket of nobody's yet, and one that is open
        for level, option, value, error in (
                (IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("i", interface + 77), errno.ENODEV),
                (IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("i", -1), errno.ENODEV),
                (IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("i", interface), 0),
                (0, socket.IP_MULTICAST_IF, socket.inet_aton("203.0.113.9"), errno.EADDRNOTAVAIL),
                (0, socket.IP_MULTICAST_IF, struct.pack("8xi", interface + 77), errno.EADDRNOTAVAIL),
                (0, socket.IP_MULTICAST_IF, struct.pack("8xi", interface), 0)):
            s = datagram_socket() if fresh else datagram_socket("::", 0)
            expect(failure(s.setsockopt, level, option, value) == error, f"{level} {option} {value}, {fresh}")
    fresh = datagram_socket()
    for name in (own, host):
        expect(failure(fresh.bind, (name, 0, 0, interface + 77)) == errno.ENODEV, f"{name} is bound to no interface")
    expect(failure(fresh.bind, (host, 0, 0, interface)) in (errno.EADDRNOTAVAIL, errno.ENODEV), "the other end's")
    fresh.bind((own, 0, 0, interface))  # it is nobody's still
    fresh = datagram_socket()
    fresh.setblocking(False)
    expect(failure(fresh.connect, (host, port, 0, interface + 77)) == errno.ENETUNREACH, "no such interface, at once")
    s = datagram_socket("::", 0)  # one that is open, and meets interfaces that there are not
    expect(failure(s.connect, (host, port, 0, interface + 77)) == errno.ENETUNREACH, "no such interface")
    expect(failure(s.connect, (host, port, 0, interface)) == errno.EINVAL, "a second interface")
    to_nobody(s)
    s.connect((host, port, 0, interface))
    answered(s, s.send, b"again")


def to_nobody(s):
    """connect() to AF_UNSPEC, which takes the peer back, and the interface."""
    libc = ctypes.CDLL(None, use_errno=True)
    expect(libc.connect(s.fileno(), bytes(16), 16) == 0, f"AF_UNSPEC: errno {ctypes.get_errno()}")


def kernels(address, device):
    """The kernel's link-local addresses stay its own."""
    s = datagram_socket(address, 0, socket.if_nametoindex(device))
    s.sendto(b"mine", s.getsockname())
    expect(s.recv(100) == b"mine", "from itself")


def group(own, to, port):
    s = datagram_socket(own, 0)
    s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    expect(answered(s, lambda q: s.sendto(q, (to, port)), b"to the group")[0] != own, "answered by itself")
    for opened in (True, False):
        s = datagram_socket("0.0.0.0", 0 if opened else None)
        s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        s.connect((to, port))
        expect(s.getsockname()[0] == own, f"connected from {s.getsockname()}")
        s.send(b"to the group")


def echo(address, port, member=None):
    s = datagram_socket(address, port)
    if member:
        s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(address) + socket.inet_aton(member))
    print(f"port {port}", flush=True)
    s.settimeout(None)
    while True:
        question, peer = s.recvfrom(65536)
        s.sendto(question, peer)


def checks(address, port):
    """Of what has no checksum only the one hears that has said so; of the rest both."""
    sockets = [datagram_socket(address, port + i) for i in range(2)]
    sockets[1].setsockopt(IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    print(f"port {port}", flush=True)
    while True:
        for s in select.select(sockets, [], [])[0]:
            text, peer = s.recvfrom(100)
            print(f"socket {sockets.index(s)} heard {text.decode()}", flush=True)
            s.sendto(text, peer)


def unchecked(address, port):
    s = datagram_socket()
    s.setsockopt(IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
    for i in range(2):  # the second time the neighbour is known
        s.sendto(b"unchecked", (address, port))
        answered(s, lambda q: s.sendto(q, (address, port + 1)), b"unchecked %d" % i)
    s.setsockopt(IPPROTO_UDP, UDP_NO_CHECK6_TX, 0)  # what was sent has left
    for i in range(2):
        answered(s, lambda q, to=port + i: s.sendto(q, (address, to)), b"checked %d" % i)


def turns(address, port, pid):
    """What counts is the option as it was when send() was called, whenever the datagram leaves."""
    s = datagram_socket()
    answered(s, lambda q: s.sendto(q, (address, port)), b"checked")
    s.settimeout(60)
    texts = [(b"checked %d", b"unchecked %d")[i % 2] % i for i in range(6)]
    os.kill(pid, signal.SIGSTOP)
    try:
        for i, text in enumerate(texts):
            s.setsockopt(IPPROTO_UDP, UDP_NO_CHECK6_TX, i % 2)
            for to in (port, port + 1):
                s.sendto(text, (address, to))
        s.setsockopt(IPPROTO_UDP, UDP_NO_CHECK6_TX, 0)
        for to in (port, port + 1):
            s.sendto(b"over", (address, to))
    finally:
        os.kill(pid, signal.SIGCONT)
    heard = {port: [], port + 1: []}
    while not all(b"over" in h for h in heard.values()):
        text, peer = s.recvfrom(100)
        heard[peer[1]].append(text)
    expect(heard[port] == [*texts[::2], b"over"], f"with checksums: {heard[port]}")
    expect(heard[port + 1] == [*texts, b"over"], f"in all: {heard[port + 1]}")


def grow(own, port):
    big, small = (datagram_socket(own, port + i) for i in range(2))
    before = big.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    print(f"port {port}", flush=True)
    small.settimeout(None)
    n = taken = 0
    while True:
        text, peer = small.recvfrom(100)
        if text == b"more":
            big.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            expect(big.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > before, "SO_RCVBUF of an open socket")
        elif text == b"read":
            big.setblocking(False)
            taken = n
            try:
                while True:
                    big.recv(65536)
                    n += 1
            except BlockingIOError:
                text = b"%d" % (n - taken)
        small.sendto(text, peer)


def feed(address, port, count, size):
    """What is read afterwards: less than all by default, all of it with a larger SO_RCVBUF."""
    to, s = (address, port), datagram_socket(address)
    ask = datagram_socket(address)
    ask.connect((address, port + 1))

    def said(text):
        ask.send(text)
        return ask.recv(100)

    def fill():
        for i in range(count):
            s.sendto(bytes(size), to)
            expect(said(b"next %d" % i) == b"next %d" % i, "not in turn")
        return int(said(b"read"))

    before = fill()
    expect(0 < before < count, f"{before} of {count} had room by default")
    expect(said(b"more") == b"more", "no answer")
    # A fragment may be lost on the way, once.
    expect(count in (fill(), fill()), "not all had room")


if __name__ == "__main__":
    {f.__name__: f for f in (scoped, kernels, group, echo, checks, unchecked, turns, grow, feed)}[sys.argv[1]](
        *(int(a) if a.isdigit() else a for a in sys.argv[2:]))
