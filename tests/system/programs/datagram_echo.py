"""A datagram echo server: prints its port, answers each datagram with itself."""
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((address, port))
    print("port", s.getsockname()[1], flush=True)
    while True:
        data, who = s.recvfrom(65536)
        s.sendto(data, who)
