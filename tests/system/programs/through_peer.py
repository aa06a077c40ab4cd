"""Both ends of stream connections between two programs, for cut-through sessions.
usage: through_peer.py serve ADDRESS PORT | talk ADDRESS PORT | hold ADDRESS PORT | half ADDRESS PORT |
       through_peer.py stream ADDRESS PORT

serve: an echo server in one thread (selectors), until it is killed. A connection whose first bytes are "QUIET" is never
answered or read again; "left alone" on stdout says so. talk: sizes from a byte to a megabyte, echoed and compared, blocking and by epoll (edge
triggered), half close, abort. hold: says "up" on stdout when connected, then waits for the end of the connection and
says how it came. half: the same, with its own direction closed. stream: bytes that are echoed and compared, until it is
ended; says after each quarter of a megabyte how many there were.
"""

import hashlib
import select
import selectors
import socket
import struct
import sys


def serve(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=64)
    waits = selectors.DefaultSelector()
    waits.register(listener, selectors.EVENT_READ, None)
    pending = {}
    print("listening", flush=True)
    while True:
        for key, _ in waits.select():
            if key.fileobj is listener:
                s, _ = listener.accept()
                s.setblocking(False)
                waits.register(s, selectors.EVENT_READ, s)
                pending[s] = bytearray()
                continue
            s = key.fileobj
            try:
                if key.events & selectors.EVENT_READ:
                    data = s.recv(1 << 18)
                    if not data and not pending[s]:
                        raise ConnectionResetError
                    if data.startswith(b"QUIET"):
                        waits.unregister(s)
                        print("left alone", flush=True)
                        continue
                    pending[s] += data
                    if not data:  # half closed: what is owed, then our end
                        s.setblocking(True)
                        s.sendall(pending[s])
                        raise ConnectionResetError
                if pending[s]:
                    del pending[s][:s.send(pending[s])]
            except BlockingIOError:
                pass
            except (ConnectionResetError, BrokenPipeError):
                waits.unregister(s)
                pending.pop(s)
                s.close()
                continue
            wanted = selectors.EVENT_WRITE if pending[s] else selectors.EVENT_READ
            if key.events != wanted:
                waits.modify(s, wanted, s)


def receive_exactly(s, n):
    data = bytearray()
    while len(data) < n:
        part = s.recv(n - len(data))
        assert part, f"end of file after {len(data)} of {n} bytes"
        data += part
    return bytes(data)


def talk(address, port):
    for size in (1, 64, 1000, 65536, 1 << 20):
        with socket.create_connection((address, port)) as s:
            data = hashlib.shake_128(str(size).encode()).digest(size)
            for _ in range(3):
                s.sendall(data)
                assert receive_exactly(s, size) == data, f"{size} bytes came back changed"

    # Edge-triggered epoll, both directions at once.
    data = hashlib.shake_128(b"edge").digest(4 << 20)
    with socket.create_connection((address, port)) as s:
        s.setblocking(False)
        ep = select.epoll()
        ep.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        sent, got = 0, bytearray()
        while len(got) < len(data):
            assert ep.poll(20), f"no event with {sent} sent and {len(got)} received"
            try:
                while sent < len(data):
                    sent += s.send(data[sent:sent + 100_000])
            except BlockingIOError:
                pass
            try:
                while len(got) < len(data):
                    part = s.recv(1 << 17)
                    assert part, "end of file"
                    got += part
            except BlockingIOError:
                pass
        assert bytes(got) == data, "edge-triggered: bytes changed"
        ep.close()

    # Half close: what was sent comes back, then the end.
    with socket.create_connection((address, port)) as s:
        s.sendall(b"last words")
        s.shutdown(socket.SHUT_WR)
        assert receive_exactly(s, 10) == b"last words"
        assert s.recv(1) == b"", "no end of file"

    # Addresses, options and facts of an ordinary connection.
    with socket.create_connection((address, port)) as s:
        assert s.getpeername()[:2] == (address, port), s.getpeername()
        assert s.getsockname()[0] == address and s.getsockname()[1] != 0, s.getsockname()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        state = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[0]
        assert state == 1, f"state {state}, not ESTABLISHED"
        # Abort.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    print("talked", flush=True)


def hold(address, port, half_closed=False):
    s = socket.create_connection((address, port))
    s.sendall(b"QUIET")
    if half_closed:
        s.shutdown(socket.SHUT_WR)
    print("up", flush=True)
    try:
        print("end of file" if s.recv(1) == b"" else "data", flush=True)
    except ConnectionResetError:
        print("reset", flush=True)


def stream(address, port, ahead=100_000):
    """`ahead`: bytes that are on the way at most."""
    pattern = hashlib.shake_128(b"stream").digest(1_000_003)  # of no power of two: what is lost or said twice is seen
    pattern += pattern
    at, said = [0, 0], 0  # sent, received
    with socket.create_connection((address, port)) as s, select.epoll() as ep:
        s.setblocking(False)
        ep.register(s, select.EPOLLIN)
        while True:
            try:
                while (room := ahead - (at[0] - at[1])) > 0:
                    begin = at[0] % 1_000_003
                    at[0] += s.send(pattern[begin:begin + min(room, 1 + at[0] % 60_000)])
            except BlockingIOError:
                pass
            assert ep.poll(60), f"nothing came back for a minute, {at[1]} of {at[0]} bytes so far"
            try:
                got = s.recv(1 << 16)
                begin = at[1] % 1_000_003
                assert got, f"end of file after {at[1]} bytes"
                assert got == pattern[begin:begin + len(got)], f"bytes {at[1]} and following came back changed"
                at[1] += len(got)
            except BlockingIOError:
                pass
            if at[1] - said >= 1 << 18:
                said = at[1]
                print(said, flush=True)


def half(address, port):
    hold(address, port, half_closed=True)


if __name__ == "__main__":
    {"serve": serve, "talk": talk, "hold": hold, "half": half, "stream": stream}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
