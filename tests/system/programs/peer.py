"""Shared by the test programs, which run over Hostloom: starts their peers, which run over the kernel.

As a program it is such a peer: `peer.py client ADDRESS PORT N BYTES` opens N connections at once, sends BYTES over each,
closes its sending side, and checks that exactly the same comes back; `peer.py server ADDRESS PORT` echoes until its
standard input ends, and prints "ready" first.
"""

import hashlib
import os
import socket
import socketserver
import subprocess
import sys
import threading


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def payload(n, key=0):
    return hashlib.shake_128(str(key).encode()).digest(n)


def kernel_env():
    return {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "VCL_CONFIG")}


def start(*args, **kw):
    return subprocess.Popen([sys.executable, __file__] + [str(a) for a in args], env=kernel_env(), stdout=subprocess.PIPE,
                            **kw)


def start_client(address, port, n=1, size=1 << 20):
    return start("client", address, port, n, size)


def finish(process, seconds=50):
    out = process.communicate(timeout=seconds)[0]
    assert process.returncode == 0, f"the kernel's side failed: {out!r}"


class server:
    """An echo server of the kernel, as a context manager; gives its port."""

    def __init__(self, address):
        self.process = start("server", address, 0, stdin=subprocess.PIPE)

    def __enter__(self):
        return int(self.process.stdout.readline().split()[1])

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.wait(20)


def exchange(s, size, key=0):
    """Sends and receives at the same time, so that no buffer size matters; ends with a half close."""
    data = payload(size, key)

    def send():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    got = bytearray()
    while True:
        more = s.recv(1 << 16)
        if not more:
            break
        got += more
    sender.join()
    assert bytes(got) == data, f"sent {len(data)} bytes, got {len(got)} bytes that {'differ' if len(got) == len(data) else 'are not all'}"


def echo(s):
    """Serves one connection to its end."""
    with s:
        while True:
            data = s.recv(1 << 16)
            if not data:
                return
            s.sendall(data)


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while True:
            data = self.request.recv(1 << 16)
            if not data:
                return
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def make_server(address, port=0):
    Server.address_family = family_of(address)
    return Server((address, port), Handler)


def main():
    role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if role == "server":
        with make_server(address, port) as s:
            print("ready", s.server_address[1], flush=True)
            threading.Thread(target=s.serve_forever, daemon=True).start()
            sys.stdin.read()
            s.shutdown()
        return
    n, size = int(sys.argv[4]), int(sys.argv[5])
    failures = []

    def one(i):
        try:
            with socket.create_connection((address, port), timeout=240) as s:
                exchange(s, size, i)
        except Exception as e:  # a thread's exception would be lost
            failures.append(f"connection {i}: {e!r}")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        print("; ".join(failures[:5]))
        sys.exit(1)


if __name__ == "__main__":
    main()
