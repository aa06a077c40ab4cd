#!/usr/bin/python3
"""What IP_MSFILTER and MCAST_MSFILTER (RFC 3678) set, answer and refuse, over whatever network the process has: lines that are
the same on the kernel and over Hostloom. usage: group_filters.py OWN INTERFACE_NUMBER"""

import ctypes
import errno
import socket
import struct
import sys

from checks import failure

IP_MSFILTER, MCAST_MSFILTER, JOIN4, JOIN_SOURCE4, BLOCK4, UNBLOCK4, JOIN6 = 41, 48, 35, 39, 38, 37, 20
INCLUDE, EXCLUDE = 1, 0
GROUP4, GROUP6 = "239.1.1.1", "ff05::5"
own, number = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)


def said(e):
    return errno.errorcode.get(e, "ok")


def put(s, level, name, value):
    return said(failure(s.setsockopt, level, name, value))


def get(s, level, name, value):
    """The outcome, and what is behind the group and the interface."""
    buffer, n = ctypes.create_string_buffer(value, len(value)), ctypes.c_uint32(len(value))
    if libc.getsockopt(s.fileno(), level, name, buffer, ctypes.byref(n)) != 0:
        return said(ctypes.get_errno())
    return n.value, buffer.raw[8 if name == IP_MSFILTER else 136:n.value].hex()


def ip4(group, mode, sources, n=None, address=own):
    return (socket.inet_aton(group) + socket.inet_aton(address) + struct.pack("II", mode, len(sources) if n is None else n) +
            b"".join(socket.inet_aton(a) for a in sources))


def name_of(a):
    if ":" in a:
        return struct.pack("HHI", socket.AF_INET6, 0, 0) + socket.inet_pton(socket.AF_INET6, a) + bytes(104)
    return struct.pack("HH", socket.AF_INET, 0) + socket.inet_aton(a) + bytes(120)


def any_family(group, mode, sources, n=None, interface=number):
    return (struct.pack("I4x", interface) + name_of(group) + struct.pack("II", mode, len(sources) if n is None else n) +
            b"".join(name_of(a) for a in sources))


def many(n, prefix="10.0.0."):
    return [f"{prefix}{i}" if prefix.endswith(".") else f"{prefix}{i:x}" for i in range(1, n + 1)]


def new(family):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind(("", 0))  # who answers before, under preload, is the kernel
    return s


def by_address():
    s = new(socket.AF_INET)
    room = ip4(GROUP4, 0, many(3))
    print("no member", put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, many(1))), put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, [])),
          get(s, 0, IP_MSFILTER, room))
    print("no group", put(s, 0, IP_MSFILTER, ip4("10.0.0.1", INCLUDE, many(1))), get(s, 0, IP_MSFILTER, ip4("10.0.0.1", 0, [])))
    print("no interface", put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, many(1), address="203.0.113.9")))
    print("joins", put(s, 0, JOIN4, socket.inet_aton(GROUP4) + socket.inet_aton(own)), get(s, 0, IP_MSFILTER, room))
    print("no mode", put(s, 0, IP_MSFILTER, ip4(GROUP4, 7, many(1))))
    print("short", put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, many(1), 2)), put(s, 0, IP_MSFILTER, bytes(15)),
          get(s, 0, IP_MSFILTER, bytes(12)))
    for sources in (many(10), many(11), ["10.0.0.5"] * 2):
        print(len(sources), put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, sources)), get(s, 0, IP_MSFILTER, room),
              get(s, 0, IP_MSFILTER, ip4(GROUP4, 0, many(20))), get(s, 0, IP_MSFILTER, ip4(GROUP4, 0, [])))
    for sources in (many(2), []):
        print("all but", sources, put(s, 0, IP_MSFILTER, ip4(GROUP4, EXCLUDE, sources)), get(s, 0, IP_MSFILTER, room))
    source = socket.inet_aton(GROUP4) + socket.inet_aton(own) + socket.inet_aton("10.0.0.9")
    print("one more", put(s, 0, JOIN_SOURCE4, source), put(s, 0, BLOCK4, source), get(s, 0, IP_MSFILTER, room))
    print("leaves", put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, [])), get(s, 0, IP_MSFILTER, room),
          put(s, 0, IP_MSFILTER, ip4(GROUP4, INCLUDE, [])))


def by_number():
    s = new(socket.AF_INET)
    s.setsockopt(0, JOIN4, socket.inet_aton(GROUP4) + socket.inet_aton(own))
    for sources in (many(2), many(11), ["fd00::1"]):
        print(sources[:2], put(s, 0, MCAST_MSFILTER, any_family(GROUP4, INCLUDE, sources)),
              get(s, 0, MCAST_MSFILTER, any_family(GROUP4, 0, many(3))), get(s, 0, IP_MSFILTER, ip4(GROUP4, 0, many(3))))
    for what, value in (("another family", any_family(GROUP6, INCLUDE, [])), ("short", bytes(100)),
                        ("no mode", any_family(GROUP4, 5, [])),
                        ("no interface", any_family(GROUP4, INCLUDE, many(1), interface=77)),
                        ("no member", any_family("239.9.9.9", INCLUDE, many(1))), ("no group", any_family("10.0.0.1", INCLUDE, []))):
        print(what, put(s, 0, MCAST_MSFILTER, value), get(s, 0, MCAST_MSFILTER, value))
    s = new(socket.AF_INET6)
    print("no member", put(s, 41, MCAST_MSFILTER, any_family(GROUP6, INCLUDE, ["fd00::1"])),
          put(s, 41, MCAST_MSFILTER, any_family(GROUP6, INCLUDE, [])), get(s, 41, MCAST_MSFILTER, any_family(GROUP6, 0, [])))
    s.setsockopt(41, JOIN6, socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("I", number))
    for mode in (INCLUDE, EXCLUDE):
        for n in (64, 65, 2):
            print(mode, n, put(s, 41, MCAST_MSFILTER, any_family(GROUP6, mode, many(n, "fd00::"))),
                  get(s, 41, MCAST_MSFILTER, any_family(GROUP6, 0, many(3, "::"))))
    for what, value in (("IPv4", any_family(GROUP4, INCLUDE, many(1))), ("no group", any_family("fd00::1", INCLUDE, [])),
                        ("no mode", any_family(GROUP6, 5, [])), ("no interface", any_family(GROUP6, INCLUDE, ["fd00::1"], interface=77)),
                        ("short", bytes(100))):
        print(what, put(s, 41, MCAST_MSFILTER, value), get(s, 41, MCAST_MSFILTER, value))
    # Not asked of getsockopt(): Linux writes as many sources as the structure says, however long it is.
    print("shorter than it says", put(s, 41, MCAST_MSFILTER, any_family(GROUP6, INCLUDE, [], 2)))
    print("leaves", put(s, 41, MCAST_MSFILTER, any_family(GROUP6, INCLUDE, [])), get(s, 41, MCAST_MSFILTER, any_family(GROUP6, 0, [])))


def kept():
    """What was asked for before the socket was bound holds when it is."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(0, JOIN4, socket.inet_aton(GROUP4) + socket.inet_aton(own))
    s.setsockopt(0, IP_MSFILTER, ip4(GROUP4, EXCLUDE, many(9)))
    s.setsockopt(0, UNBLOCK4, socket.inet_aton(GROUP4) + socket.inet_aton(own) + socket.inet_aton("10.0.0.1"))
    s.bind(("", 0))
    value = get(s, 0, IP_MSFILTER, ip4(GROUP4, 0, many(10)))
    print("kept", value[0], value[1][:16], sorted(value[1][i:i + 8] for i in range(16, len(value[1]), 8)))


for part in (by_address, by_number, kept):
    part()
