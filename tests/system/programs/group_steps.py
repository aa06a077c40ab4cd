#!/usr/bin/python3
"""Joins and leaves groups by the interface of that number as datagrams to its port say, over whatever network the process has:
"join GROUP [SOURCE]", "leave GROUP [SOURCE]"; answers each. usage: group_steps.py OWN_ADDRESS PORT INTERFACE"""

import socket
import struct
import sys

JOIN, LEAVE, JOIN_SOURCE, LEAVE_SOURCE = 42, 45, 46, 47  # MCAST_*
own, port, interface = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
six = ":" in own
family, level = (socket.AF_INET6, socket.IPPROTO_IPV6) if six else (socket.AF_INET, socket.IPPROTO_IP)


def storage(address):
    """A sockaddr_storage."""
    name = struct.pack("=HHI16s" if six else "=HH4s", family, 0, *([0] if six else []), socket.inet_pton(family, address))
    return name.ljust(128, b"\0")


member = socket.socket(family, socket.SOCK_DGRAM)
member.bind(("", port + 1))
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind((own, port))
print("port", port, flush=True)
while True:
    said, peer = s.recvfrom(1000)
    what, *names = said.decode().split()
    option = {("join", 1): JOIN, ("leave", 1): LEAVE, ("join", 2): JOIN_SOURCE, ("leave", 2): LEAVE_SOURCE}[what, len(names)]
    member.setsockopt(level, option, struct.pack("=II", interface, 0) + b"".join(map(storage, names)))
    s.sendto(said, peer)
