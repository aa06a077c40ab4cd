#!/usr/bin/python3
"""System tests of datagrams with programs that are found everywhere, and what they say with each datagram, in both
families. usage: udp_program_cases.py CASE"""

import difflib
import pathlib
import re
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import af_packet_cases as af_packet  # noqa: E402
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Lab, wait_until  # noqa: E402

REPORT = [PYTHON, str(pathlib.Path(__file__).resolve().parent / "programs" / "datagram_report.py")]
PORT = "7000"


def both_ways(lab):
    """(receiver, its env, sender, its env): from the kernel to Hostloom and the other way, in both families."""
    for stack, host in ((STACK_IP4, HOST_IP4), (STACK_IP6, HOST_IP6)):
        yield stack, lab.preload(), host, None
        yield host, None, stack, lab.preload()


def sockperf():
    """Its ping-pong over UDP, with Hostloom at either end."""
    with Lab() as lab:
        for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
            median, _ = p.sockperf(lab, side, seconds=2, udp=True)
            expect(median > 0, f"{side.name}: {median} us")
        expect_reclaimed(lab)


NTP_SERVER = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 1123))
print("port", 1123, flush=True)
while True:
    request, peer = s.recvfrom(100)
    if len(request) != 48 or request[0] & 7 != 3:  # RFC 5905: a client's
        continue
    now = struct.pack(">Q", int((time.time() + 2208988800) * (1 << 32)))
    s.sendto(bytes([4 << 3 | 4, 1, 0, 0xec]) + bytes(8) + b"TEST" + now + request[40:48] + now + now, peer)
"""
NTP_CLIENT = """
import os, socket, struct, sys, time
def answer_to(question):
    for _ in range(60):
        s.send(question)
        try:
            return s.recv(100)
        except TimeoutError:
            pass
    sys.exit("no answer")
for _ in range(50):
    with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect((sys.argv[1], 1123))
        own = os.urandom(8)
        answer = answer_to(bytes([4 << 3 | 3]) + bytes(39) + own)
        if len(answer) != 48 or answer[0] & 7 != 4 or answer[24:32] != own:
            sys.exit(f"wrong answer {answer}")
        said = struct.unpack(">Q", answer[40:48])[0] / (1 << 32) - 2208988800
        if abs(said - time.time()) > 60:
            sys.exit(f"the time there is {said}")
"""


def ntp():
    """A request and a response, as NTP has them (RFC 5905), each from a socket of its own."""
    with Lab() as lab:
        for server, server_env, _, client_env in both_ways(lab):
            with lab.program([PYTHON, "-c", NTP_SERVER, server], name="ntp", env=server_env) as s:
                lab.port_of(s)
                lab.run([PYTHON, "-c", NTP_CLIENT, server], env=client_env, timeout=240)
        expect_reclaimed(lab)


def socat():
    """A line that socat sends is echoed by socat, with Hostloom at either end."""
    with Lab() as lab:
        for server, server_env, _, client_env in both_ways(lab):
            six = ":" in server
            kind, name = ("UDP6", f"[{server}]") if six else ("UDP4", server)
            serve = [p.find("socat"), "-d", "-d", f"{kind}-RECVFROM:{PORT},bind={name},fork", "EXEC:cat"]
            with lab.program(serve, name="socat", env=server_env) as s:
                ask = ["sh", "-c", f"echo hello | {p.find('socat')} -t 1 - {kind}:{name}:{PORT}"]

                def echoed():
                    expect(s.poll() is None, f"socat ended:\n{lab.output(s)}")
                    return lab.run(ask, env=client_env, check=False, timeout=240).stdout == b"hello\n"

                wait_until(echoed, f"{server} echoes")


def heard(lab, receiver, lines, count=None, besides=()):
    """Waits until the receiver has said each of the lines so often, and no others than `besides`. What waits for an answer is
    sent again when that is late: count None, at least once."""
    wait_until(lambda: receiver.poll() is not None or all(lab.output(receiver).count(x) >= (count or 1) for x in lines),
               f"{lines} of\n{lab.output(receiver)}")
    said = [line for line in lab.output(receiver).splitlines() if line.startswith("got ")]
    expect(all(line.startswith((*lines, *besides)) for line in said), f"other than {lines} in:\n{lab.output(receiver)}")
    for x in lines if count else ():
        expect(lab.output(receiver).count(x) == count, f"{x} {count} times in:\n{lab.output(receiver)}")


def marks():
    """What a program sets as TTL and TOS is seen at the far end, and without it the default."""
    with Lab() as lab:
        for to, receiver_env, sender, sender_env in both_ways(lab):
            with lab.program([*REPORT, "report", to, PORT], name="report", env=receiver_env) as s:
                lab.port_of(s)
                lab.run([*REPORT, "send", to, PORT, "10", "ttl", "33", "tos", "184", "answered"], env=sender_env)
                lab.run([*REPORT, "send", to, PORT, "11", "answered"], env=sender_env)
                heard(lab, s, [f"got 10 bytes, ttl 33, tos 184, from {sender}.",
                               f"got 11 bytes, ttl 64, tos 0, from {sender}."])
        expect_reclaimed(lab)


def segments():
    """UDP_SEGMENT as an option: five datagrams of one call."""
    with Lab(workers=2) as lab:
        for to, receiver_env, sender, sender_env in both_ways(lab):
            line = f"got 1000 bytes, ttl 64, tos 0, from {sender}."
            with lab.program([*REPORT, "report", to, PORT], name="report", env=receiver_env) as s:
                lab.port_of(s)
                lab.run([*REPORT, "send", to, PORT, "10", "answered"], env=sender_env)  # the neighbour is known from here on
                lab.run([*REPORT, "send", to, PORT, "5000", "segment", "1000"], env=sender_env)
                heard(lab, s, [line], 5, besides=["got 10 bytes"])
        expect_reclaimed(lab)


def segments_together():
    """What the kernel has put together comes so by af-packet, and reaches members of groups one by one."""
    with af_packet.laboratory(workers=2) as lab:
        for group, own, sender in (("239.1.2.3", STACK_IP4, HOST_IP4), ("10.88.0.255", STACK_IP4, HOST_IP4),
                                   ("ff05::123", STACK_IP6, HOST_IP6)):
            member = [] if group == "10.88.0.255" else [group]
            with lab.program([*REPORT, "report", own if member else "0.0.0.0", PORT, *member], name="member",
                             env=lab.preload()) as s:
                lab.port_of(s)
                lab.run([*REPORT, "send", group, PORT, "10", "link", sender, "answered"], timeout=240)
                lab.run([*REPORT, "send", group, PORT, "5000", "segment", "1000", "link", sender])
                wait_until(lambda: lab.output(s).count("got 1000 bytes") >= 5 or "got 5000" in lab.output(s), "they came")
                expect(lab.output(s).count("got 1000 bytes") == 5, lab.output(s))
        expect_reclaimed(lab)


def memberships():
    """Groups of both families, joined whole and by source; who is not a source is not heard."""
    with Lab() as lab:
        for group, sides in (("239.1.2.4", ((STACK_IP4, HOST_IP4), (HOST_IP4, STACK_IP4))),
                             ("ff05::124", ((STACK_IP6, HOST_IP6), (HOST_IP6, STACK_IP6)))):
            for own, sender in sides:
                env = lab.preload() if own in (STACK_IP4, STACK_IP6) else None
                ask_env = None if env else lab.preload()
                link = ["link", sender] if env or "." in group else []
                for source in ([], [sender]):
                    with lab.program([*REPORT, "report", own, PORT, group, *source], name="member", env=env) as s:
                        lab.port_of(s)
                        lab.run([*REPORT, "send", group, PORT, "10", *link, "answered"], env=ask_env, timeout=240)
                        expect(f", from {sender}." in lab.output(s), lab.output(s))
                if env is None:
                    continue
                # Another source than the one that sends: a member of all says when the datagrams have passed.
                stranger = "192.0.2.77" if "." in group else "2001:db8::77"
                with lab.program([*REPORT, "report", own, PORT, group, stranger], name="other", env=env) as s:
                    lab.port_of(s)
                    lab.run([*REPORT, "send", group, PORT, "10", *link])
                    lab.run([*REPORT, "send", own, PORT, "11", "answered"], timeout=240)
                    expect("got 11 bytes" in lab.output(s) and "got 10 bytes" not in lab.output(s), lab.output(s))
        expect_reclaimed(lab)


def link_local():
    """A datagram from a link-local address is answered by the interface that the name says it came by."""
    with Lab() as lab:
        with lab.program([*REPORT, "report", "::", PORT], name="report", env=lab.preload()) as s:
            lab.port_of(s)

            def kernels():
                done = lab.run(["ip", "-6", "-o", "address", "show", "dev", "tap0", "scope", "link", "-tentative"])
                return re.search(r"fe80:[0-9a-f:]+", done.stdout.decode())

            wait_until(kernels, "nobody else has the kernel's address")
            host = kernels()
            shown = lab.cli("show", "interface", "address")
            own = re.search(r"fe80:[0-9a-f:]+", shown)
            expect(own and host, f"link-local addresses: {host}\n{shown}")
            asks = ("import socket, sys\n"
                    "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(1)\n"
                    "index = socket.if_nametoindex(sys.argv[2])\n"
                    "for _ in range(60):\n"
                    f"    s.sendto(bytes(7), (sys.argv[1], {PORT}, 0, index))\n"
                    "    try:\n"
                    "        answer, peer = s.recvfrom(100)\n"
                    "    except TimeoutError:\n"
                    "        continue\n"
                    "    sys.exit(0 if answer == b'7' and peer[0].split('%')[0] == sys.argv[1] else f'{answer} {peer}')\n"
                    "sys.exit('no answer')")
            lab.run([PYTHON, "-c", asks, own[0], "tap0"], timeout=240)
            expect(f"from {host[0]}%" in lab.output(s), f"the name has no interface: {lab.output(s)}")
        expect_reclaimed(lab)


LINK = [PYTHON, str(pathlib.Path(__file__).resolve().parent / "programs" / "datagram_link.py")]


def link_addresses(lab):
    """(Hostloom's, the host's) link-local addresses, once nobody else has them."""
    def of_the_host():
        done = lab.run(["ip", "-6", "-o", "address", "show", "dev", "tap0", "scope", "link", "-tentative"])
        return re.search(r"fe80:[0-9a-f:]+", done.stdout.decode())

    wait_until(of_the_host, "nobody else has the kernel's address")
    own = re.search(r"fe80:[0-9a-f:]+", lab.cli("show", "interface", "address"))
    expect(own, "Hostloom has no link-local address")
    return own[0], of_the_host()[0]


def one_interface():
    """Sockets that are bound or connected to link-local addresses hear this host, too, by the transport."""
    with Lab() as lab:
        own, host = link_addresses(lab)
        shown = lab.cli("show", "interface")
        index = re.search(r"^tap0\s+(\d+)", shown, re.MULTILINE)
        expect(index, shown)
        with lab.program([*LINK, "echo", "::", PORT], name="echo") as s:
            lab.port_of(s)
            lab.run([*LINK, "scoped", own, host, PORT, str(int(index[1]) + 1)], env=lab.preload(), timeout=200)
        lab.run([*LINK, "kernels", host, "tap0"], env=lab.preload())
        with lab.program([*LINK, "echo", "239.1.2.9", PORT, HOST_IP4], name="member") as s:
            lab.port_of(s)
            lab.run([*LINK, "group", STACK_IP4, "239.1.2.9", PORT], env=lab.preload(), timeout=240)
        expect_reclaimed(lab)


def no_checksums():
    """UDP_NO_CHECK6_TX is heard by who has UDP_NO_CHECK6_RX, and by nobody else, as by the kernel."""
    with Lab() as lab:
        for to, env, ask_env in ((STACK_IP6, lab.preload(), None), (HOST_IP6, None, lab.preload())):
            with lab.program([*LINK, "checks", to, PORT], name="checks", env=env) as s:
                lab.port_of(s)
                lab.run([*LINK, "unchecked", to, PORT], env=ask_env, timeout=200)
                said = lab.output(s)
                expect("socket 0 heard unchecked" not in said and "socket 1 heard unchecked 1" in said, said)
                expect("socket 0 heard checked 0" in said, said)
                lab.run([*LINK, "turns", to, PORT, str(lab.daemon.pid)], env=ask_env, timeout=200)
        expect_reclaimed(lab)


def larger_buffers():
    """SO_RCVBUF of an open socket counts for what comes from then on."""
    with Lab(fifo="256k") as lab:
        with lab.program([*LINK, "grow", STACK_IP4, PORT], name="grow", env=lab.preload()) as s:
            lab.port_of(s)
            lab.run([*LINK, "feed", STACK_IP4, PORT, "60", "20000"], timeout=200)
        expect_reclaimed(lab)


def filters():
    """All sources of a membership at once, set and read, against what the kernel says to the same program."""
    program = [PYTHON, str(pathlib.Path(__file__).resolve().parent / "programs" / "group_filters.py")]
    with Lab() as lab:
        index = re.search(r"^tap0\s+(\d+)", lab.cli("show", "interface"), re.MULTILINE)
        linux = lab.run([*program, HOST_IP4, str(socket.if_nametoindex("tap0"))]).stdout.decode()
        ours = lab.run([*program, STACK_IP4, str(int(index[1]) + 1)], env=lab.preload()).stdout.decode()
        differences = list(difflib.unified_diff(linux.splitlines(), ours.splitlines(), "the kernel", "Hostloom", lineterm="", n=0))
        expect("kept" in linux and not differences, "\n".join(differences) or linux)
        expect_reclaimed(lab)


def endpoint_tlvs():
    """What programs of libvppcom say with a datagram, and hear: segments, source and destination."""
    here, second = pathlib.Path(__file__).resolve().parent / "programs", STACK_IP4.rsplit(".", 1)[0] + ".77"
    with Lab() as lab:
        lab.cli("set", "interface", "ip", "address", "tap0", f"{second}/24")
        with lab.program([PYTHON, str(here / "datagram_echo.py"), HOST_IP4, "0"], name="echo") as echo:
            program = [PYTHON, str(here / "vcl_datagrams.py"), str(lab.build / "lib/libvppcom.so"), second, HOST_IP4]
            lab.run([*program, lab.port_of(echo)], env=lab.native(), timeout=240)
        expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(sockperf, ntp, socat, marks, segments, segments_together, memberships, filters, link_local, one_interface,
                        no_checksums, larger_buffers, endpoint_tlvs)
