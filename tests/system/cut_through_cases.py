#!/usr/bin/python3
"""System tests of sessions between two programs on one daemon. usage: cut_through_cases.py CASE"""

import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from lab import STACK_IP4, STACK_IP6, Failure, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
PEER = [PYTHON, str(HERE / "programs" / "through_peer.py")]


def expect(condition, message):
    if not condition:
        raise Failure(message)


def connections(lab):
    return lab.cli("show", "session", "verbose", as_json=True)["connections"]

def tap_packets(lab):
    return int(pathlib.Path("/sys/class/net/tap0/statistics/rx_packets").read_text())


def expect_reclaimed(lab, descriptors):
    wait_until(lambda: not lab.applications(), "the daemon forgets the applications")
    wait_until(lambda: not connections(lab), "all sessions end")
    wait_until(lambda: len(os.listdir(f"/proc/{lab.daemon.pid}/fd")) <= descriptors, "the daemon's descriptors are closed")


def server(lab, address=STACK_IP4, port=7000):
    child = lab.spawn(PEER + ["serve", address, str(port)], name="serve", env=lab.preload())
    wait_until(lambda: "listening" in lab.output(child) or child.poll() is not None, "the server listens")
    expect(child.poll() is None, f"the server ended:\n{lab.output(child)}")
    return child


def holders(lab, n, port=7000):
    children = [lab.spawn(PEER + ["hold", STACK_IP4, str(port)], name="hold", env=lab.preload()) for _ in range(n)]
    for c in children:
        wait_until(lambda c=c: "up" in lab.output(c) or c.poll() is not None, "a client is connected")
    return children


def talk():
    """Every size, level and edge, half close, abort, addresses; IPv4 and IPv6; and not a packet of it on any interface."""
    with Lab() as lab:
        lab.cli("show", "version")
        descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
        for address in (STACK_IP4, STACK_IP6):
            s = server(lab, address)
            before = tap_packets(lab)
            lab.run(PEER + ["talk", address, "7000"], env=lab.preload(), timeout=60)
            held = lab.spawn(PEER + ["hold", address, "7000"], name="hold", env=lab.preload())
            wait_until(lambda: "up" in lab.output(held), "a client is connected")
            kinds = {c["proto"] for c in connections(lab)}
            expect(kinds == {"cut-through"}, f"sessions are {kinds}")
            after = tap_packets(lab)
            expect(after - before < 50, f"{after - before} packets went out to the TAP")
            lab.stop(held)
            lab.stop(s)
        expect_reclaimed(lab, descriptors)


def programs():
    """iperf3, nginx and redis with both ends under preload."""
    with Lab() as lab:
        descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
        side = p.both_on_hostloom(lab)
        for reverse in (False, True):
            rate = p.iperf3(lab, side, seconds=2, reverse=reverse)
            print(f"iperf3, reverse {reverse}: {rate / 1e9:.1f} Gb/s")
            expect(rate > 0, f"reverse {reverse}: only {rate / 1e6:.1f} Mb/s")
        p.iperf3(lab, side, seconds=1, streams=4)
        with p.Nginx(lab, side, workers=2) as n:
            for name in ("1k", "10m"):
                for _ in range(3):
                    p.curl_matches(lab, n, name, env=lab.preload())
            print(f"wrk: {p.wrk(lab, n, seconds=1, env=lab.preload()):.0f}/s")
            print(f"wrk, a connection each: {p.wrk(lab, n, seconds=1, close=True, env=lab.preload()):.0f}/s")
        with p.Redis(lab, side) as r:
            rate = r.benchmark("set", requests=20000, env=lab.preload())
            print(f"redis SET: {rate:.0f}/s")
        expect_reclaimed(lab, descriptors)


def killed():
    """Either end killed: the other one hears of it at once, and all memory comes back."""
    with Lab() as lab:
        descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
        s = server(lab)
        clients = holders(lab, 5)
        wait_until(lambda: lab.output(s).count("left alone") == 5, "the server has read what came")
        began = time.monotonic()
        s.kill()
        for c in clients:
            wait_until(lambda c=c: c.poll() is not None, "a client hears that its server was killed")
            # "QUIET" was read: nothing unread, so the end is an orderly one, as TCP's would be.
            expect("end of file" in lab.output(c), lab.output(c))
        print(f"5 clients heard within {(time.monotonic() - began) * 1000:.0f} ms")
        expect_reclaimed(lab, descriptors)

        s = server(lab)
        clients = holders(lab, 5)
        for c in clients:
            c.kill()
        wait_until(lambda: len(connections(lab)) <= 5, "the killed ends have gone")
        # Those that the server does not watch stay until it closes them; a new client is served meanwhile.
        lab.run(PEER + ["talk", STACK_IP4, "7000"], env=lab.preload(), timeout=60)
        lab.stop(s, signal.SIGKILL)
        expect_reclaimed(lab, descriptors)


def scope():
    """app-scope-global: by the network only; app-scope-local: never by it."""
    for extra, kind in (("app-scope-global", "tcp"), ("app-scope-local", "cut-through")):
        with Lab(vcl_extra=extra) as lab:
            s = server(lab)
            held = lab.spawn(PEER + ["hold", STACK_IP4, "7000"], name="hold", env=lab.preload())
            wait_until(lambda: "up" in lab.output(held) or held.poll() is not None, "a client is connected")
            kinds = {c["proto"] for c in connections(lab)}
            expect(kinds == {kind}, f"{extra}: sessions are {kinds}: {lab.output(held)}")
            if kind == "tcp":
                wait_until(lambda: laboratory.can_connect(STACK_IP4, 7000), f"{extra}: it is reachable from the network")
            else:
                expect(not laboratory.can_connect(STACK_IP4, 7000), f"{extra}: it is reachable from the network")
            lab.stop(held)
            lab.stop(s)


DATAGRAMS = [PYTHON, str(HERE / "programs" / "datagram_peer.py")]


def sent_by_transport(lab):
    return sum(int(e["count"]) for e in lab.cli("show", "errors", as_json=True)["errors"]
               if e["node"] in ("udp4-output", "udp6-output") and e["reason"] == "sent")


def datagram_server(lab, address=STACK_IP4, port=7000):
    child = lab.spawn(DATAGRAMS + ["serve", address, str(port)], name="serve", env=lab.preload())
    wait_until(lambda: "listening" in lab.output(child) or child.poll() is not None, "the server is bound")
    expect(child.poll() is None, f"the server ended:\n{lab.output(child)}")
    return child


def asked_without_transport(lab, asks, enough=300):
    """Whether `enough` questions were answered while the transport sent nothing: the link opens behind the first ones."""
    def asked():
        return int((lab.output(asks).rpartition("\n")[0].split() or ["0"])[-1])

    def grew():
        expect(asks.poll() is None, f"who asks ended:\n{lab.output(asks)}")
        return asked() >= first + enough

    first, before = asked(), sent_by_transport(lab)
    wait_until(grew, f"{enough} questions are answered")
    return sent_by_transport(lab) == before


def datagrams():
    """Every way of waiting, many peers at one socket, IPv4 and IPv6, Python and iperf3; what is connected sends no packet."""
    with Lab() as lab:
        lab.cli("show", "version")
        descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
        for address in (STACK_IP4, STACK_IP6):
            s = datagram_server(lab, address)
            lab.run(DATAGRAMS + ["talk", address, "7000", "70"], env=lab.preload(), timeout=90)
            before = sent_by_transport(lab)
            lab.run(DATAGRAMS + ["talk", address, "7000", "10"], env=lab.preload(), timeout=90)
            by_transport = sent_by_transport(lab) - before
            # To nobody, and without a peer; there and back.
            expect(by_transport <= 3, f"{by_transport} datagrams went by the transport")
            lab.stop(s)
            echo = lab.spawn([PYTHON, str(HERE / "programs" / "datagram_echo.py"), address, "7001"], name="echo", env=lab.preload())
            lab.port_of(echo)
            lab.run([PYTHON, str(HERE / "programs" / "datagrams.py"), address, "7001", "1400"], env=lab.preload(), timeout=90)
            asks = lab.spawn(DATAGRAMS + ["ask", address, "7001"], name="ask", env=lab.preload())
            wait_until(lambda: asked_without_transport(lab, asks), "questions without a peer, and their answers, go by a link")
            lab.stop(asks)
            lab.stop(echo)
        for reverse in ([], ["-R"]):
            before = sent_by_transport(lab)
            server = [p.find("iperf3"), "-s", "-1", "-B", STACK_IP4, "-p", "5201", "--forceflush"]
            with lab.program(server, name="iperf3-server", env=lab.preload()) as s:
                wait_until(lambda: "listening" in lab.output(s) or s.poll() is not None, "iperf3 server listens")
                # None of it may be lost, however long the receiver does not run: each of the two flows is 5 Mb/s for 2 s,
                # 4,200 datagrams, with their 52-byte headers 1.5 MB, and a link holds 4 MB (the lab's fifos), 5.7 s of it.
                done = lab.run([p.find("iperf3"), "-u", "-c", STACK_IP4, "-p", "5201", "-t", "2", "-b", "5M", "-l", "300",
                                "-P", "2", "-J"] + reverse, timeout=60, env=lab.preload(), check=False)
                report = json.loads(done.stdout)
                expect("error" not in report, f"{report.get('error')}\n{lab.output(s)}{lab.daemon_tail()}")
                total = report["end"]["sum"]
                print(f"iperf3 -u {reverse}: {total['packets']} datagrams, {total['lost_percent']:.2f} % lost")
                expect(total["packets"] > 3000, f"only {total['packets']} datagrams")
                expect(total["lost_packets"] == 0, f"{total['lost_packets']} of {total['packets']} datagrams lost")
            expect(sent_by_transport(lab) - before < 20, "iperf3 went by the transport")
        expect_reclaimed(lab, descriptors)


def datagrams_killed():
    """Either end killed: a connected one hears of it at once, a server goes on, and all memory comes back."""
    with Lab() as lab:
        descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
        s = datagram_server(lab)
        clients = [lab.spawn(DATAGRAMS + ["hold", STACK_IP4, "7000"], name="hold", env=lab.preload()) for _ in range(5)]
        for c in clients:
            wait_until(lambda c=c: "up" in lab.output(c) or c.poll() is not None, "a client has its answer")
        for c in clients[:2]:
            c.kill()
        lab.run(DATAGRAMS + ["talk", STACK_IP4, "7000", "5"], env=lab.preload(), timeout=90)
        began = time.monotonic()
        s.kill()
        for c in clients[2:]:
            wait_until(lambda c=c: c.poll() is not None, "a client hears that its server was killed", 10)
            expect("refused" in lab.output(c), lab.output(c))
        print(f"3 clients heard within {(time.monotonic() - began) * 1000:.0f} ms")
        expect_reclaimed(lab, descriptors)


PAIR = [PYTHON, str(HERE / "programs" / "pair.py")]
WAYS = ("blocking", "poll", "epoll-level", "epoll-edge")


def native():
    """Programs of libvppcom itself: each way of waiting at either end, also with one under preload at the other."""
    with Lab() as lab:
        lab.cli("show", "version")
        descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
        library = str(lab.build / "lib/libvppcom.so")
        for i, way in enumerate(WAYS):
            s = lab.spawn(PAIR + [library, "serve", STACK_IP4, "7000", way], name=f"serve-{way}", env=lab.native())
            wait_until(lambda s=s: "listening" in lab.output(s) or s.poll() is not None, f"a server by {way} listens")
            before = tap_packets(lab)
            for other in WAYS:
                lab.run(PAIR + [library, "talk", STACK_IP4, "7000", other], env=lab.native(), timeout=120)
            lab.run(PAIR + ["sockets", "talk", STACK_IP4, "7000", WAYS[-1 - i]], env=lab.preload(), timeout=120)
            sent = tap_packets(lab) - before
            expect(sent < 50, f"{sent} packets went out to the TAP")
            expect(s.poll() is None, f"the server by {way} ended:\n{lab.output(s)}")
            lab.stop(s)
        expect_reclaimed(lab, descriptors)


if __name__ == "__main__":
    laboratory.run_case(talk, programs, killed, scope, datagrams, datagrams_killed, native)
