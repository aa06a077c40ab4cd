"""Kernel descriptors and Hostloom sockets in one select, poll and epoll set, level and edge triggered."""
import os
import select
import socket
import sys

import peer

stack, host = sys.argv[1], sys.argv[2]
listener = socket.create_server((stack, 0))
a_pipe, b_pipe = os.pipe()
a_pair, b_pair = socket.socketpair()


def connect():
    client = socket.create_connection((host, port))
    client.sendall(b"?")
    assert client.recv(1) == b"?"
    return client


with peer.server(host) as port:
    s = connect()
    fds = [s.fileno(), a_pipe, a_pair.fileno()]
    assert len(set(fds)) == 3 and all(fd < 100 for fd in fds), fds  # small, and unique

    # Nothing is readable; each becomes so alone.
    assert select.select(fds, [], [], 0.05) == ([], [], [])
    os.write(b_pipe, b"x")
    assert select.select(fds, [], [], 5)[0] == [a_pipe]
    os.read(a_pipe, 1)
    s.sendall(b"1")
    assert select.select(fds, [], [], 5)[0] == [s.fileno()]
    assert s.recv(10) == b"1"
    assert select.select([], [s.fileno(), b_pipe], [], 5)[1] == [s.fileno(), b_pipe]

    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    assert poll.poll(20) == []
    b_pair.sendall(b"y")
    assert poll.poll(5000) == [(a_pair.fileno(), select.POLLIN)]
    a_pair.recv(1)
    s.sendall(b"2")
    assert poll.poll(5000) == [(s.fileno(), select.POLLIN)]
    assert s.recv(10) == b"2"

    level = select.epoll()
    for fd in fds:
        level.register(fd, select.EPOLLIN)
    assert level.poll(0.02) == []
    s.sendall(b"3")
    for _ in range(3):  # level: told again and again until it is read
        assert level.poll(5) == [(s.fileno(), select.EPOLLIN)]
    os.write(b_pipe, b"z")
    got = dict(level.poll(5)) | dict(level.poll(5))
    assert set(got) == {s.fileno(), a_pipe}, got
    os.read(a_pipe, 1)
    assert s.recv(10) == b"3"
    assert level.poll(0.02) == []

    edge = select.epoll()
    edge.register(s.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    assert edge.poll(5) == [(s.fileno(), select.EPOLLOUT)]
    assert edge.poll(0.02) == []
    s.sendall(b"4")
    seen = 0
    while not seen & select.EPOLLIN:
        (fd, events), = edge.poll(5)
        seen |= events
    assert edge.poll(0.02) == []  # not read, and not told again
    assert s.recv(10) == b"4"

    once = select.epoll()
    once.register(s.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
    s.sendall(b"5")
    assert once.poll(5) == [(s.fileno(), select.EPOLLIN)]
    assert once.poll(0.02) == []
    once.modify(s.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
    assert once.poll(5) == [(s.fileno(), select.EPOLLIN)]
    assert s.recv(10) == b"5"

    # The other end closes: readable, end of file, and RDHUP for who asks.
    end = select.epoll()
    end.register(s.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
    s.shutdown(socket.SHUT_WR)
    (fd, events), = end.poll(5)
    assert events & select.EPOLLIN and events & select.EPOLLRDHUP, events
    assert s.recv(10) == b""
    end.close()

    # A listener beside a kernel descriptor.
    both = select.epoll()
    both.register(listener.fileno(), select.EPOLLIN)
    both.register(a_pipe, select.EPOLLIN)
    assert both.poll(0.02) == []
    client = peer.start_client(stack, listener.getsockname()[1], 1, 1000)
    assert both.poll(10) == [(listener.fileno(), select.EPOLLIN)]
    served, _ = listener.accept()
    assert both.poll(0.02) == []
    # A descriptor that is closed leaves the set by itself.
    both.register(served.fileno(), select.EPOLLIN)
    peer.echo(served)
    peer.finish(client)
    assert both.poll(0.02) == []

    # Waits on kernel descriptors alone, and with nothing.
    assert select.select([a_pipe], [], [], 0.02) == ([], [], [])
    assert select.select([], [], [], 0.02) == ([], [], [])
