"""Sockets that have one interface alone (SO_BINDTODEVICE, man 7 socket), over whatever network the process has.
usage: bound_device.py serves OWN PORT DEVICE OTHER    eight sockets from PORT on, half of them by either interface
       bound_device.py asks PEER PORT                  which of them answer: those of DEVICE
       bound_device.py connects OWN PEER PORT DEVICE   to the same, by DEVICE"""

import errno
import itertools
import select
import socket
import sys

from checks import expect, failure

SOL, DEVICE, NUMBER = socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 62
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def use(s, device):
    expect(failure(s.setsockopt, SOL, DEVICE, b"nowhere") == errno.ENODEV, "an interface that is not there")
    expect(s.getsockopt(SOL, DEVICE, 16) == b"", "none at first")
    number = dict((name, n) for n, name in socket.if_nameindex()).get(device)
    if number:  # not where Hostloom alone has it
        s.setsockopt(SOL, NUMBER, number)
        expect(s.getsockopt(SOL, DEVICE, 16) == device.encode() + b"\0", f"{s.getsockopt(SOL, DEVICE, 16)} by number")
        expect(s.getsockopt(SOL, NUMBER) == number, f"{s.getsockopt(SOL, NUMBER)}, not {number}")
        s.setsockopt(SOL, DEVICE, None, 0)
        expect(s.getsockopt(SOL, DEVICE, 16) == b"", "none without a name")
    s.setsockopt(SOL, DEVICE, device.encode())
    expect(s.getsockopt(SOL, DEVICE, 16) == device.encode() + b"\0", f"{s.getsockopt(SOL, DEVICE, 16)} of {device}")


def serves(own, port, device, other):
    poll, sockets = select.poll(), {}
    for i, (kind, by, binds_first) in enumerate(itertools.product((STREAM, DATAGRAM), (device, other), (False, True))):
        s = socket.socket(socket.AF_INET, kind)
        s.setsockopt(SOL, socket.SO_REUSEADDR, 1)
        name = ("0.0.0.0", port + i)
        if binds_first:
            s.bind(name)
        use(s, by)
        if not binds_first:
            s.bind(name)
        if kind == STREAM:
            s.listen()
        expect(s.getsockopt(SOL, DEVICE, 16) == by.encode() + b"\0", f"{by} is lost")
        poll.register(s, select.POLLIN)
        sockets[s.fileno()] = s
    # Whose it is no more has all; and of two that share a port each hears its own.
    s = socket.socket(socket.AF_INET, DATAGRAM)
    use(s, other)
    s.setsockopt(SOL, DEVICE, b"")
    expect(s.getsockopt(SOL, DEVICE, 16) == b"", "none any more")
    s.bind((own, port + 8))
    poll.register(s, select.POLLIN)
    sockets[s.fileno()] = s
    for by in (device, other):
        s = socket.socket(socket.AF_INET, DATAGRAM)
        s.setsockopt(SOL, socket.SO_REUSEADDR, 1)
        use(s, by)
        s.bind(("0.0.0.0", port + 9))
        poll.register(s, select.POLLIN)
        sockets[s.fileno()] = s
    print("port", port, flush=True)
    while True:
        for fd, _ in poll.poll():
            s = sockets[fd]
            answer = s.getsockopt(SOL, DEVICE, 16).rstrip(b"\0")
            if s.type == STREAM:
                with s.accept()[0] as accepted:
                    expect(accepted.getsockopt(SOL, DEVICE, 16).rstrip(b"\0") == answer, "an accepted one has another")
                    accepted.send(b"by " + answer)
            else:
                _, peer = s.recvfrom(10)
                s.sendto(b"by " + answer, peer)


def asked(kind, peer, port, own=None, device=None):
    """The answer, or the errno."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(60)
        if own:
            s.bind((own, 0))
        if device:
            use(s, device)
        try:
            s.connect((peer, port))
            if kind == DATAGRAM:
                s.send(b"x")
            return s.recv(100).decode()
        except OSError as e:
            return e.errno


def asks(peer, port):
    for i, kind in enumerate((STREAM, DATAGRAM)):
        answers = [asked(kind, peer, port + 4 * i + j) for j in range(4)]
        expect(answers[0] == answers[1] and str(answers[0]).startswith("by "), f"{kind}: {answers}")
        expect(answers[2:] == [errno.ECONNREFUSED] * 2, f"{kind}: by the other interface: {answers}")
    expect(asked(DATAGRAM, peer, port + 8) == "by ", "one that is by any again")
    expect(asked(DATAGRAM, peer, port + 9) == answers[0], "two that share a port")


def connects(own, peer, port, device):
    for bound, (i, kind) in itertools.product((None, own), enumerate((STREAM, DATAGRAM))):
        got = asked(kind, peer, port + 4 * i, bound, device)
        expect(str(got).startswith("by "), f"{kind} from {bound}: {got}")


if __name__ == "__main__":
    {f.__name__: f for f in (serves, asks, connects)}[sys.argv[1]](*(int(a) if a.isdigit() else a for a in sys.argv[2:]))
