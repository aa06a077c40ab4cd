#!/usr/bin/python3
"""Connections of a program that names its link, over whatever network the process has.
usage: stream_link.py connects OWN HOST PORT INTERFACE   to HOST and to itself; INTERFACE as recvfrom() tells it
       stream_link.py serves OWN PORT INTERFACE          echoes at PORT on all addresses, at PORT + 1 on OWN
       stream_link.py echo PORT                          echoes
       stream_link.py links OWN PORT INTERFACE OTHER     says by which link; at PORT one listener on each, at PORT + 1 two
       stream_link.py asks_links ADDRESS PORT INTERFACE DEVICE COUNT   each of them, and hears INTERFACE
       stream_link.py asks ADDRESS PORT DEVICE           both of `serves`, over a device of the kernel's"""

import errno
import selectors
import socket
import sys

from checks import expect, failure


def stream(name=None):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if name:
        s.bind(name)
    return s


def ask(s, question):
    s.sendall(question)
    answer = b""
    while len(answer) < len(question):
        more = s.recv(65536)
        expect(more, f"the end, after {len(answer)} bytes of {len(question)}")
        answer += more
    expect(answer == question, "another answer")


def address(name):
    return name[0].split("%")[0], *name[1:]


def fails_at_once(to):
    s = stream()
    s.setblocking(False)
    return failure(s.connect, to)


def listens(name):
    """The errno of bind and listen together: which of them says so differs."""
    return failure(lambda: stream(name).listen(1))


def connects(own, host, port, interface):
    to = (host, port, 0, interface)
    expect(failure(stream().connect, (host, port)) == errno.EINVAL, "connected on no link")
    expect(failure(stream().connect, (host, port, 0, interface + 77)) == errno.ENETUNREACH, "no such interface")
    expect(fails_at_once((host, port, 0, interface + 77)) == errno.ENETUNREACH, "no such interface, without waiting")
    expect(failure(stream().connect, ("ff02::1", port, 0, interface)) == errno.ENETUNREACH, "a group")
    expect(failure(stream().bind, (own, 0)) == errno.EINVAL, "bound on no link")
    for name in (own, host):
        expect(failure(stream().bind, (name, 0, 0, interface + 77)) == errno.ENODEV, f"{name} is bound to no interface")
    s = stream((own, 0, 0, interface))
    expect(failure(s.bind, (own, 0, 0, interface + 77)) == errno.EINVAL, "bound twice")
    s.setblocking(False)
    expect(failure(s.connect, (host, port, 0, interface + 77)) == errno.EINVAL, "a second interface, without waiting")
    # What could not be connected goes on as it was.
    s = stream()
    expect(failure(s.connect, (host, port, 0, interface + 77)) == errno.ENETUNREACH, "no such interface")
    s.connect((host, port, 0, interface))
    ask(s, b"after all")
    s.close()
    expect(listens((host, 0, 0, interface)) == errno.EADDRNOTAVAIL, "bound to the other end")
    for local in (None, (own, 0, 0, interface)):
        s = stream(local)
        if local:
            expect(s.getsockname()[3] == interface, f"bound as {s.getsockname()}")
            expect(failure(s.connect, (host, port, 0, interface + 77)) == errno.EINVAL, "a second interface")
        s.connect(to)
        expect(address(s.getpeername()) == to, f"the peer is {s.getpeername()}")
        expect(address(s.getsockname())[0] == own, f"from {s.getsockname()}")
        expect(s.getsockname()[3] == interface, f"from {s.getsockname()}")
        ask(s, b"to the host" * 10000)
        s.close()
    # It knows its link, and needs not be told again.
    s = stream((own, 0, 0, interface))
    s.connect((host, port))
    expect(address(s.getpeername()) == to, f"the peer is {s.getpeername()}")
    ask(s, b"again")
    # To itself.
    for name in (("::", 0), (own, 0, 0, interface)):
        listener = stream(name)
        listener.listen(1)
        there = listener.getsockname()[1]
        s = stream()
        s.connect((own, there, 0, interface))
        other, peer = listener.accept()
        expect(address(peer) == address(s.getsockname()) == (own, peer[1], 0, interface), f"{peer}, {s.getsockname()}")
        expect(address(s.getpeername()) == (own, there, 0, interface), f"{s.getpeername()}")
        s.sendall(b"to myself")
        expect(other.recv(100) == b"to myself", "what came")


def answer(s):
    while True:
        text = s.recv(65536)
        if not text:
            return
        s.sendall(text)


def serves(own, port, interface):
    listeners = [stream(("::", port)), stream((own, port + 1, 0, interface))]
    for s in listeners:
        s.listen(5)
    print(f"port {port}", flush=True)
    for s in listeners:
        connection, peer = s.accept()
        print(f"peer {peer[3]} is {connection.getpeername()[3]} at {connection.getsockname()[3]}", flush=True)
        answer(connection)


def echo(port):
    listener = stream(("::", port))
    listener.listen(5)
    print(f"port {port}", flush=True)
    while True:
        connection, _ = listener.accept()
        answer(connection)


def links(own, port, *interfaces):
    waiting = selectors.DefaultSelector()
    for at, count in ((port, 1), (port + 1, 2)):
        for interface in interfaces:
            for _ in range(count):
                s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, count - 1)
                s.bind((own, at, 0, interface))
                s.listen(16)
                waiting.register(s, selectors.EVENT_READ, interface)
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    expect(failure(lambda: s.bind((own, port, 0, interfaces[0])) or s.listen(1)) == errno.EADDRINUSE, "a second one on a link")
    print(f"port {port}", flush=True)
    while True:
        for key, _ in waiting.select():
            connection, peer = key.fileobj.accept()
            connection.sendall(b"%d %d" % (key.data, peer[3]))
            connection.close()


def asks_links(to, port, interface, device, count):
    for i in range(count):
        s = stream()
        s.connect((to, port + i % 2, 0, socket.if_nametoindex(device)))
        answer = b""
        while more := s.recv(100):
            answer += more
        expect(answer == b"%d %d" % (interface, interface), f"{device}, {i}: {answer}")
        s.close()


def asks(to, port, device):
    for at in (port, port + 1):
        s = stream()
        s.connect((to, at, 0, socket.if_nametoindex(device)))
        ask(s, b"hello" * 10000)
        s.close()


if __name__ == "__main__":
    {f.__name__: f for f in (connects, serves, links, echo, asks, asks_links)}[sys.argv[1]](
        *(int(a) if a.isdigit() else a for a in sys.argv[2:]))
