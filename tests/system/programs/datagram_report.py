#!/usr/bin/python3
"""Says what comes, and sends what is to be told apart, over whatever network the process has.
usage: datagram_report.py report ADDRESS PORT [GROUP [SOURCE]]  each datagram with its bytes, TTL, TOS and sender; answers it
       datagram_report.py send ADDRESS PORT BYTES [ttl N] [tos N] [segment N] [link ADDRESS] [answered]
link: by the interface with that address, of the kernel's. answered: again and again, until somebody answers."""

import fcntl
import ipaddress
import socket
import struct
import sys

UDP_SEGMENT, SIOCGIFADDR = 103, 0x8915
MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP = 42, 46


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def kernels_index(address):
    """The number of the kernel's interface that has the address; 0: none has."""
    packed = ipaddress.ip_address(address).packed
    if len(packed) == 16:
        with open("/proc/net/if_inet6") as f:
            return next((int(line.split()[1], 16) for line in f if line.split()[0] == packed.hex()), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(s, SIOCGIFADDR, name.encode().ljust(40, b"\0"))
            except OSError:  # it has none
                continue
            if answer[20:24] == packed:
                return index
    return 0


def storage(address):
    """A sockaddr_storage."""
    if ":" in address:
        name = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address), 0)
    else:
        name = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(address))
    return name.ljust(128, b"\0")


def join(s, own, group, source):
    """By the interface of the address; of what has no such one, by route."""
    level = socket.IPPROTO_IPV6 if s.family == socket.AF_INET6 else socket.IPPROTO_IP
    index = kernels_index(own)
    if source is None and level == socket.IPPROTO_IPV6:
        s.setsockopt(level, socket.IPV6_JOIN_GROUP, socket.inet_pton(s.family, group) + struct.pack("=I", index))
    elif source is None:
        s.setsockopt(level, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(own))
    else:
        s.setsockopt(level, MCAST_JOIN_SOURCE_GROUP, struct.pack("=II", index, 0) + storage(group) + storage(source))


def name_of(peer):
    """The address, with the number of the interface if it has one."""
    return f"{peer[0]}%{peer[3]}" if peer[3:] and peer[3] else peer[0]


def report(own, port, group=None, source=None):
    family = family_of(own)
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        names = {(socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT): "ttl", (socket.IPPROTO_IPV6, socket.IPV6_TCLASS): "tos"}
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        s.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        names = {(socket.IPPROTO_IP, socket.IP_TTL): "ttl", (socket.IPPROTO_IP, socket.IP_TOS): "tos"}
    s.bind((("" if group else own), int(port)))
    if group:
        join(s, own, group, source)
    print("port", port, flush=True)
    while True:
        data, control, _, peer = s.recvmsg(65535, 200)
        said = {names[c[:2]]: int.from_bytes(c[2], sys.byteorder) for c in control if c[:2] in names}
        print(f"got {len(data)} bytes, ttl {said['ttl']}, tos {said['tos']}, from {name_of(peer)}.", flush=True)
        s.sendto(b"%d" % len(data), peer)


def send(address, port, n, *words):
    family = family_of(address)
    level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    words = list(words)
    is_answered = False
    while words:
        word = words.pop(0)
        if word == "answered":
            is_answered = True
            continue
        value = words.pop(0)
        if word == "link":
            if family == socket.AF_INET6:
                s.setsockopt(level, socket.IPV6_MULTICAST_IF, kernels_index(value))
            else:
                s.setsockopt(level, socket.IP_MULTICAST_IF, socket.inet_aton(value))
        elif word == "segment":
            s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, int(value))
            if s.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT) != int(value):
                sys.exit("UDP_SEGMENT does not say what was set")
        else:
            names = {"ttl": socket.IPV6_UNICAST_HOPS, "tos": socket.IPV6_TCLASS} if family == socket.AF_INET6 \
                else {"ttl": socket.IP_TTL, "tos": socket.IP_TOS}
            s.setsockopt(level, names[word], int(value))
            if s.getsockopt(level, names[word]) != int(value):
                sys.exit(f"{word} is not what was set")
    s.settimeout(1)
    for _ in range(60):
        s.sendto(bytes(int(n)), (address, int(port)))
        if not is_answered:
            return
        try:
            s.recv(100)
        except TimeoutError:
            continue
        return
    sys.exit("no answer")


if __name__ == "__main__":
    {"report": report, "send": send}[sys.argv[1]](*sys.argv[2:])
