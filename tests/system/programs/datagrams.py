"""Datagram sockets as a program uses them. usage: datagrams.py SERVER PORT LARGEST"""
import array
import ctypes
import fcntl
import os
import select
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading

PATIENCE = 20  # seconds that an answer may take
# What is said of one that does not come takes at most 2 x 10 + 3 x 5 more: who runs this waits for 90.
LOOK, AGAIN = 10, 5

server, port, largest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in server else socket.AF_INET


def expect(condition, message):
    if not condition:
        raise SystemExit(f"datagrams.py: {message}")


def say_what_there_is():
    """What the daemon knows, for people."""
    loomctl = shlex.split(os.environ.get("LAB_LOOMCTL", ""))
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    for words in (["show", "errors"], ["show", "session", "verbose", "2"]) if loomctl else ():
        sys.stderr.write(f"--- {' '.join(words)}\n")
        try:
            done = subprocess.run(loomctl + words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=LOOK)
            sys.stderr.write(done.stdout.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"no answer in {LOOK} s\n")


class Socket(socket.socket):
    """Who waits in vain for what must come says why, as long as all that it may be due to is still there."""

    def told(self, receive, *args):
        patience = self.gettimeout()
        try:
            return receive(*args)
        except TimeoutError:
            if patience != PATIENCE:
                raise  # nothing was to come
            sys.stderr.write(f"{self.getsockname()} waits in vain\n")
            say_what_there_is()
            # Does the next datagram bring what was thought lost? Then somebody was not woken.
            self.settimeout(AGAIN)
            self.sendto(b"anybody?", (server, port))
            try:
                for _ in range(3):  # with MSG_PEEK it is the same one each time
                    sys.stderr.write(f"after another one was sent: {receive(*args)}\n")
            except TimeoutError:
                pass
            raise SystemExit("datagrams.py: what was sent was not answered") from None

    def recv(self, *args):
        return self.told(super().recv, *args)

    def recvfrom(self, *args):
        return self.told(super().recvfrom, *args)

    def recvmsg(self, *args):
        return self.told(super().recvmsg, *args)


def fresh():
    s = Socket(family, socket.SOCK_DGRAM)
    s.settimeout(PATIENCE)
    return s


def unconnected():
    with fresh() as s:
        expect(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM, "SO_TYPE")
        for size in (1, 0, 100, 1400, largest):
            data = os.urandom(size)
            expect(s.sendto(data, (server, port)) == size, f"sendto of {size}")
            got, who = s.recvfrom(65536)
            expect(got == data, f"{size} bytes: other ones came back")
            expect(who[:2] == (server, port), f"answer from {who}")
        expect(s.getsockname()[1] != 0, "no port after sendto")
        try:
            s.getpeername()
            expect(False, "a peer without connect")
        except OSError:
            pass
        try:
            s.send(b"where to?")
            expect(False, "send without a peer")
        except OSError as e:
            expect(e.errno == 89, f"send without a peer: {e}")  # EDESTADDRREQ


def connected():
    with fresh() as s:
        s.connect((server, port))
        expect(s.getpeername()[:2] == (server, port), "getpeername")
        expect(s.getsockname()[1] != 0, "getsockname")
        for size in (0, 1, 1400, largest):
            data = os.urandom(size)
            expect(s.send(data) == size, f"send of {size}")
            expect(s.recv(65536) == data, f"{size} bytes: other ones came back")
        try:
            s.send(bytes(65536))
            expect(False, "65536 bytes in a datagram")
        except OSError as e:
            expect(e.errno == 90, f"65536 bytes: {e}")  # EMSGSIZE


def boundaries():
    with fresh() as s:
        s.connect((server, port))
        sent = [bytes([i]) * (i * 10) for i in range(1, 20)]
        for data in sent:
            s.send(data)
        got = [s.recv(65536) for _ in sent]
        expect(sorted(got) == sorted(sent), f"boundaries: {[len(g) for g in got]}")


def flags():
    with fresh() as s:
        s.connect((server, port))
        s.send(b"0123456789")
        expect(s.recv(4, socket.MSG_PEEK) == b"0123", "MSG_PEEK")
        expect(len(s.recv(4, socket.MSG_PEEK | socket.MSG_TRUNC)) == 10, "MSG_TRUNC says the datagram's length")
        count = array.array("i", [0])
        fcntl.ioctl(s, termios.FIONREAD, count)
        expect(count[0] == 10, f"FIONREAD {count[0]}")
        got, _, how, who = s.recvmsg(4)
        expect(got == b"0123" and how & socket.MSG_TRUNC and who[:2] == (server, port), f"recvmsg {got} {how} {who}")
        s.send(b"next")
        expect(s.recv(100) == b"next", "the rest of a cut datagram is gone")
        s.setblocking(False)
        try:
            s.recv(1)
            expect(False, "recv of nothing")
        except BlockingIOError:
            pass
        s.settimeout(0.05)
        try:
            s.recv(1)
            expect(False, "recv of nothing")
        except TimeoutError:
            pass


def waiting():
    with fresh() as s, select.epoll() as e:
        s.connect((server, port))
        e.register(s, select.EPOLLIN)
        expect(e.poll(0.05) == [], "readable before anything came")
        s.send(b"wake")
        expect(e.poll(20) == [(s.fileno(), select.EPOLLIN)], "epoll")
        p = select.poll()
        p.register(s, select.POLLIN | select.POLLOUT)
        expect(p.poll(20_000) == [(s.fileno(), select.POLLIN | select.POLLOUT)], "poll")
        expect(select.select([s], [], [], 20)[0] == [s], "select")
        expect(s.recv(10) == b"wake", "recv")
        expect(e.poll(0) == [], "readable after everything was read")


def refused():
    with fresh() as s:
        s.connect((server, 1))
        s.send(b"anybody?")
        p = select.poll()
        p.register(s, select.POLLIN)
        ready = p.poll(20_000)
        expect(ready and ready[0][1] & select.POLLERR, f"poll after port unreachable: {ready}")
        try:
            s.recv(10)
            expect(False, "recv after port unreachable")
        except ConnectionRefusedError:
            pass
        s.send(b"again")  # the socket goes on
        p.poll(20_000)
        expect(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111, "SO_ERROR")
        expect(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0, "SO_ERROR twice")


def files_and_nothing():
    """sendfile is one datagram; reading and writing vectors of nothing moves none."""
    with fresh() as s, tempfile.TemporaryFile() as f:
        s.connect((server, port))
        s.setblocking(True)  # a time-out makes the socket non-blocking, and a read of nothing must not wait
        data = os.urandom(1400)
        f.write(data)
        f.flush()
        expect(os.sendfile(s.fileno(), f.fileno(), 400, 1000) == 1000, "sendfile")
        expect(s.recv(65536) == data[400:], "sendfile: other bytes came back")
        expect(os.sendfile(s.fileno(), f.fileno(), 1400, 5000) == 0, "sendfile at the end")
        expect(os.read(s.fileno(), 0) == b"" and os.readv(s.fileno(), [bytearray(0)]) == 0, "read of nothing")
        expect(os.writev(s.fileno(), [b""]) == 0, "writev of nothing")
        expect(os.write(s.fileno(), b"next") == 4 and s.recv(100) == b"next", "what follows")
        s.send(b"still there")
        select.select([s], [], [], 20)
        expect(os.read(s.fileno(), 0) == b"", "read of nothing")
        expect(s.recv(100, socket.MSG_OOB) == b"still there", "MSG_OOB means nothing to recv")
        if family == socket.AF_INET:  # Linux sends it over IPv6
            expect(error_of(lambda: s.send(b"x", socket.MSG_OOB)) == 95, "send with MSG_OOB")  # EOPNOTSUPP


def error_of(call):
    try:
        call()
    except OSError as e:
        return e.errno
    return 0


def names():
    """Addresses that cannot be sent to decide nothing about the socket; others have several names."""
    libc = ctypes.CDLL(None, use_errno=True)

    def send_to(s, name):
        n = libc.sendto(s.fileno(), b"name", 4, 0, name, len(name))
        return n if n >= 0 else -ctypes.get_errno()

    def in4(kind, to_port=port):
        return struct.pack("=HH4s8x", kind, socket.htons(to_port), socket.inet_aton(server))

    with fresh() as s:
        expect(error_of(lambda: s.sendto(b"x", (server, 0))) == 22, "port 0")
        if family == socket.AF_INET:
            expect(send_to(s, in4(2)[:7]) == -22, "a short name")
            expect(send_to(s, in4(1)) == -97, "a name of another family")  # EAFNOSUPPORT
            expect(send_to(s, in4(0)) == 4 and s.recv(10) == b"name", "AF_UNSPEC")
        else:
            expect(send_to(s, bytes(28)) == -89, "AF_UNSPEC")  # EDESTADDRREQ
            s.sendto(b"name", (server, port))
            expect(s.recv(10) == b"name", "sendto after errors")
    if family == socket.AF_INET:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.settimeout(20)
            expect(send_to(s, in4(2)) == 4, "AF_INET on an AF_INET6 socket")
            expect(s.recvfrom(10)[1][:2] == ("::ffff:" + server, port), "a mapped address")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            expect(error_of(lambda: s.sendto(b"x", ("::ffff:" + server, port))) == 101, "IPv4 from IPV6_V6ONLY")


def closing():
    """close() is quick whatever SO_LINGER says."""
    for i in range(4):
        with fresh() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0 if i % 2 else 1000))
            s.connect((server, port))
            s.send(b"%d" % i)
            expect(s.recv(10) == b"%d" % i, f"answer {i}")


def first_senders():
    """Threads that send first on one socket have one port."""
    for _ in range(10):
        with fresh() as s:
            threads = [threading.Thread(target=s.sendto, args=(b"x", (server, port))) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            for _ in threads:
                expect(s.recv(10) == b"x", "answers come to one port")


def ancillary():
    """Addresses, TTL and TOS, as control messages in both directions."""
    ip6 = family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if ip6 else socket.IPPROTO_IP
    # IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS; IP_PKTINFO, IP_RECVTTL, IP_RECVTOS
    options = (49, 51, 66) if ip6 else (8, 12, 13)
    pktinfo, ttl, tos = (50, 52, 67) if ip6 else (8, 2, 1)
    with fresh() as s, fresh() as plain:
        plain.sendto(b"x", (server, port))
        expect(plain.recvmsg(10, 256)[1] == [], "control messages that nobody wants")
        for o in options:
            s.setsockopt(level, o, 1)
            expect(s.getsockopt(level, o) == 1, f"option {o}")
        s.sendto(b"who am I?", (server, port))
        data, control, _, _ = s.recvmsg(100, 256)
        got = {kind: value for at, kind, value in control if at == level}
        expect(data == b"who am I?" and set(got) == {pktinfo, ttl, tos}, f"control messages {control}")
        own = got[pktinfo][:16] if ip6 else got[pktinfo][4:8]
        plain.connect((server, port))
        expect(own == socket.inet_pton(family, plain.getsockname()[0]), f"IP_PKTINFO {own}")
        expect(len(got[ttl]) == 4 and got[ttl][0] == 64, f"TTL {got[ttl]}")
        expect(got[tos][0] == 0, f"TOS {got[tos]}")
        # The source that is named is used; nothing else would come back here.
        source = own + bytes(4) if ip6 else bytes(4) + own + bytes(4)
        expect(s.sendmsg([b"from ", b"me"], [(level, pktinfo, source), (level, tos, (0x20).to_bytes(4, "little"))], 0,
                         (server, port)) == 7, "sendmsg")
        data, control, flags, _ = s.recvmsg(100, 8)
        expect(data == b"from me" and control == [] and flags & socket.MSG_CTRUNC, f"no room: {control} {flags}")
        # Two datagrams by one call (UDP_SEGMENT).
        expect(s.sendmsg([b"onetwo"], [(17, 103, (3).to_bytes(2, "little"))], 0, (server, port)) == 6, "UDP_SEGMENT")
        expect(sorted((s.recv(10), s.recv(10))) == [b"one", b"two"], "UDP_SEGMENT")
        try:
            s.sendmsg([b"x"], [(level, 9999, bytes(4))], 0, (server, port))
            expect(False, "a control message that does not exist")
        except OSError as e:
            expect(e.errno == 22, f"unknown control message: {e}")


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(Iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]


def many_messages():
    """sendmmsg and recvmmsg."""
    libc = ctypes.CDLL(None, use_errno=True)
    with fresh() as s:
        s.connect((server, port))
        n = 8
        buffers = [ctypes.create_string_buffer(b"m%d" % i, 64) for i in range(n)]
        iovecs = [Iovec(ctypes.addressof(b), 2) for b in buffers]
        messages = (Mmsghdr * n)()
        for i in range(n):
            messages[i].hdr.iov = ctypes.pointer(iovecs[i])
            messages[i].hdr.iovlen = 1
        expect(libc.sendmmsg(s.fileno(), messages, n, 0) == n, "sendmmsg")
        got = []
        while len(got) < n:
            for v in iovecs:
                v.len = 64
            s.setblocking(True)
            k = libc.recvmmsg(s.fileno(), messages, n - len(got), 0x10000, None)  # MSG_WAITFORONE
            expect(k > 0, f"recvmmsg {k}")
            got += [buffers[i].raw[:messages[i].len] for i in range(k)]
        expect(sorted(got) == [b"m%d" % i for i in range(n)], f"recvmmsg {got}")


for case in (unconnected, connected, boundaries, flags, waiting, refused, files_and_nothing, names, closing,
             first_senders, ancillary, many_messages):
    case()
print("ok")
