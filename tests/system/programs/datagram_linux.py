#!/usr/bin/python3
"""What a program sees of Linux's datagram sockets, over whatever network the process has: each part holds on the kernel as
well. PEER_ADDRESS echoes on PORT and refuses on port 9; the network has no other routes than to there.
usage: datagram_linux.py routes|sources|arrival|lost|sizes|refused|destination OWN_ADDRESS PEER_ADDRESS PORT"""

import array
import errno
import fcntl
import select
import socket
import struct
import sys
import time

from checks import await_stamps, expect, failure

SOL_UDP, UDP_SEGMENT = 17, 103
SO_RXQ_OVFL, SO_TXTIME, SIOCGSTAMP, SIOCGSTAMPNS = 40, 61, 0x8906, 0x8907
what, own, peer, port = *sys.argv[1:4], int(sys.argv[4])
six = ":" in peer
FAMILY = socket.AF_INET6 if six else socket.AF_INET
LEVEL = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
PKTINFO = socket.IPV6_PKTINFO if six else 8
NOWHERE = ["2001:db8:77::1", "2001:db8:78::2"] if six else ["203.0.113.1", "198.51.100.2"]


def new():
    s = socket.socket(FAMILY, socket.SOCK_DGRAM)
    s.settimeout(60)
    return s


def pktinfo(source=None, interface=0):
    address = socket.inet_pton(FAMILY, source) if source else bytes(16 if six else 4)
    return [(LEVEL, PKTINFO, address + struct.pack("I", interface) if six else
             struct.pack("I", interface) + address + bytes(4))]


def send(s, control, payload=b"x", to=None):
    return failure(s.sendmsg, [payload], control, 0, (to or peer, port))


def ask(s, payload=b"hello"):
    """Until it is echoed: the first packets of a link may be lost."""
    poll = select.poll()
    poll.register(s, select.POLLIN)
    for _ in range(60):
        s.sendto(payload, (peer, port))
        if poll.poll(1000):
            return
    sys.exit("FAILED: no echo")


def routes():
    """Without a route a call says so at once, and again; what has one is sent meanwhile."""
    s = new()
    for to in NOWHERE * 2:
        expect(failure(s.sendto, b"x", (to, port)) == errno.ENETUNREACH, f"sendto {to}")
        ask(s)
        s.recv(100)
    expect(send(s, [], to=NOWHERE[0]) == errno.ENETUNREACH, "sendmsg")
    expect(failure(s.sendto, b"x", socket.MSG_MORE, (NOWHERE[0], port)) == errno.ENETUNREACH, "the first part of one")
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(FAMILY, kind) as c:
            expect(failure(c.connect, (NOWHERE[0], port)) == errno.ENETUNREACH, f"connect, type {kind}")
    s.connect((peer, port))
    expect(failure(s.sendto, b"x", (NOWHERE[0], port)) == errno.ENETUNREACH, "sendto of one with a peer")
    expect(s.send(b"y") == 1 and s.recv(100) == b"y", "to the peer")


def sources():
    """Who sends from an address that is not this host's, or by no interface, is told so; unknown control messages are
    refused."""
    s = new()
    other = errno.EINVAL if six else errno.ENETUNREACH
    expect(send(s, pktinfo(own)) == 0, "its own address")
    expect(send(s, pktinfo(NOWHERE[0])) == other, "somebody else's")
    expect(send(s, pktinfo("ff05::1" if six else "239.1.1.1")) == errno.EINVAL, "a group's")
    expect(send(s, pktinfo(own), to=NOWHERE[0]) == errno.ENETUNREACH, "its own, to nowhere")
    expect(send(s, pktinfo(interface=999)) == errno.ENODEV, "an interface that there is not")
    for type, value, error in ((77, b"abcd", errno.EINVAL), (socket.SO_MARK, b"ab", errno.EINVAL),
                               (SO_TXTIME, bytes(8), errno.EINVAL), (37, struct.pack("I", 2), 0),
                               (37, struct.pack("I", 8), errno.EINVAL)):
        expect(send(s, [(socket.SOL_SOCKET, type, value)]) == error, f"SOL_SOCKET {type} with {value}")
    s.setsockopt(socket.SOL_SOCKET, SO_TXTIME, struct.pack("iI", 11, 0))  # CLOCK_TAI
    expect(send(s, [(socket.SOL_SOCKET, SO_TXTIME, bytes(8))]) == 0, "SCM_TXTIME after SO_TXTIME")
    expect(send(s, [(socket.IPPROTO_TCP, 1, b"abcd")]) == 0, "of another protocol")


def stamp_of(s, t0):
    """The control messages of an echo; its time, by the first of them, lies between the call and the event."""
    ask(s)
    t1 = time.time()
    with new() as other:  # it is read later than it came: when another's echo is there, too
        ask(other)
    control = s.recvmsg(100, 500)[1]
    expect(control, "a control message")
    level, type, value = control[0]
    seconds, rest = struct.unpack_from("qq", value)
    at = seconds + rest / (1e6 if type in (29, 63) else 1e9)
    # What is sent again while this machine sleeps comes later, never earlier.
    expect(level == socket.SOL_SOCKET and t0 - 1 <= at <= t1, f"{type}: {t0} {at} {t1}")
    return [(type, len(value)) for _, type, value in control]


def arrival():
    """SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING and SIOCGSTAMP say when a datagram came."""
    asks = new()
    await_stamps(asks, lambda: ask(asks))
    for option, value, size in ((29, 1, 16), (35, 1, 16), (37, 0x18, 48), (63, 1, 16), (64, 1, 16), (65, 0x18, 48)):
        s = new()
        s.setsockopt(socket.SOL_SOCKET, option, value)
        expect(s.getsockopt(socket.SOL_SOCKET, option) == value, f"the option {option}")
        expect(stamp_of(s, time.time()) == [(option, size)], f"the message of {option}")
    s = new()
    ask(s)
    s.recv(100)
    s.setsockopt(socket.SOL_SOCKET, 29, 1)  # of an open socket; the later one counts
    s.setsockopt(socket.SOL_SOCKET, 35, 1)
    s.setsockopt(socket.SOL_SOCKET, 37, 0x18)
    expect([s.getsockopt(socket.SOL_SOCKET, o) for o in (29, 35)] == [0, 1], "one of the two")
    expect(stamp_of(s, time.time()) == [(35, 16), (37, 48)], "two of them")
    s.setsockopt(socket.SOL_SOCKET, 29, 0)
    s.setsockopt(socket.SOL_SOCKET, 37, 0)
    ask(s)
    expect(s.recvmsg(100, 500)[1] == [], "none any more")
    asks.close()
    expect(failure(s.setsockopt, socket.SOL_SOCKET, 37, 1 << 30) == errno.EINVAL, "an unknown flag")
    s = new()
    ask(s)
    stamp = array.array("q", [0, 0])
    expect(failure(fcntl.ioctl, s, SIOCGSTAMP, stamp) == errno.ENOENT, "nothing was read yet")
    for request, unit in ((SIOCGSTAMP, 1e6), (SIOCGSTAMPNS, 1e9)):
        t0 = time.time()
        ask(s)
        t1 = time.time()
        s.setblocking(False)
        while failure(s.recv, 100) == 0:  # the earlier ones, too
            pass
        fcntl.ioctl(s, request, stamp)
        expect(t0 - 61 <= stamp[0] + stamp[1] / unit <= t1 + 60, f"{t0} {stamp} {t1}")


def lost():
    """SO_RXQ_OVFL: how many datagrams were dropped because nobody read."""
    s = new()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    expect(s.getsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL) == 1, "the option")
    ask(s)
    expect(s.recvmsg(2000, 500)[1] == [], "nothing was lost yet")
    for _ in range(60):
        for _ in range(400):
            s.sendto(bytes(1000), (peer, port))
        ask(s, b"last")  # readable at once; by then all the others have been sent
        s.setblocking(False)
        while failure(s.recv, 2000) == 0:
            pass
        s.settimeout(60)
        ask(s)
        control = s.recvmsg(2000, 500)[1]
        if control:
            expect([c[:2] for c in control] == [(socket.SOL_SOCKET, SO_RXQ_OVFL)], f"{control}")
            expect(struct.unpack("I", control[0][2])[0] > 0, f"{control}")
            return
    sys.exit("FAILED: nothing was lost")


def sizes():
    """What is too big for the link or the path, by UDP_SEGMENT, IP_MTU_DISCOVER and IPV6_DONTFRAG."""
    s = new()
    ask(s)
    s.recv(100)
    segment = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", 3000))]
    expect(send(s, segment, bytes(9000)) == errno.EMSGSIZE, "segments that are too big")
    expect(send(s, segment, bytes(2900)) == errno.EMSGSIZE, "one that is shorter, and too big")
    expect(send(s, segment, bytes(1000)) == 0, "one that fits")
    expect(send(s, [(SOL_UDP, UDP_SEGMENT, struct.pack("H", 1000))], bytes(3000)) == 0, "segments that fit")
    mode = socket.IPV6_MTU_DISCOVER if six and hasattr(socket, "IPV6_MTU_DISCOVER") else 23 if six else 10
    for value, error in ((4, errno.EMSGSIZE), (5, 0), (0, 0), (1, 0)):
        t = new()
        t.setsockopt(LEVEL, mode, value)
        expect(t.getsockopt(LEVEL, mode) == value, f"the mode {value}")
        expect(send(t, [], bytes(3000)) == error, f"too big in mode {value}")
        t.connect((peer, port))
        expect(failure(t.send, bytes(3000)) == error, f"too big for the peer in mode {value}")
        if error == 0:
            expect(len(t.recv(4000)) == 3000, f"in fragments in mode {value}")
    for value, error in ((1, errno.EMSGSIZE), (0, 0)) if six else ():
        expect(send(s, [(LEVEL, 62, struct.pack("i", value))], bytes(3000)) == error, f"IPV6_DONTFRAG {value}")
        s.setsockopt(LEVEL, 62, 1)  # a datagram's own counts for more
    for value in (-1, 2) if six else ():
        expect(send(s, [(LEVEL, 62, struct.pack("i", value))]) == errno.EINVAL, f"IPV6_DONTFRAG {value}")


def refused():
    """A refused datagram is an error, not something to read; without a peer the port is given back."""
    s = new()
    s.connect((peer, 9))
    s.send(b"x")
    poll = select.poll()
    poll.register(s, select.POLLIN)
    expect(poll.poll(60000) == [(s.fileno(), select.POLLERR)], "poll")
    with select.epoll() as e:
        e.register(s, select.EPOLLIN | select.EPOLLOUT)
        expect(e.poll(60) == [(s.fileno(), select.EPOLLERR | select.EPOLLOUT)], "epoll")
    expect(select.select([s], [], [], 60) == ([s], [], []), "select")
    expect(failure(s.recv, 10) == errno.ECONNREFUSED, "the call")
    expect(poll.poll(0) == [], "nothing is left")
    import ctypes
    unconnect = ctypes.CDLL(None, use_errno=True).connect
    for bound in (False, True):
        s = new()
        if bound:
            s.bind((own, 0))
            s.close()
            s, number = new(), 27123
            s.bind((own, number))
        s.connect((peer, port))
        before = s.getsockname()[1]
        expect(unconnect(s.fileno(), struct.pack("H26x", socket.AF_UNSPEC), 28 if six else 16) == 0, "AF_UNSPEC")
        expect(s.getsockname()[1] == (before if bound else 0), f"the port of {s.getsockname()}")
        ask(s)
        expect(s.getsockname()[1] != 0, "a port again")


def destination():
    """IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR: where a datagram went, as an address."""
    s = new()
    number = 74 if six else 20
    s.setsockopt(LEVEL, number, 1)
    expect(s.getsockopt(LEVEL, number) == 1, "the option")
    ask(s)
    control = s.recvmsg(100, 500)[1]
    to = struct.pack("=HH", FAMILY, socket.htons(s.getsockname()[1]))
    to += bytes(4) + socket.inet_pton(FAMILY, own) + bytes(4) if six else socket.inet_pton(FAMILY, own) + bytes(8)
    expect(control == [(LEVEL, number, to)], f"{control}, not {to}")


globals()[what]()
