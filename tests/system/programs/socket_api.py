"""The corners of the socket interface, checked against what the kernel does."""
import errno
import os
import select
import socket
import struct
import sys

import peer

stack, host = sys.argv[1], sys.argv[2]


def fails_with(code, fn, *args):
    try:
        fn(*args)
    except OSError as e:
        assert e.errno == code, f"{fn}: {errno.errorcode.get(e.errno, e.errno)} instead of {errno.errorcode[code]}"
    else:
        raise AssertionError(f"{fn} did not fail")


# A port where nobody listens: refused, blocking and not.
unused = socket.socket()
fails_with(errno.ECONNREFUSED, unused.connect, (host, 9))
unused.close()
s = socket.socket()
s.setblocking(False)
assert s.connect_ex((host, 9)) == errno.EINPROGRESS
waiter = select.poll()
waiter.register(s, select.POLLOUT)
(fd, events), = waiter.poll(10_000)
assert events & select.POLLERR or events & select.POLLOUT, events
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0  # read once
s.close()

with peer.server(host) as port:
    # Non-blocking connect, the usual dance.
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((host, port)) in (errno.EINPROGRESS, 0)
    waiter = select.poll()
    waiter.register(s, select.POLLOUT)
    assert waiter.poll(10_000)[0][1] & select.POLLOUT
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert s.getpeername() == (host, port) and s.getsockname()[0] == stack
    fails_with(errno.EAGAIN, s.recv, 1)
    s.connect_ex((host, port))  # Linux reports the success once more, and then
    fails_with(errno.EISCONN, s.connect, (host, port))
    s.setblocking(True)

    # Options.
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                          (socket.IPPROTO_TCP, socket.TCP_CORK)):
        assert s.getsockopt(level, option) == 0, option
        s.setsockopt(level, option, 1)
        assert s.getsockopt(level, option) == 1, option
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    fails_with(errno.ENOPROTOOPT, s.getsockopt, socket.IPPROTO_TCP, 12345)
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    assert info[0] == 1, info  # TCP_ESTABLISHED
    assert len(info) >= 104

    # Peek, partial reads, timeouts, scatter and gather.
    s.sendall(b"hello world")
    assert select.select([s], [], [], 10)[0]
    assert s.recv(5, socket.MSG_PEEK) == b"hello"
    assert s.recv(5) == b"hello"
    assert s.recv(100, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == b" world"
    fails_with(errno.EAGAIN, s.recv, 1, socket.MSG_DONTWAIT)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    fails_with(errno.EAGAIN, s.recv, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    assert s.sendmsg([b"ab", b"", b"cde"]) == 5
    first, second = bytearray(2), bytearray(3)
    assert s.recv_into(first, 2, socket.MSG_WAITALL) == 2
    n, _, flags, _ = s.recvmsg_into([second], 0, socket.MSG_WAITALL)
    assert n == 3 and bytes(first + second) == b"abcde" and flags == 0
    assert os.write(s.fileno(), b"by write") == 8
    got = b""
    while len(got) < 8:
        got += os.read(s.fileno(), 100)
    assert got == b"by write"

    # Duplicates share the connection; the last close ends it.
    d = s.dup()
    assert d.fileno() != s.fileno()
    s.close()
    d.sendall(b"still there")
    assert d.recv(11, socket.MSG_WAITALL) == b"still there"
    fails_with(errno.ESPIPE, os.lseek, d.fileno(), 0, os.SEEK_SET)

    # Half close, and writing after it.
    d.sendall(b"bye")
    d.shutdown(socket.SHUT_WR)
    fails_with(errno.EPIPE, d.send, b"more")
    assert d.recv(3, socket.MSG_WAITALL) == b"bye" and d.recv(1) == b""
    d.close()
    fails_with(errno.EBADF, os.read, 999, 1)

    # sendfile from a file into the socket.
    s = socket.create_connection((host, port))
    with open(__file__, "rb") as f:
        text = f.read()
        f.seek(0)
        sent = 0
        while sent < len(text):
            sent += os.sendfile(s.fileno(), f.fileno(), sent, len(text) - sent)
    got = b""
    while len(got) < len(text):
        got += s.recv(1 << 16)
    assert got == text
    # File objects over it.
    with s.makefile("rwb") as stream:
        stream.write(b"a line\n")
        stream.flush()
        assert stream.readline() == b"a line\n"
    s.close()

# A listener: accept without a peer, states that make no sense, an address that is taken.
listener = socket.create_server((stack, 0))
port = listener.getsockname()[1]
assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
listener.setblocking(False)
fails_with(errno.EAGAIN, listener.accept)
fails_with(errno.ENOTCONN, listener.recv, 1)
fails_with(errno.ENOTCONN, listener.getpeername)
second = socket.socket()


def bind_and_listen():
    second.bind((stack, port))
    second.listen()


fails_with(errno.EADDRINUSE, bind_and_listen)
second.close()
fails_with(errno.ENOTCONN, socket.socket().getpeername)

# A reset by the peer: an error once, then end of file.
RESETTER = """
import socket, struct, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(b'x')
s.recv(1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
"""
import subprocess  # noqa: E402

client = subprocess.Popen([sys.executable, "-c", RESETTER, stack, str(port)], env=peer.kernel_env())
assert select.select([listener], [], [], 10)[0]
s, _ = listener.accept()
s.setblocking(True)
assert s.recv(1) == b"x"
s.sendall(b"y")
client.wait(10)
fails_with(errno.ECONNRESET, s.recv, 1)
s.close()
listener.close()

# After the listener is gone its port refuses and can be taken again.
check = "import socket,sys; sys.exit(socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))) != 111)"
assert subprocess.run([sys.executable, "-c", check, stack, str(port)], env=peer.kernel_env()).returncode == 0
socket.create_server((stack, port)).close()

# What is not Hostloom's stays the kernel's.
local = socket.create_server(("127.0.0.1", 0))
a = socket.create_connection(local.getsockname())
b, _ = local.accept()
a.sendall(b"loopback")
assert b.recv(8) == b"loopback"
u = socket.socket(socket.AF_UNIX)
u.close()
