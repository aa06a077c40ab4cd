#!/usr/bin/python3
"""System tests of datagrams: real programs, over Hostloom and the kernel. usage: udp_cases.py CASE"""

import contextlib
import json
import pathlib
import re
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent / "programs"


def errors(lab, node):
    """The counters of a node, by name."""
    return {e["reason"]: int(e["count"]) for e in lab.cli("show", "errors", as_json=True)["errors"] if e["node"] == node}


def workers():
    """The same with two workers: a session lives on one, and what arrives on the other is handed off."""
    programs(2)


def programs(n_workers=1):
    """Python's datagram sockets: a client over Hostloom with a server of the kernel, and the other way round."""
    with Lab(workers=n_workers) as lab:
        for stack, host in ((STACK_IP4, HOST_IP4), (STACK_IP6, HOST_IP6)):
            for server, server_env, client_env in ((host, None, lab.preload()), (stack, lab.preload(), None)):
                echo = [PYTHON, str(HERE / "datagram_echo.py"), server, "0"]
                with lab.program(echo, name="echo", env=server_env) as s:
                    client = [PYTHON, str(HERE / "datagrams.py"), server, lab.port_of(s), "20000"]
                    lab.run(client, env=client_env, timeout=240)
        # It was Hostloom that did all this.
        for family in "46":
            for node, reason in (("input", "delivered"), ("input", "no-port"), ("output", "sent"), ("error", "refused")):
                seen = errors(lab, f"udp{family}-{node}")
                expect(seen.get(reason, 0) > 0, f"udp{family}-{node}: {seen}")
        # What is larger than the MTU went and came in fragments.
        for node, reason in (("ip4-rewrite", "fragmented"), ("ip6-fragment", "fragmented"),
                             ("ip4-reassembly", "reassembled"), ("ip6-reassembly", "reassembled")):
            expect(errors(lab, node).get(reason, 0) > 0, f"nothing was {reason} by {node}")
        if n_workers > 1:
            expect(errors(lab, "udp4-input").get("handed-off", 0) > 0, "nothing was handed off")
        # On any address, and one that is the kernel's alone.
        with lab.program([PYTHON, str(HERE / "datagram_echo.py"), "0.0.0.0", "7777"], name="any", env=lab.preload()) as s:
            lab.port_of(s)
            lab.run([PYTHON, str(HERE / "datagrams.py"), STACK_IP4, "7777", "1400"], timeout=240)
        with lab.program([PYTHON, str(HERE / "datagram_echo.py"), "127.0.0.1", "0"], name="loopback",
                         env=lab.preload()) as s:
            lab.run([PYTHON, str(HERE / "datagrams.py"), "127.0.0.1", lab.port_of(s), "5000"], env=lab.preload(),
                    timeout=240)
        expect_reclaimed(lab)


def without_plugin():
    """A daemon without UDP: datagram sockets are the kernel's, and streams are not."""
    with Lab(config_extra="plugins { plugin udp.so { disable } }") as lab:
        with lab.program([PYTHON, str(HERE / "datagram_echo.py"), HOST_IP4, "0"], name="echo", env=lab.preload()) as s:
            lab.run([PYTHON, str(HERE / "datagrams.py"), HOST_IP4, lab.port_of(s), "5000"], env=lab.preload(), timeout=240)
        lab.run([PYTHON, str(HERE / "echo_blocking.py"), STACK_IP4, HOST_IP4], env=lab.preload(), timeout=240)
        expect_reclaimed(lab)


def iperf3():
    """iperf3 -u: its server connects the socket that got the first datagram, and binds the next one to the same port."""
    with Lab() as lab:
        def lost_percent(side, how):
            server = [p.find("iperf3"), "-s", "-1", "-B", side.server, "-p", "5201", "--forceflush"]
            with lab.program(server, name="iperf3-server", env=side.server_env) as s:
                wait_until(lambda: "listening" in lab.output(s) or s.poll() is not None, "iperf3 server listens")
                client = [p.find("iperf3"), "-u", "-c", side.server, "-p", "5201", "-t", "2", "-b", "2M", "-J", *how]
                done = lab.run(client, timeout=240, env=side.client_env, check=False)
                report = json.loads(done.stdout)
                expect("error" not in report, f"{side.name}: {report.get('error')}\n{lab.output(s)}{lab.daemon_tail()}")
                total = report["end"]["sum"]
                print(f"{side.name} {how}: {total}", flush=True)
                expect(total["packets"] > 100, f"{side.name}: only {total['packets']} datagrams")
                return total["lost_percent"]

        for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
            for how in ([], ["-R"]):
                # A fifth of a second's worth fits into every queue on the way: what is lost is lost for no reason, when nobody
                # on the way stands still for longer than that.
                wait_until(lambda: lost_percent(side, how) <= 2, f"{side.name} {how}: hardly anything is lost")
        expect_reclaimed(lab)


def overflow():
    """An application that does not read: what does not fit is dropped and seen; one that is killed leaves nothing."""
    with Lab() as lab:
        sleeper = ("import signal, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                   f"s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768); s.bind(('{STACK_IP4}', 7000)); "
                   "print('port', 7000, flush=True); signal.pause()")
        with lab.program([PYTHON, "-c", sleeper], name="sleeper", env=lab.preload()) as s:
            lab.port_of(s)
            flood = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                     f"[s.sendto(bytes(1000), ('{STACK_IP4}', 7000)) for _ in range(1000)]")

            def dropped():  # how many of a flood come as far as here is the kernel's affair
                lab.run([PYTHON, "-c", flood])
                return errors(lab, "udp4-input").get("rcvbuf-full", 0) > 100

            wait_until(dropped, "datagrams are dropped and counted")
            listed = lab.cli("show", "session", "verbose", "2")
            expect(re.search(r"rcvbuf-full [1-9]", listed), f"the session does not say so:\n{listed}")
        expect_reclaimed(lab)


def reuseport():
    """Two processes on one port: flows are spread, each stays where it is, and those of one that goes move to the other."""
    server = ("import os, socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
              "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('0.0.0.0', 7000)); "
              "print('port', 7000, flush=True)\n"
              "while True:\n    data, peer = s.recvfrom(100); s.sendto(sys.argv[1].encode() + data, peer)")

    def ask(sockets):
        """Who answers each of them."""
        answers = []
        for i, s in enumerate(sockets):
            s.sendto(b"%d" % i, (STACK_IP4, 7000))
            answer = s.recv(100)
            expect(answer[1:] == b"%d" % i, f"{answer} for {i}")
            answers.append(answer[:1])
        return answers

    with Lab(workers=2) as lab:
        with lab.program([PYTHON, "-c", server, "A"], name="a", env=lab.preload()) as a, \
                lab.program([PYTHON, "-c", server, "B"], name="b", env=lab.preload()) as b:
            lab.port_of(a), lab.port_of(b)
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
            for s in sockets:
                s.settimeout(120)
            first = ask(sockets)
            expect(8 < first.count(b"A") < 56, f"not spread: {first}")  # six deviations from 32
            expect(ask(sockets) == first, "a flow has moved")
            b.kill()
            b.wait()

            def moved():
                """Until the daemon has seen the end of it, what goes there is lost."""
                try:
                    return ask(sockets) == [b"A"] * 64
                except TimeoutError:
                    return False

            for s in sockets:
                s.settimeout(1)
            wait_until(moved, "all flows lead to the one that is left")
        expect_reclaimed(lab)


OPTIONS = [PYTHON, str(HERE / "datagram_options.py")]


def options():
    """IP_MTU_DISCOVER, the error queue and asyncio, against what the kernel does with the same program."""
    with Lab() as lab:
        for what, peer in (("path", HOST_IP4), ("path6", HOST_IP6), ("errors", HOST_IP4), ("errors6", HOST_IP6),
                           ("asyncio", STACK_IP4)):
            lab.run([*OPTIONS, what, peer], env=lab.preload(), timeout=240)
        for what, peer in (("errors", STACK_IP4), ("errors6", STACK_IP6), ("path6", STACK_IP6)):
            lab.run([*OPTIONS, what, peer], timeout=240)  # the program is right about Linux
        lab.run([*OPTIONS, "asyncio", HOST_IP4], timeout=240)
        expect(errors(lab, "udp4-error").get("queued", 0) > 0, "it was not Hostloom's error")
        expect_reclaimed(lab)


def over_asyncio():
    """Clients and servers of asyncio, the kernel at either end: answers, a broadcast, and an error that is received."""
    with Lab() as lab:
        for own, peer, broadcast, env, peer_env in (
                (STACK_IP4, HOST_IP4, "10.88.0.255", lab.preload(), None), (HOST_IP4, STACK_IP4, "10.88.0.255", None, lab.preload()),
                (STACK_IP6, HOST_IP6, None, lab.preload(), None), (HOST_IP6, STACK_IP6, None, None, lab.preload())):
            with lab.program([*OPTIONS, "asyncio_server", peer, "7000"], name="server", env=peer_env) as s:
                lab.port_of(s)
                lab.run([*OPTIONS, "asyncio_client", peer, "7000", own, *([broadcast] if broadcast else [])], env=env, timeout=240)
        for node in ("udp4-error", "udp6-error"):
            expect(errors(lab, node).get("refused", 0) > 0, f"{node} told nobody")
        expect_reclaimed(lab)


def cork():
    """One datagram of several calls, from Hostloom and from the kernel; cut by UDP_SEGMENT."""
    with Lab() as lab:
        for server, server_env, client_env in ((HOST_IP4, None, lab.preload()), (HOST_IP6, None, lab.preload()),
                                               (STACK_IP4, lab.preload(), None), (STACK_IP4, lab.preload(), lab.preload())):
            echo = [PYTHON, str(HERE / "datagram_echo.py"), server, "0"]
            with lab.program(echo, name="echo", env=server_env) as s:
                lab.run([*OPTIONS, "cork", server, lab.port_of(s)], env=client_env, timeout=240)
        expect_reclaimed(lab)


PORTS = [PYTHON, str(HERE / "datagram_ports.py")]


def ports(n_workers=1):
    """Whose a port is, by number and chosen, against what the kernel says to the same program."""
    with Lab(workers=n_workers) as lab:
        named = [*PORTS, "named"]
        lab.run([*named, HOST_IP4, STACK_IP4, HOST_IP6, STACK_IP6], timeout=240)  # the program is right about Linux
        lab.run([*named, STACK_IP4, HOST_IP4, STACK_IP6, HOST_IP6], env=lab.preload(), timeout=240)
        # Two at once: no port is two sockets'.
        chosen = [*PORTS, "chosen", STACK_IP4, HOST_IP4, "400"]
        with lab.program(chosen, name="one", env=lab.preload()) as one, \
                lab.program(chosen, name="two", env=lab.preload()) as two:
            # A line may be seen before all of it is written.
            wait_until(lambda: all(re.search(r"ports[ \d]*\n", lab.output(p)) or p.poll() is not None for p in (one, two)), "all are open")
            numbers = [n for p in (one, two) for n in re.findall(r"\d+", lab.output(p))]
            expect(len(numbers) == 800, f"{len(numbers)} ports: {lab.output(one)} {lab.output(two)}")
            expect(len(set(numbers)) == 800, f"{800 - len(set(numbers))} are of two sockets")
        expect_reclaimed(lab)


def port_workers():
    """The same with two workers, each of which chooses."""
    ports(2)


def shared_peer(n_workers=1):
    """Sockets that share a port and have one peer, over the kernel and over Hostloom."""
    echo = [PYTHON, str(HERE / "datagram_echo.py")]
    with Lab(workers=n_workers) as lab:
        for own, peer, env, peer_env in ((HOST_IP4, STACK_IP4, None, lab.preload()), (STACK_IP4, HOST_IP4, lab.preload(), None)):
            with lab.program([*echo, peer, "0"], name="echo", env=peer_env) as e:
                lab.run([*PORTS, "shared", own, peer, lab.port_of(e)], env=env, timeout=240)
        expect_reclaimed(lab)


def shared_peer_workers():
    """The same with two workers."""
    shared_peer(2)


LINUX = [PYTHON, str(HERE / "datagram_linux.py")]


def linux():
    """What programs see of datagram sockets, over Hostloom and over the kernel: routes, sources, times, sizes, errors."""
    echo = [PYTHON, str(HERE / "datagram_echo.py")]
    with Lab() as lab:
        for stack, host in ((STACK_IP4, HOST_IP4), (STACK_IP6, HOST_IP6)):
            for own, peer, env, peer_env in ((stack, host, lab.preload(), None), (host, stack, None, lab.preload())):
                with lab.program([*echo, peer, "7000"], name="echo", env=peer_env) as e:
                    lab.port_of(e)
                    for what in ("routes", "sources", "arrival", "lost", "sizes", "refused", "destination"):
                        lab.run([*LINUX, what, own, peer, "7000"], env=env, timeout=240)
        expect_reclaimed(lab)


def traceroute():
    """traceroute and tracepath find the other end, and what the path takes, by their error queues."""
    with Lab() as lab:
        done = lab.run([p.find("traceroute"), "-n", "-q", "1", "-w", "20", HOST_IP4], env=lab.preload(), timeout=240)
        said = done.stdout.decode()
        expect(re.search(rf"^ *1 +{re.escape(HOST_IP4)} ", said, re.M), f"traceroute says:\n{said}")
        done = lab.run([p.find("tracepath"), "-n", HOST_IP4], env=lab.preload(), timeout=240)
        said = done.stdout.decode()
        expect("pmtu 1500" in said and "reached" in said, f"tracepath says:\n{said}")
        expect(errors(lab, "udp4-error").get("queued", 0) > 1, "it was not Hostloom's error")
        expect_reclaimed(lab)


def gro():
    """Datagrams that come together are given together to who takes them so."""
    with Lab() as lab:
        with lab.program([*OPTIONS, "gro", STACK_IP4, "7000"], name="gro", env=lab.preload()) as s:
            lab.port_of(s)
            flood = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                     f"[s.sendto(bytes(1000), ('{STACK_IP4}', 7000)) for _ in range(1000)]")

            def together():
                lab.run([PYTHON, "-c", flood])
                return "several" in lab.output(s) or s.poll() is not None

            wait_until(together, "several datagrams come by one call")
            expect("several" in lab.output(s), lab.output(s))
        expect_reclaimed(lab)


def solicited_node():
    """What a switch that snoops hears on the TAP: the group of an IPv6 address before anybody is asked for it, again when a querier
    asks, and that it is left."""
    group = "ff02::1:ffbc:def3"

    def said(s):
        """Reports (type of the record, group) and solicitations ("ask", target) from here on, until nothing has come for 2 s."""
        s.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while True:
                frame = s.recv(2000)
                if frame[12:14] != b"\x86\xdd":
                    continue
                if frame[20] == 0 and frame[62] == 143:
                    yield frame[70], socket.inet_ntop(socket.AF_INET6, frame[74:90])
                elif frame[20] == 58 and frame[54] == 135:
                    yield "ask", socket.inet_ntop(socket.AF_INET6, frame[62:78])

    def ones(s):
        return [word for word, of in said(s) if of in (group, "2001:db8::abc:def3")]

    with Lab() as lab, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86dd)) as s:
        s.bind(("tap0", 0x86dd))
        lab.cli("set", "interface", "ip", "address", "tap0", "2001:db8::abc:def3/64")
        expect(ones(s) == [4, "ask", 4], "TO_EX, duplicate address detection, TO_EX once more")
        source = socket.inet_pton(socket.AF_INET6, "fe80::99")
        everybody = socket.inet_pton(socket.AF_INET6, "ff02::1")
        query = bytes([130, 0, 0, 0, 3, 232, 0, 0]) + bytes(16) + bytes([2, 125, 0, 0])
        pseudo = source + everybody + len(query).to_bytes(4, "big") + bytes([0, 0, 0, 58]) + query
        total = sum(int.from_bytes(pseudo[i:i + 2], "big") for i in range(0, len(pseudo), 2))
        total = (total & 0xffff) + (total >> 16)
        query = query[:2] + (0xffff - ((total & 0xffff) + (total >> 16))).to_bytes(2, "big") + query[4:]
        options = bytes([58, 0, 5, 2, 0, 0, 1, 0])
        s.send(bytes([0x33, 0x33, 0, 0, 0, 1]) + b"\x02\x77" * 3 + b"\x86\xdd" + b"\x60\0\0\0" +
               (len(options) + len(query)).to_bytes(2, "big") + bytes([0, 1]) + source + everybody + options + query)
        expect(ones(s) == [2], "IS_EX within the second that the query allows")
        lab.cli("set", "interface", "ip", "address", "del", "tap0", "2001:db8::abc:def3/64")
        expect(ones(s) == [3, 3], "TO_IN, and once more")


def groups():
    """Multicast and broadcast, from the kernel to Hostloom and the other way; the answer goes to the sender."""
    def asks(own, to):
        """A program that sends to a group by the interface with that address until it is answered."""
        return ("import socket, sys\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
                f"s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton('{own}'))\n"
                f"s.bind(('{own}', 0))\n"
                "for i in range(60):\n"
                f"    s.sendto(b'hello', ('{to}', 7000))\n"
                "    try:\n"
                "        answer = s.recv(100)\n"
                "    except TimeoutError:\n"
                "        continue\n"
                "    sys.exit(0 if answer == b'heard hello' else 'wrong answer')\n"
                "sys.exit('no answer')")

    with Lab() as lab:
        for hears, asker, hear_env, ask_env in ((STACK_IP4, HOST_IP4, lab.preload(), None),
                                                (HOST_IP4, STACK_IP4, None, lab.preload())):
            for group in ("239.1.2.3", "10.88.0.255", "255.255.255.255"):
                member = group if group.startswith("239") else "-"
                with lab.program([*OPTIONS, "hear", hears, "7000", member], name="hear", env=hear_env) as s:
                    lab.port_of(s)
                    lab.run([PYTHON, "-c", asks(asker, group)], env=ask_env, timeout=240)
                    wait_until(lambda: s.poll() is not None, "who hears has ended")
                    expect(f"got hello from {asker}" in lab.output(s), f"{group}: {lab.output(s)}")
        # Two members in two processes, one of them the sender's own.
        receivers = ["UDP4-RECV:7000,reuseaddr,ip-add-membership=239.1.2.3:" + STACK_IP4, "STDOUT"]
        with lab.program([p.find("socat"), "-u", *receivers], name="one", env=lab.preload()) as one, \
                lab.program([p.find("socat"), "-u", *receivers], name="two", env=lab.preload()) as two:
            send = [PYTHON, "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                                  f"s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton('{STACK_IP4}')); "
                                  "s.sendto(b'to all', ('239.1.2.3', 7000))"]

            def both():
                lab.run(send, env=lab.preload())
                return all("to all" in lab.output(each) for each in (one, two))

            wait_until(both, "both members have it")
        expect_reclaimed(lab)


def dns():
    """dnsmasq over Hostloom, asked by dig. (dig itself makes its system calls past libc, by libuv.)"""
    with Lab() as lab:
        serve = [p.find("dnsmasq"), "-k", "-C", "/dev/null", "-p", "5300", "--listen-address", STACK_IP4, "--no-resolv",
                 "--bind-interfaces", "--no-hosts", "--user=root", "--pid-file=", "--address=/a.test/192.0.2.7"]
        with lab.program(serve, name="dnsmasq", env=lab.preload()) as s:

            def answered():
                expect(s.poll() is None, f"dnsmasq ended:\n{lab.output(s)}")
                ask = [p.find("dig"), "+short", "+tries=1", "+time=2", "-p", "5300", f"@{STACK_IP4}", "x.a.test"]
                return lab.run(ask, check=False).stdout.strip() == b"192.0.2.7"

            wait_until(answered, "dig has its answer")
        expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(programs, workers, without_plugin, iperf3, overflow, reuseport, options, over_asyncio, linux, cork,
                        ports, port_workers, shared_peer, shared_peer_workers, traceroute, gro, groups, solicited_node, dns)
