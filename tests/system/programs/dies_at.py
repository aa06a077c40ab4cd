"""A program that kills itself with SIGKILL at a named step of what programs do.
usage: dies_at.py STEP ADDRESS PORT PEER PEER_PORT ATTACH_SOCKET NOBODY

ADDRESS and PORT are where it listens or is bound, PEER and PEER_PORT whom it asks, NOBODY an address without a host.
Steps of STEPS begin with whom they need: `alone-` nobody; `asks-` through_peer.py serve at the peer's; `serves-`
CONNECTIONS of through_peer.py hold, or half for `serves-half-closed-by-peer`, once this says "listening"; `datagrams-`
datagram_peer.py serve at the peer's. Steps of ATTACH talk to the daemon themselves and are to run without preload; the
others run under it. A step has come when the program sees that it has (a reply, bytes, a full buffer): nothing sleeps.
"""

import mmap
import os
import pathlib
import re
import select
import signal
import socket
import struct
import sys

CONNECTIONS = 4  # so that each worker of the daemon has some
PROTOCOL = pathlib.Path(__file__).resolve().parents[3] / "sdk/svm/protocol.h"
ATTACH_OP, ADD_WORKER = 1, 2
REQUEST = struct.Struct("=II64s64sQ8I2HIQII4sB3x")
REPLY = struct.Struct("=Ii8I")  # as far as n_segments
REPLY_BYTES, SEGMENT = 4096, struct.Struct("=IIQ")


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def wait_for(s, events):
    p = select.poll()
    p.register(s, events)
    while not p.poll():
        pass


# --- Attach, by hand


class Attach:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(attach_socket)

    @staticmethod
    def request(op):
        version = int(re.search(r"kProtocolVersion = (\d+)", PROTOCOL.read_text())[1])
        return REQUEST.pack(version, op, b"dies", b"", 0, 8, 8, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"", 0)

    def ask(self, op=ATTACH_OP):
        self.socket.send(self.request(op))
        return self

    def answered(self, op=ATTACH_OP):
        self.ask(op)
        wait_for(self.socket, select.POLLIN)
        return self

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.socket, REPLY_BYTES, 64)
        self.fds = fds
        _, status, *_, n = REPLY.unpack_from(data)
        if status != 0 or not fds or n == 0:
            sys.exit(f"dies_at.py: the daemon refuses: {status}")
        self.sizes = [SEGMENT.unpack_from(data, REPLY.size + i * SEGMENT.size)[2] for i in range(n)]
        return self

    def map(self):
        self.maps = [mmap.mmap(fd, size) for fd, size in zip(self.fds[-len(self.sizes):], self.sizes)]
        for m in self.maps:
            m[4096:8192] = bytes(4096)  # pages of its own, which are to come back
        return self


def half_a_request():
    a = Attach()
    a.socket.send(Attach.request(ATTACH_OP)[:50])
    return a


def with_descriptors():
    """More than anybody asked for, in an attach."""
    a = Attach()
    socket.send_fds(a.socket, [Attach.request(ATTACH_OP)], [0, 1, 2, 1])
    return a


ATTACH = {
    "connected": Attach,
    "half-a-request": half_a_request,
    "with-descriptors": with_descriptors,
    "asked": lambda: Attach().ask(),
    "answered": lambda: Attach().answered(),
    "received": lambda: Attach().answered().receive(),
    "mapped": lambda: Attach().answered().receive().map(),
    "asked-for-a-worker": lambda: Attach().answered().receive().ask(ADD_WORKER),
    "has-a-worker": lambda: Attach().answered().receive().answered(ADD_WORKER),
    "received-a-worker": lambda: Attach().answered().receive().map().answered(ADD_WORKER).receive(),
}


# --- Streams


def listen(backlog=64):
    s = socket.create_server((address, port), backlog=backlog)
    print("listening", flush=True)
    return s


def accept_all(read=None):
    """`read`: bytes of each that are taken; None: they are there, and nobody has."""
    listener = listen()
    taken = [listener.accept()[0] for _ in range(CONNECTIONS)]
    for s in taken:
        s.recv(1, socket.MSG_PEEK)
        if read:
            s.recv(read)
    return listener, taken


def connect_all(say=b""):
    """`say`: what each sends, and what comes back is there, unread."""
    all_of_them = [socket.create_connection((peer, peer_port)) for _ in range(CONNECTIONS)]
    for s in all_of_them:
        if say:
            s.sendall(say)
            s.recv(1, socket.MSG_PEEK)
    return all_of_them


def fill(sockets):
    """Writes until there is no room: the peer does not read."""
    for s in sockets:
        s.setblocking(False)
        try:
            while True:
                s.send(bytes(1 << 16))
        except BlockingIOError:
            pass
    return sockets


def connect_unanswered(to, n):
    waiting = []
    for _ in range(n):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(to)
        waiting.append(s)
    return waiting


def in_a_backlog():
    listener = listen(1)
    waiting = connect_unanswered((address, port), 8)
    wait_for(listener, select.POLLIN)
    return listener, waiting


def queued():
    listener = listen()
    wait_for(listener, select.POLLIN)
    return listener


def transfer():
    """Both directions under way, of each connection."""
    sockets = connect_all()
    got = 0
    for s in sockets:
        s.setblocking(False)
    ep = select.epoll()
    by_number = {s.fileno(): s for s in sockets}
    for s in sockets:
        ep.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    while got < 1 << 20:
        for number, _ in ep.poll():
            for f in (lambda s: s.send(bytes(1 << 15)), lambda s: s.recv(1 << 15)):
                try:
                    n = f(by_number[number])
                    got += len(n) if isinstance(n, bytes) else 0
                except BlockingIOError:
                    pass
        for s in sockets:
            ep.modify(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    return sockets, ep


def close_all(sockets):
    for s in sockets:
        s.close()


def half_close(sockets):
    for s in sockets:
        s.shutdown(socket.SHUT_WR)
    return sockets


def end_of_file(sockets):
    for s in sockets:
        while s.recv(1 << 16):
            pass
    return sockets


def unlisten_with_a_queue():
    queued().close()


def forked(what):
    """Dies first; its child, which has the same sessions, after it."""
    held = what()
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)
        die()
    return held


STREAM = {
    "alone-attached": lambda: socket.socket().bind((address, 0)),
    "alone-listens": listen,
    "alone-connects-to-nobody": lambda: connect_unanswered((nobody, 9), CONNECTIONS),
    "alone-waits-for-a-backlog": in_a_backlog,
    "alone-unlistened": lambda: listen().close(),
    "serves-queued": queued,
    "serves-unlistened": unlisten_with_a_queue,
    "serves-accepted": accept_all,
    "serves-read": lambda: accept_all(1),
    "serves-read-all": lambda: accept_all(64),
    "serves-forked": lambda: forked(accept_all),
    "serves-half-closed-by-peer": lambda: [end_of_file(a[1]) and a for a in [accept_all()]],
    "serves-closed-unread": lambda: close_all(accept_all()[1]),
    "serves-half-closed": lambda: [half_close(a[1]) and a for a in [accept_all(64)]],
    "asks-connected": connect_all,
    "asks-unread": lambda: connect_all(bytes(30_000)),
    "asks-transfer": transfer,
    "asks-unsent": lambda: fill(connect_all_quiet()),
    "asks-forked": lambda: forked(lambda: connect_all(b"both")),
    "asks-half-closed": lambda: half_close(connect_all(b"unread")),
    "asks-half-closed-unsent": lambda: half_close(fill(connect_all_quiet())),
    "asks-ended": lambda: end_of_file(half_close(connect_all(b"read"))),
    "asks-closing-unsent": lambda: close_all(fill(connect_all_quiet())),
    "asks-closing-unread": lambda: close_all(connect_all(b"unread")),
    "asks-closed": lambda: close_all(end_of_file(half_close(connect_all(b"read")))),
}


def connect_all_quiet():
    sockets = connect_all()
    for s in sockets:
        s.sendall(b"QUIET")  # whatever follows is not read
    return sockets


# --- Datagrams


def datagram(to=None, at=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if at is not None:
        s.bind((address, at))
    if to:
        s.connect(to)
    return s


def asked(read):
    """So often that they are linked where they can be; the last answer is there, unread unless `read`."""
    sockets = [datagram((peer, peer_port)) for _ in range(CONNECTIONS)]
    for s in sockets:
        for i in range(20):
            s.send(b"%d" % i)
            wait_for(s, select.POLLIN)
            if read or i < 19:
                s.recv(100)
    return sockets


def asked_without_a_peer():
    s = datagram(at=port)
    for i in range(40):
        s.sendto(b"%d" % i, (peer, peer_port))
        wait_for(s, select.POLLIN)
        if i < 39:
            s.recvfrom(100)
    return s


def by_itself(read):
    """Two sockets of its own: datagrams unread at either, more than there is room for."""
    here, there = datagram(at=port), datagram((address, port))
    there.send(b"first")
    here.connect(here.recvfrom(100)[1])
    for s in here, there:
        for _ in range(3000):
            s.send(bytes(1000))
    for s in here, there:
        wait_for(s, select.POLLIN)
        if read:
            s.recv(1000)
    return here, there


def shut_down(sockets):
    for s in sockets:
        s.shutdown(socket.SHUT_RDWR)
    return sockets


DATAGRAMS = {
    "alone-datagram-bound": lambda: datagram(at=port),
    "alone-datagram-by-itself": lambda: by_itself(False),
    "alone-datagram-by-itself-read": lambda: by_itself(True),
    "alone-datagram-to-nobody": lambda: datagram((nobody, 9)).send(b"anybody?"),
    "alone-datagram-closed": lambda: close_all(by_itself(False)),
    "datagrams-connected": lambda: datagram((peer, peer_port)),
    "datagrams-sent": lambda: [s.send(b"x") and s for s in [datagram((peer, peer_port))]],
    "datagrams-unread": lambda: asked(False),
    "datagrams-read": lambda: asked(True),
    "datagrams-without-a-peer": asked_without_a_peer,
    "datagrams-forked": lambda: forked(lambda: asked(False)),
    "datagrams-shut-down": lambda: shut_down(asked(False)),
    "datagrams-closed": lambda: close_all(asked(False)),
}

STEPS = {**STREAM, **DATAGRAMS}

if __name__ == "__main__":
    step, address, port, peer, peer_port, attach_socket, nobody = sys.argv[1:]
    port, peer_port = int(port), int(peer_port)
    held = {**ATTACH, **STEPS}[step]()  # until the very end
    die()
