#!/usr/bin/python3
"""What ICMP errors do to datagram sockets, and what control messages say, over whatever network the process has: it prints
what is to be the same everywhere.
usage: datagram_errors.py forge ADDRESS PORT       answers each datagram by the errors that it asks for, and by itself
       datagram_errors.py report OWN_ADDRESS PEER_ADDRESS PORT INTERFACE      of who asks so; its interface's number
       datagram_errors.py answer OWN_ADDRESS PORT GROUP|- DESTINATION
answer: hears what comes there, once, by IP_PKTINFO, and answers with the control message that came. report's error queues
have all control messages that there are."""

import errno
import os
import socket
import struct
import sys
import time

from checks import await_stamps, expect, failure

IP_PKTINFO, IP_RECVERR, IP_MTU_DISCOVER, IP_RECVTTL, IP_RECVTOS = 8, 11, 10, 12, 13
IPV6_RECVERR, IPV6_MTU_DISCOVER = 25, 23
V4, V6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
TTL, TOS = 99, 0x48  # of the errors
STAMPS = {29: "SO_TIMESTAMP", 35: "SO_TIMESTAMPNS", 37: "SO_TIMESTAMPING"}


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return 0xffff - ((total & 0xffff) + (total >> 16))


def quote(source, to, payload):
    """The packet that an error is about, as it may have been."""
    family = family_of(source[0])
    udp = struct.pack("!HHHH", source[1], to[1], 8 + len(payload), 0) + payload
    ends = [socket.inet_pton(family, name[0]) for name in (source, to)]
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, len(udp), 17, 63) + ends[0] + ends[1] + udp
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0x4000, 63, 17, 0, *ends)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def forge(own, port):
    family = family_of(own)
    six = family == socket.AF_INET6
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((own, port))
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    raw.setsockopt(V6 if six else V4, socket.IPV6_UNICAST_HOPS if six else socket.IP_TTL, TTL)
    raw.setsockopt(V6 if six else V4, socket.IPV6_TCLASS if six else socket.IP_TOS, TOS)
    if six:
        raw.bind((own, 0))
    print("port", port, flush=True)
    while True:
        asked, peer = s.recvfrom(2000)
        for words in asked.decode().split(";"):
            if words and words != "ready":
                type, code, rest = map(int, words.split())
                error = struct.pack("!BBHI", type, code, 0, rest) + quote(peer, (own, port), asked)
                error += bytes(len(error) % 2)
                if not six:  # of IPv6 the kernel fills it in
                    error = error[:2] + struct.pack("!H", checksum(error)) + error[4:]
                raw.sendto(error, (peer[0], 0))
        s.sendto(asked, peer)


class Report:
    def __init__(self, own, peer, port, interface):
        self.own, self.peer, self.port, self.interface = own, peer, port, interface
        self.six = ":" in own
        self.level = V6 if self.six else V4

    def socket(self, connected, *options):
        s = socket.socket(family_of(self.own), socket.SOCK_DGRAM)
        s.settimeout(1)
        for option in options:
            s.setsockopt(*option)
        if connected:
            s.connect((self.peer, self.port))
        for _ in range(60):  # the first packets of a link may be lost
            try:
                self.send(s, b"ready")
                s.recv(100)
                break
            except TimeoutError:
                pass
        else:
            sys.exit("FAILED: nobody answers")
        s.settimeout(100)
        return s

    def send(self, s, payload):
        s.sendto(payload, (self.peer, self.port))

    def ask(self, s, *errors):
        """The errors of calls before the answer comes, by name."""
        asked = ";".join("%d %d %d" % e for e in errors).encode()
        asked += b" " * (len(asked) % 2)  # who quotes it has nothing to add
        self.send(s, asked)
        failures = []
        answer = b"ready"
        while answer == b"ready":  # late ones of those that were sent again
            try:
                answer = s.recv(100)
            except OSError as e:
                if e.errno is None:
                    sys.exit(f"FAILED: no answer to {asked}")
                failures.append(errno.errorcode[e.errno])
        expect(answer == asked, f"{answer} to {asked}")
        return " ".join(failures) or "nothing"

    def name(self, packed):
        """Of an address that both networks have by another name."""
        if not any(packed):
            return "none"
        address = socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)
        return {self.own: "own", self.peer: "peer"}.get(address, address)

    def message(self, level, type, value):
        if level == socket.SOL_SOCKET:
            at = struct.unpack_from("qq", value)
            return f"{STAMPS.get(type, type)} {'of now' if abs(at[0] - time.time()) < 3600 else at}"
        if (level, type) in ((V4, IP_RECVERR), (V6, IPV6_RECVERR)):
            error, *origin, _, info, _ = struct.unpack_from("IBBBBII", value)
            offender = value[24:40] if level == V6 else value[20:24]
            family = struct.unpack_from("H", value, 16)[0]
            return f"error {errno.errorcode[error]} {origin} info {info} family {family} from {self.name(offender)}"
        if (level, type) == (V4, IP_PKTINFO):
            interface, spec, to = struct.unpack("I4s4s", value)
            return f"IP_PKTINFO {self.by(interface)} {self.name(spec)} {self.name(to)}"
        if (level, type) == (V6, socket.IPV6_PKTINFO):
            to, interface = struct.unpack("16sI", value)
            return f"IPV6_PKTINFO {self.by(interface)} {self.name(to)}"
        return f"level {level} type {type}: {value.hex()}"

    def by(self, interface):
        return "by the link" if interface == self.interface else f"by {interface}"

    def queue(self, s):
        """What waits in the error queue."""
        while True:
            s.setblocking(False)
            try:
                data, control, _, name = s.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                return
            finally:
                s.settimeout(100)
            yield f"{data} to {self.name(socket.inet_pton(family_of(self.own), name[0]))}"
            for each in control:
                yield "  " + self.message(*each)

    def say(self, s, what, error):
        print(what, self.ask(s, error), *self.queue(s), sep="\n  ")

    def asked(self):
        """All that may be asked of an error."""
        if self.six:
            return [(1, 0, 0), (1, 1, 0), (1, 2, 0), (1, 3, 0), (1, 4, 0), (1, 5, 0), (1, 6, 0), (1, 7, 0), (1, 200, 0),
                    (1, 0, 77), (2, 0, 1400), (2, 0, 1400), (2, 0, 1000), (3, 0, 0), (3, 1, 0), (4, 0, 40), (4, 1, 6),
                    (4, 2, 0), (5, 0, 0), (100, 1, 9)]
        return [*((3, code, 0) for code in range(17) if code != 4), (3, 200, 0), (3, 1, 77), (3, 4, 1400), (3, 4, 1400),
                (3, 4, 0), (4, 0, 0), (5, 1, 0), (11, 0, 0), (11, 1, 0), (11, 2, 0), (12, 0, 20 << 24), (12, 1, 0), (31, 0, 0)]

    def run(self):
        mode = (self.level, IPV6_MTU_DISCOVER if self.six else IP_MTU_DISCOVER)
        all_errors = (self.level, IPV6_RECVERR if self.six else IP_RECVERR, 1)
        marks = [(V6, name, 1) for name in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS)] \
            if self.six else [(V4, name, 1) for name in (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS)]
        asks = self.socket(False)
        await_stamps(asks, lambda: self.send(asks, b"ready"))
        for stamps in ([], [29], [35], [37]):
            options = [(socket.SOL_SOCKET, name, 0x18 if name == 37 else 1) for name in stamps]
            for more in ([], marks, *([mark] for mark in marks)):
                s = self.socket(False, all_errors, *options, *more)
                self.say(s, f"control messages of {stamps} {more}", self.refusal())
                s.setsockopt(*mode, 2)
                print("of this host", failure(self.send, s, bytes(2000)), *self.queue(s), sep="\n  ")
        asks.close()
        s = self.socket(True)
        for error in self.asked():
            print("connected", *error, self.ask(s, error))
        for value in range(6):
            s = self.socket(True, (*mode, value))
            print("path mode", value, self.ask(s, self.too_big(1400)))
            s = self.socket(False, (*mode, value), all_errors)
            self.say(s, f"path mode {value}, all errors", self.too_big(1400))
        s = self.socket(False)
        print("nobody's", self.ask(s, self.refusal()))
        for connected in (True, False):
            s = self.socket(connected, all_errors)
            for error in self.asked():
                self.say(s, f"all errors, {'a' if connected else 'no'} peer, {error}", error)

    def refusal(self):
        return (1, 4, 0) if self.six else (3, 3, 0)

    def too_big(self, mtu):
        return (2, 0, mtu) if self.six else (3, 4, mtu)


def answer(own, port, group, destination):
    family = family_of(own)
    level = V6 if family == socket.AF_INET6 else V4
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if group != "-" and level == V4:
        s.setsockopt(V4, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(own))
    elif group != "-":
        interface = 0 if "LD_PRELOAD" in os.environ else socket.if_nametoindex("tap0")
        s.setsockopt(V6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, group) + struct.pack("I", interface))
    s.setsockopt(level, socket.IPV6_RECVPKTINFO if level == V6 else IP_PKTINFO, 1)
    s.bind(("", port))
    print("port", port, flush=True)
    data, control, _, peer = s.recvmsg(100, 1000)
    kind, value = control[0][1:]
    expect(len(control) == 1 and kind == (socket.IPV6_PKTINFO if level == V6 else IP_PKTINFO), f"{control}")
    if level == V6:
        to, interface = struct.unpack("16sI", value)
        expect(socket.inet_ntop(family, to) == destination and interface != 0, f"{to} {interface}")
    else:
        interface, spec, to = struct.unpack("I4s4s", value)
        expect(socket.inet_ntoa(to) == destination and interface != 0, f"ipi_addr {to} by {interface}")
        expect(socket.inet_ntoa(spec) == own, f"ipi_spec_dst {socket.inet_ntoa(spec)}")
    error = failure(s.sendmsg, [b"heard " + data], control, 0, peer)
    expect(error == (errno.EINVAL if level == V6 and group != "-" else 0), f"an answer by what came: {error}")
    s.sendto(b"heard " + data, peer)
    print("answered", peer[0], flush=True)


what, address, *rest = sys.argv[1:]
if what == "forge":
    forge(address, int(rest[0]))
elif what == "answer":
    answer(address, int(rest[0]), *rest[1:])
else:
    Report(address, rest[0], int(rest[1]), int(rest[2])).run()
