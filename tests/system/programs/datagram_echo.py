"""A datagram echo server: prints its port, answers a small datagram with itself, a large one with its length and digest."""
import hashlib
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((address, port))
    print("port", s.getsockname()[1], flush=True)
    while True:
        data, who = s.recvfrom(65536)
        s.sendto(data if len(data) <= 1400 else f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode(), who)
