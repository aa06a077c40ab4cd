"""Plain blocking sockets: serve a client of the kernel, then be a client of its server."""
import socket
import sys

import peer

stack, host = sys.argv[1], sys.argv[2]
with socket.create_server((stack, 0), family=peer.family_of(stack)) as listener:
    address = listener.getsockname()
    assert address[0] == stack and address[1] != 0, address
    for size in (0, 1, 1000, 5_000_000):
        client = peer.start_client(stack, address[1], 1, size)
        s, who = listener.accept()
        assert who[0] == host and s.getpeername()[:2] == who[:2] and s.getsockname()[:2] == address[:2], (who, s)
        peer.echo(s)
        peer.finish(client)
with peer.server(host) as port:
    for size in (0, 1, 1000, 5_000_000):
        with socket.create_connection((host, port), timeout=120) as s:
            assert s.getsockname()[0] == stack, s
            peer.exchange(s, size)
