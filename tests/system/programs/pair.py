"""One connection between two programs, over sockets or by libvppcom.
usage: pair.py API serve ADDRESS PORT WAY | pair.py API talk ADDRESS PORT WAY |
       pair.py API dies SIDE ADDRESS PORT HOW | pair.py API lives SIDE ADDRESS PORT WAY HOW

API: "sockets" (under preload), or the path of libvppcom.so. WAY of waiting: blocking, poll, epoll-level, epoll-edge.
SIDE: listen or connect. serve: echoes until it is ended. talk: bytes of several connections at once, echoed and
compared; then half a close, and the end.

dies: sends ARRIVED bytes and kills itself once its peer's SENT ones are there; HOW says what it has done with them: read
or unread. lives: leaves what came in its fifo until the other has died, then reads it, and says what it got, what came
behind it, and what became of two writes. HOW "full": it writes without end, blocking, and says first how that ended.
"""

import ctypes
import errno
import hashlib
import os
import select
import signal
import socket
import sys

import vcl

ARRIVED, SENT = 30_000, 5000
RDHUP = select.POLLRDHUP  # numbers of poll are those of epoll


def pattern(n, key=b"pair"):
    return hashlib.shake_128(key).digest(n)


class Sockets:
    """What both interfaces have, by that of the kernel."""

    def __init__(self):
        self.sets, self.known = {}, {}

    def listen(self, address, port):
        return socket.create_server((address, port), backlog=64)

    def accept(self, listener):
        return listener.accept()[0]

    def connect(self, address, port):
        return socket.create_connection((address, port))

    def read(self, s, n, peek=False):
        return s.recv(n, socket.MSG_PEEK if peek else 0)

    def write(self, s, data):
        return s.send(data)

    def set_nonblocking(self, s):
        s.setblocking(False)

    def shut_write(self, s):
        s.shutdown(socket.SHUT_WR)

    def close(self, s):
        self.known.pop(s, None)
        s.close()

    def wait(self, way, wanted):
        """`wanted`: {session: events}. Returns {session: events} of those that have some."""
        numbers = {s.fileno(): s for s in wanted}
        if way == "poll":
            p = select.poll()
            for s, events in wanted.items():
                p.register(s, events)
            return {numbers[n]: events for n, events in p.poll()}
        ep = self.sets.setdefault(way, select.epoll())
        edge = select.EPOLLET if way == "epoll-edge" else 0
        for s, events in wanted.items():
            self.enter(ep, s, events | edge)
        return {numbers[n]: events for n, events in ep.poll() if n in numbers}

    def enter(self, ep, s, events):
        if self.known.get(s) != events:  # what is entered again has its edge again
            (ep.modify if s in self.known else ep.register)(s, events)
            self.known[s] = events


class Vcl:
    """The same by libvppcom."""

    def __init__(self, path):
        vcl.load(path)
        vcl.call("app_create", b"pair")
        self.sets, self.known = {}, {}

    @staticmethod
    def call(name, *args):
        try:
            return vcl.call(name, *args)
        except vcl.VclError as e:
            raise OSError(e.errno, e.strerror) from None  # as the class that this number has

    def create(self):
        return self.call("session_create", vcl.PROTO_TCP, 0)

    def listen(self, address, port):
        s = self.create()
        self.call("session_bind", s, ctypes.byref(vcl.endpoint(address, port)))
        self.call("session_listen", s, 64)
        return s

    def accept(self, listener):
        return self.call("session_accept", listener, None, 0)

    def connect(self, address, port):
        s = self.create()
        self.call("session_connect", s, ctypes.byref(vcl.endpoint(address, port)))
        return s

    def read(self, s, n, peek=False):
        buffer = ctypes.create_string_buffer(n)
        got = self.call("session_recvfrom", s, buffer, n, socket.MSG_PEEK if peek else 0, None)
        return buffer.raw[:got]

    def write(self, s, data):
        return self.call("session_write", s, bytes(data), len(data))

    def set_nonblocking(self, s):
        flags, length = ctypes.c_uint32(os.O_RDWR | os.O_NONBLOCK), ctypes.c_uint32(4)
        self.call("session_attr", s, vcl.SET_FLAGS, ctypes.byref(flags), ctypes.byref(length))

    def shut_write(self, s):
        self.call("session_shutdown", s, socket.SHUT_WR)

    def close(self, s):
        self.known.pop(s, None)
        self.call("session_close", s)

    def wait(self, way, wanted):
        if way == "poll":
            polls = (vcl.Poll * len(wanted))(*(vcl.Poll(session=s, events=events) for s, events in wanted.items()))
            self.call("poll", polls, len(polls), ctypes.c_double(-1))
            return {p.session: p.revents for p in polls if p.revents}
        if way not in self.sets:
            self.sets[way] = self.call("epoll_create")
        edge = select.EPOLLET if way == "epoll-edge" else 0
        for s, events in wanted.items():
            self.enter(self.sets[way], s, events | edge)
        got = (vcl.EpollEvent * 16)()
        n = self.call("epoll_wait", self.sets[way], got, 16, ctypes.c_double(-1))
        return {e.data: e.events for e in got[:n] if e.data in wanted}

    def enter(self, ep, s, events):
        if self.known.get(s) != events:
            op = 3 if s in self.known else 1  # EPOLL_CTL_MOD, EPOLL_CTL_ADD
            self.call("epoll_ctl", ep, op, s, ctypes.byref(vcl.EpollEvent(events=events, data=s)))
            self.known[s] = events


def write_all(s, data):
    while data:
        data = data[api.write(s, data):]


def read_exactly(s, n):
    got = bytearray()
    while len(got) < n:
        part = api.read(s, n - len(got))
        assert part, f"end of file after {len(got)} of {n} bytes"
        got += part
    return bytes(got)


# --- An echo, and who asks it


def echo_one_after_the_other(listener):
    while True:
        s = api.accept(listener)
        try:
            while data := api.read(s, 1 << 16):
                write_all(s, data)
        except ConnectionError:
            pass
        api.close(s)


def serve(address, port, way):
    listener = api.listen(address, port)
    print("listening", flush=True)
    if way == "blocking":
        return echo_one_after_the_other(listener)
    api.set_nonblocking(listener)
    owed, ended = {}, set()  # bytes by session; whose peer has half closed
    while True:
        wanted = {listener: select.POLLIN}
        for s, bytes_owed in owed.items():
            # Edges are asked for once, for all.
            wanted[s] = (select.POLLIN | select.POLLOUT if way == "epoll-edge" else
                         select.POLLOUT if bytes_owed else select.POLLIN)
        for s in api.wait(way, wanted):
            if s == listener:
                accept_all(listener, owed)
            else:
                serve_one(s, owed, ended)


def accept_all(listener, owed):
    try:
        while True:
            s = api.accept(listener)
            api.set_nonblocking(s)
            owed[s] = bytearray()
    except BlockingIOError:
        pass


def serve_one(s, owed, ended):
    """Until neither direction gets on, as edges want it."""
    is_stuck = False
    try:
        while not is_stuck:
            is_stuck = True
            if s not in ended and len(owed[s]) < 1 << 17:
                try:
                    data = api.read(s, 1 << 16)
                    is_stuck = False
                    owed[s] += data
                    if not data:
                        ended.add(s)
                except BlockingIOError:
                    pass
            if owed[s]:
                try:
                    del owed[s][:api.write(s, owed[s][:1 << 16])]
                    is_stuck = False
                except BlockingIOError:
                    pass
            if s in ended and not owed[s]:
                break
        else:
            return
    except ConnectionError:
        pass
    ended.discard(s)
    owed.pop(s)
    api.close(s)


def talk(address, port, way, n=3, size=1 << 20):
    """`n` connections at once, or one after the other for whom nothing can wait for several."""
    if way == "blocking":
        for _ in range(n):
            s = api.connect(address, port)
            data = pattern(20_000)
            for _ in range(50):
                write_all(s, data)
                assert read_exactly(s, len(data)) == data, "bytes came back changed"
            api.shut_write(s)
            assert api.read(s, 1) == b"", "more than was sent came back"
            api.close(s)
        print("talked", flush=True)
        return
    sessions = [api.connect(address, port) for _ in range(n)]
    data = {s: pattern(size, b"talk-%d" % i) for i, s in enumerate(sessions)}
    sent, got = dict.fromkeys(sessions, 0), {s: bytearray() for s in sessions}
    for s in sessions:
        api.set_nonblocking(s)
    while data:
        wanted = {s: select.POLLIN | (select.POLLOUT if way == "epoll-edge" or sent[s] < size else 0) for s in data}
        for s in api.wait(way, wanted):
            if talk_to_one(s, data[s], sent, got[s]):
                assert bytes(got[s]) == data.pop(s), "bytes came back changed"
                api.close(s)
    print("talked", flush=True)


def talk_to_one(s, data, sent, got):
    """True: its end has come."""
    try:
        while sent[s] < len(data):
            sent[s] += api.write(s, data[sent[s]:sent[s] + 50_000])
            if sent[s] == len(data):
                api.shut_write(s)
    except BlockingIOError:
        pass
    try:
        while part := api.read(s, 1 << 16):
            got += part
    except BlockingIOError:
        return False
    return True


# --- One of two dies


def open_side(side, address, port):
    if side == "connect":
        return api.connect(address, port)
    listener = api.listen(address, port)
    print("listening", flush=True)
    return api.accept(listener)


def dies(side, address, port, how):
    s = open_side(side, address, port)
    write_all(s, os.getpid().to_bytes(4, "big") + pattern(ARRIVED))
    if how == "read":
        read_exactly(s, SENT)
    else:
        while len(api.read(s, SENT, peek=True)) < SENT:
            pass
    os.kill(os.getpid(), signal.SIGKILL)


def outcome(f):
    try:
        return f()
    except OSError as e:
        return errno.errorcode[e.errno]


def fill(s):
    while True:
        api.write(s, bytes(1 << 16))


def lives(side, address, port, way, how):
    s = open_side(side, address, port)
    other = os.pidfd_open(int.from_bytes(read_exactly(s, 4), "big"))
    said = []
    if how == "full":
        said.append(f"blocked write: {outcome(lambda: fill(s))}")
    else:
        write_all(s, pattern(SENT))
    if way == "blocking":
        select.select([other], [], [])
    else:
        api.set_nonblocking(s)
        # Edges of what can be read, too: what arrived stays where it is. By level that would not be a wait.
        wanted = RDHUP | (select.POLLIN if way == "epoll-edge" else 0)
        events = 0
        while not events & RDHUP:
            events = api.wait(way, {s: wanted}).get(s, 0)
        said.append("with an error" if events & select.POLLERR else "without an error")
    got = bytearray()

    def read_all():
        while part := api.read(s, 7000):
            got.extend(part)
        return "end of file"
    end = outcome(read_all)
    assert bytes(got) == pattern(ARRIVED)[:len(got)], "what arrived has changed"
    said += [f"{len(got)} bytes", end, outcome(read_all), f"writes: {outcome(lambda: api.write(s, b'x'))}"
             f" {outcome(lambda: api.write(s, b'x'))}"]
    print("; ".join(said), flush=True)
    api.close(s)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    api = Sockets() if sys.argv[1] == "sockets" else Vcl(sys.argv[1])
    words = [int(w) if w.isdigit() else w for w in sys.argv[3:]]
    {"serve": serve, "talk": talk, "dies": dies, "lives": lives}[sys.argv[2]](*words)
