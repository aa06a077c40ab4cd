"""Datagram sockets of two programs on one daemon. usage: datagram_peer.py serve ADDRESS PORT | hold ADDRESS PORT |
talk ADDRESS PORT N | ask ADDRESS PORT

serve: answers each datagram with its source's address, its bytes and what came beside it. hold: connects, has one answer,
and waits for another that does not come. talk: N clients that ask in turn, by each way of waiting. ask: datagrams that are echoed, without connect, until it is ended; prints
after each hundred how many there were.
"""
import itertools
import select
import socket
import struct
import sys

what, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET


def expect(condition, message):
    if not condition:
        raise SystemExit(f"datagram_peer.py: {message}")


def fresh():
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(120)
    return s


def serve():
    with fresh() as s, select.epoll() as e:
        s.bind((address, port))
        s.setblocking(False)
        e.register(s, select.EPOLLIN | select.EPOLLET)
        print("listening", flush=True)
        while True:
            e.poll()
            while True:
                try:
                    data, who = s.recvfrom(65536)
                except BlockingIOError:
                    break
                if data != b"say nothing":
                    s.sendto(f"{who[1]} ".encode() + data, who)


def ask(s, data, own):
    s.send(data)
    return lambda got: expect(got == f"{own} ".encode() + data, f"asked {data[:20]!r}, got {got[:20]!r}")


def hold():
    with fresh() as s:
        s.connect((address, port))
        ask(s, b"here", s.getsockname()[1])(s.recv(65536))
        print("up", flush=True)
        s.settimeout(None)
        try:
            print("got", s.recv(65536), flush=True)
        except ConnectionRefusedError:
            print("refused", flush=True)


def talk():
    clients = [fresh() for _ in range(int(sys.argv[4]))]
    for c in clients:
        c.connect((address, port))
    own = [c.getsockname()[1] for c in clients]
    for size in (0, 1, 1400, 20_000, 60_000):
        check = [ask(c, bytes([i % 256]) * size, own[i]) for i, c in enumerate(clients)]
        for c, good in zip(clients, check):  # blocking
            good(c.recv(65536))
    with select.epoll() as e:
        for edge in (0, select.EPOLLET):
            for i, c in enumerate(clients):
                e.register(c, select.EPOLLIN | edge)
            for _ in range(3):
                waiting = {c.fileno(): (c, ask(c, b"epoll", own[i])) for i, c in enumerate(clients)}
                while waiting:
                    ready = e.poll(20)
                    expect(ready, "epoll_wait timed out")
                    for fd, _ in ready:
                        c, good = waiting.pop(fd)
                        good(c.recv(65536))
            for c in clients:
                e.unregister(c)
    p = select.poll()
    p.register(clients[0], select.POLLIN)
    expect(p.poll(0) == [], "readable before anything was sent")
    good = ask(clients[0], b"poll", own[0])
    expect(p.poll(20_000) == [(clients[0].fileno(), select.POLLIN)], "poll")
    good(clients[0].recv(65536))
    # Another peer and back; nobody is there in between.
    c = clients[0]
    c.connect((address, 1))
    c.send(b"anybody?")
    try:
        c.recv(10)
        expect(False, "an answer of nobody")
    except ConnectionRefusedError:
        pass
    c.connect((address, port))
    ask(c, b"again", c.getsockname()[1])(c.recv(65536))
    # Without a peer: by the transport, and the same to the program.
    with fresh() as s:
        s.sendto(b"unconnected", (address, port))
        got, who = s.recvfrom(65536)
        expect(got == f"{s.getsockname()[1]} unconnected".encode() and who[:2] == (address, port), f"{got} from {who}")
    # What it has no room for is dropped; whoever sends does not wait.
    for _ in range(5000):
        clients[-1].send(b"say nothing")
    print("ok", flush=True)


def ask_without_peer():
    with fresh() as s:
        for i in itertools.count(1):
            s.sendto(b"%d" % i, (address, port))
            got, who = s.recvfrom(65536)
            expect(got == b"%d" % i and who[:2] == (address, port), f"asked {i}, got {got} from {who}")
            if i % 100 == 0:
                print(i, flush=True)


{"serve": serve, "hold": hold, "talk": talk, "ask": ask_without_peer}[what]()
