"""fork as servers use it: a child a connection (the parent closes its copy), and processes that share a listener."""
import os
import socket
import sys

import peer

stack, host = sys.argv[1], sys.argv[2]


def reap(n):
    for _ in range(n):
        _, status = os.wait()
        assert status == 0, f"a child ended with status {status}"


def child(fn, *args):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fn(*args)
            status = 0
        finally:
            os._exit(status)
    return pid


# The parent accepts, the child serves.
listener = socket.create_server((stack, 0), backlog=64)
port = listener.getsockname()[1]
client = peer.start_client(stack, port, 8, 200_000)
for _ in range(8):
    s, _ = listener.accept()

    def serve():
        listener.close()
        peer.echo(s)

    child(serve)
    s.close()
reap(8)
peer.finish(client)


# Three processes accept from one listener until they are told to end by a byte in a pipe of their own.
def worker():
    import select
    while True:
        ready = select.select([listener, stop_r], [], [])[0]
        if stop_r in ready:
            return
        try:
            s, _ = listener.accept()
        except BlockingIOError:
            continue  # another was faster
        s.setblocking(True)
        peer.echo(s)


listener.setblocking(False)
stop_r, stop_w = os.pipe()
for _ in range(3):
    child(worker)
peer.finish(peer.start_client(stack, port, 24, 50_000))
os.write(stop_w, b"x")
reap(3)
listener.close()

# A connection opened before the fork goes on in the child.
with peer.server(host) as kernel_port:
    s = socket.create_connection((host, kernel_port))
    s.sendall(b"from the parent")
    assert s.recv(15, socket.MSG_WAITALL) == b"from the parent"
    child(peer.exchange, s, 100_000)
    s.close()
    reap(1)
