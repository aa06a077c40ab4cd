"""A thread a connection: 20 clients of the kernel at once, then 20 threads that connect."""
import socket
import sys
import threading

import peer

stack, host = sys.argv[1], sys.argv[2]
with peer.make_server(stack) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    peer.finish(peer.start_client(stack, server.server_address[1], 20, 300_000))
    server.shutdown()
failures = []


def one(port, i):
    try:
        with socket.create_connection((host, port), timeout=120) as s:
            peer.exchange(s, 300_000, i)
    except Exception as e:
        failures.append(f"{i}: {e!r}")


with peer.server(host) as port:
    threads = [threading.Thread(target=one, args=(port, i)) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
assert not failures, failures[:5]
