#!/usr/bin/python3
"""System tests of what datagram sockets are told besides datagrams: control messages, ICMP's errors, and what others are told
of their groups; against what the kernel says to the same programs. usage: udp_control_cases.py CASE"""

import ctypes
import difflib
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from lab import FAR_IP4, HOST_IP4, HOST_IP6, NEAR_IP4, STACK_IP4, STACK_IP6, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent / "programs"
ERRORS = [PYTHON, str(HERE / "datagram_errors.py")]
NEAR_IP6, FAR_IP6 = "fd89::1", "fd89::2"


def kernels_pair(lab):
    """Gives the veth's ends their addresses of IPv6."""
    lab.peer_namespace()
    for prefix, address, device in (([], NEAR_IP6, "near"), (lab.in_peer([]), FAR_IP6, "far")):
        subprocess.run([*prefix, "ip", "address", "add", f"{address}/64", "dev", device, "nodad"], check=True)


def interface_number(lab):
    index = re.search(r"^tap0\s+(\d+)", lab.cli("show", "interface"), re.MULTILINE)
    expect(index, "no tap0")
    return str(int(index[1]) + 1)


def errors():
    """Every ICMP error, what is in the error queue, and its control messages: of the kernel by a veth, of Hostloom by the
    TAP, from a raw socket at the other end."""
    with Lab() as lab:
        kernels_pair(lab)
        link = str(socket.if_nametoindex("near"))
        for (near, far), (stack, host) in (((NEAR_IP4, FAR_IP4), (STACK_IP4, HOST_IP4)), ((NEAR_IP6, FAR_IP6), (STACK_IP6, HOST_IP6))):
            with lab.program(lab.in_peer([*ERRORS, "forge", far, "7000"]), name="kernels-forger") as s:
                lab.port_of(s)
                linux = lab.run([*ERRORS, "report", near, far, "7000", link]).stdout.decode()
            with lab.program([*ERRORS, "forge", host, "7000"], name="forger") as s:
                lab.port_of(s)
                ours = lab.run([*ERRORS, "report", stack, host, "7000", interface_number(lab)], env=lab.preload()).stdout.decode()
            differences = list(difflib.unified_diff(linux.splitlines(), ours.splitlines(), "the kernel", "Hostloom", lineterm="", n=3))
            expect("nobody's" in linux and not differences, "\n".join(differences) or linux)
        expect_reclaimed(lab)


def answers():
    """Who hears groups and broadcasts by IP_PKTINFO answers with the control message that came; where that is IPv6's, as the
    kernel lets him."""
    def asks(own, to, link):
        """A program that sends to a group by its link until it is answered."""
        six = ":" in own
        by = (f"s.setsockopt(41, socket.IPV6_MULTICAST_IF, {link})\n" if six else
              f"s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton('{own}'))\n")
        return [PYTHON, "-c",
                "import socket, sys\n"
                f"s = socket.socket(socket.{'AF_INET6' if six else 'AF_INET'}, socket.SOCK_DGRAM); s.settimeout(1)\n"
                f"s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n{by}s.bind(('{own}', 0))\n"
                "for i in range(60):\n"
                f"    s.sendto(b'hello', ('{to}', 7000))\n"
                "    try:\n"
                "        answer, peer = s.recvfrom(100)\n"
                "    except TimeoutError:\n"
                "        continue\n"
                "    print(peer[0]); sys.exit(0 if answer == b'heard hello' else 'wrong answer')\n"
                "sys.exit('no answer')"]

    with Lab() as lab:
        kernels_link, own_link = str(socket.if_nametoindex("tap0")), interface_number(lab)
        for hears, asker, to_hear, to_ask, link in (
                (STACK_IP4, HOST_IP4, lab.preload(), None, kernels_link), (HOST_IP4, STACK_IP4, None, lab.preload(), own_link),
                (STACK_IP6, HOST_IP6, lab.preload(), None, kernels_link), (HOST_IP6, STACK_IP6, None, lab.preload(), own_link)):
            to_all = ("ff05::125", hears) if ":" in hears else ("239.1.2.5", "10.88.0.255", "255.255.255.255", hears)
            for to in to_all:
                group = to if to.startswith(("239", "ff")) else "-"
                with lab.program([*ERRORS, "answer", hears, "7000", group, to], name="answer", env=to_hear) as s:
                    lab.port_of(s)
                    done = lab.run(asks(asker, to, link), env=to_ask, check=False)
                    wait_until(lambda: s.poll() is not None, "who hears has ended")
                    expect(f"answered {asker}\n" in lab.output(s), f"{to}: {lab.output(s)}")
                    expect(done.returncode == 0 and done.stdout.decode() == hears + "\n", f"{to}: {done}")
        expect_reclaimed(lab)


class Querier:
    """What a router on a link hears of groups (RFC 3376, RFC 3810), and what it asks."""

    def __init__(self, device, pid=None):
        def enter(path):
            with open(path) as f:
                expect(ctypes.CDLL(None).setns(f.fileno(), 0x40000000) == 0, f"setns {path}")

        own = f"/proc/{os.getpid()}/ns/net"
        with open(own) as here:
            if pid:
                enter(f"/proc/{pid}/ns/net")
            try:
                self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                self.socket.bind((device, 3))
                self.mac = self.socket.getsockname()[4]
            finally:
                expect(ctypes.CDLL(None).setns(here.fileno(), 0x40000000) == 0, "setns back")

    @staticmethod
    def records(frame):
        """Of a report: (type, group, sources)."""
        if frame[12:14] == b"\x08\0" and frame[23] == 2:
            header, size, family, to = (frame[14] & 15) * 4, 4, socket.AF_INET, "224.0.0.22"
            mac, is_sound = b"\x01\0\x5e\0\0\x16", header == 24 and frame[34:36] == b"\x94\x04" and frame[22] == 1
            target = frame[30:34]
        elif frame[12:14] == b"\x86\xdd" and frame[20] == 0 and frame[54] == 58:
            header, size, family, to = 48, 16, socket.AF_INET6, "ff02::16"
            mac, is_sound = b"\x33\x33\0\0\0\x16", frame[56:58] == b"\x05\x02" and frame[21] == 1
            target = frame[38:54]
        else:
            return
        message = frame[14 + header:]
        if message[0] != (0x22 if size == 4 else 143):
            return
        expect(frame[:6] == mac and target == socket.inet_pton(family, to) and is_sound, f"a report like this: {frame.hex()}")
        at = 8
        for _ in range(int.from_bytes(message[6:8], "big")):
            n = int.from_bytes(message[at + 2:at + 4], "big")
            group, *sources = (socket.inet_ntop(family, message[at + 4 + i * size:at + 4 + (i + 1) * size]) for i in range(n + 1))
            yield message[at], group, sorted(sources)
            at += 4 + (1 + n) * size

    def hears(self, group, expected):
        """Reads until as much has been said of the group."""
        said, until = [], time.monotonic() + 120
        self.socket.settimeout(1)
        while len(said) < len(expected) and time.monotonic() < until:
            try:
                frame = self.socket.recv(2000)
            except TimeoutError:
                continue
            said += [(type, sources) for type, of, sources in self.records(frame) if of == group]
        expect(said == expected, f"{group}: {said}, not {expected}")

    def asks(self, six, source):
        """A general query: who answers has a second."""
        def checked(message, at, pseudo=b""):
            summed = pseudo + message
            total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
            total = (total & 0xffff) + (total >> 16)
            return message[:at] + struct.pack("!H", 0xffff - ((total & 0xffff) + (total >> 16))) + message[at + 2:]

        if six:
            ends = socket.inet_pton(socket.AF_INET6, "fe80::99") + socket.inet_pton(socket.AF_INET6, "ff02::1")
            query = struct.pack("!BBHHH16sBBH", 130, 0, 0, 1000, 0, bytes(16), 2, 125, 0)
            query = checked(query, 2, ends + struct.pack("!II", len(query), 58))
            packet = struct.pack("!IHBB", 6 << 28, 8 + len(query), 0, 1) + ends + bytes([58, 0, 5, 2, 0, 0, 1, 0]) + query
            self.socket.send(b"\x33\x33\0\0\0\x01" + self.mac + b"\x86\xdd" + packet)
            return
        query = checked(struct.pack("!BBH4sBBH", 0x11, 10, 0, bytes(4), 2, 125, 0), 2)
        head = struct.pack("!BBHHHBBH4s4sI", 0x46, 0xc0, 24 + len(query), 0, 0, 1, 2, 0, socket.inet_aton(source),
                           socket.inet_aton("224.0.0.1"), 0x94040000)
        self.socket.send(b"\x01\0\x5e\0\0\x01" + self.mac + b"\x08\0" + checked(head, 10) + query)


def reports():
    """What a router hears when a program joins and leaves, and of a query: of the kernel by a veth, of Hostloom by the TAP."""
    is_in, is_ex, to_in, to_ex, allow, block = range(1, 7)
    with Lab() as lab:
        kernels_pair(lab)
        far, tap = Querier("far", lab.peer_namespace()), Querier("tap0")
        for own, router, querier, env, link in (
                (NEAR_IP4, FAR_IP4, far, None, str(socket.if_nametoindex("near"))), (STACK_IP4, HOST_IP4, tap, lab.preload(), None),
                (NEAR_IP6, FAR_IP6, far, None, str(socket.if_nametoindex("near"))), (STACK_IP6, HOST_IP6, tap, lab.preload(), None)):
            six = ":" in own
            group, of_sources = ("ff05::126", "ff05::127") if six else ("239.1.2.6", "239.1.2.7")
            one, two = ("2001:db8::1", "2001:db8::2") if six else ("192.0.2.1", "192.0.2.2")
            program = [PYTHON, str(HERE / "group_steps.py"), own, "7000", link or interface_number(lab)]
            with lab.program(program, name="member", env=env) as s, \
                    socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as ask:
                lab.port_of(s)
                ask.settimeout(120)
                # What is said of a change is said twice.
                for step, of, expected in (
                        (f"join {group}", group, [(to_ex, [])] * 2), ("query", group, [(is_ex, [])]),
                        (f"leave {group}", group, [(to_in, [])] * 2),
                        (f"join {of_sources} {one}", of_sources, [(allow, [one])] * 2),
                        (f"join {of_sources} {two}", of_sources, [(allow, [two])] * 2),
                        ("query", of_sources, [(is_in, [one, two])]),
                        (f"leave {of_sources} {one}", of_sources, [(block, [one])] * 2),
                        (f"leave {of_sources} {two}", of_sources, [(block, [two])] * 2)):
                    if step == "query":
                        querier.asks(six, router)
                    else:
                        ask.sendto(step.encode(), (own, 7000))
                        expect(ask.recv(1000) == step.encode(), f"{step} is done")
                    querier.hears(of, expected)
        expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(errors, answers, reports)
