"""Many short connections while listeners come and go.

`short_lived.py serve ADDRESS PORT...`: a thread a port that listens, serves a few connections (echo until the peer closes
its direction), closes the listener, with whatever waits in its queue, and begins again. Until it is told to stop.
`short_lived.py connect ADDRESS PORT...`: 1000 connections, several at a time. Each is either refused or reset before
its first byte came back, or gets back exactly what it sent. Prints how many were served.
"""
import concurrent.futures
import errno
import socket
import sys
import threading

import peer


def serve(address, port):
    for turn in range(1 << 30):
        with socket.create_server((address, port), backlog=4 + turn % 4) as listener:
            for _ in range(1 + turn % 7):
                connection, _ = listener.accept()
                with connection:
                    try:
                        while data := connection.recv(65536):
                            connection.sendall(data)
                    except ConnectionError:
                        pass


def connect(address, port, key):
    """Whether it was served."""
    sent = peer.payload(1 + key * 37 % 9000, key)
    got = b""
    try:
        with socket.create_connection((address, port), timeout=240) as s:
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
            while data := s.recv(65536):
                got += data
    except OSError as e:
        assert isinstance(e, ConnectionError) or e.errno == errno.ENOTCONN, e  # shutdown() after a reset
        assert not got, f"broken after {len(got)} of {len(sent)} bytes"
        return False
    assert got == sent, f"{len(got)} bytes came back for {len(sent)}"
    return True


def main():
    command, address, ports = sys.argv[1], sys.argv[2], [int(x) for x in sys.argv[3:]]
    if command == "serve":
        threads = [threading.Thread(target=serve, args=(address, port)) for port in ports]
        for t in threads:
            t.start()
        print("ready", flush=True)
        threads[0].join()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: connect(address, ports[i % len(ports)], i), range(1000)))
    print("served", sum(results), "of", len(results))


main()
