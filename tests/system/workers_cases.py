#!/usr/bin/python3
"""System tests of several workers. usage: workers_cases.py CASE"""

import hashlib
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import expect, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"


def errors(lab, node):
    """Counters of a node by name, all workers together."""
    return {e["reason"]: int(e["count"]) for e in lab.cli("show", "errors", as_json=True)["errors"] if e["node"] == node}


def workers_that_sent(lab):
    """Workers whose sessions have sent something."""
    tables = lab.cli("show", "runtime", as_json=True)
    return [name for name, nodes in tables.items() if any(n["name"] == "tcp4-output" for n in nodes)]


def programs():
    """What one worker carries, two and four carry: many connections of ordinary programs, both ways."""
    for workers in (2, 4):
        with Lab(workers=workers) as lab:
            for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
                p.iperf3(lab, side, seconds=1, streams=8)
                p.iperf3(lab, side, seconds=1, streams=8, reverse=True)
            with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n:
                p.curl_matches(lab, n, "10m")
                p.wrk(lab, n, seconds=1)
                p.wrk(lab, n, seconds=1, close=True)
            with p.Redis(lab, p.served_by_hostloom(lab)) as r:
                expect(r.benchmark("set", requests=10000) > 0, "no rate")
            for program in ("echo_threads", "echo_asyncio", "fork_server"):
                lab.run([PYTHON, str(HERE / "programs" / f"{program}.py"), STACK_IP4, HOST_IP4], env=lab.preload(), timeout=180)
            expect(len(workers_that_sent(lab)) == workers, f"only workers {workers_that_sent(lab)} of {workers} did anything")
            expect_reclaimed(lab)


def strays():
    """Queues move from worker to worker under open connections: their packets are handed off, and not one byte is lost."""
    with Lab(workers=4) as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n:
            fetches = [subprocess.Popen([p.find("sh"), "-c", f"for i in 1 2 3; do curl -sS --fail {n.url('10m')} | sha256sum; done"],
                                        stdout=subprocess.PIPE, text=True) for _ in range(6)]
            done = threading.Event()

            def rotate():
                turn = 0
                while not done.is_set():
                    turn += 1
                    for queue in range(4):
                        lab.cli("set", "interface", "rx-placement", "tap0", "queue", str(queue), "worker", str((queue + turn) % 4))
            mover = threading.Thread(target=rotate)
            mover.start()
            try:
                for f in fetches:
                    for line in f.communicate(timeout=400)[0].splitlines():
                        expect(line.split()[0] == n.files["10m"], f"a file of {line}")
                    expect(f.returncode == 0, "curl failed")
            finally:
                done.set()
                mover.join()
        handoff = errors(lab, "worker-handoff")
        expect(handoff.get("handed-off", 0) > 0, f"nothing was handed off: {handoff}")
        expect(handoff.get("no-buffers", 0) == 0, f"packets were lost on the way: {handoff}")
        expect_reclaimed(lab)


def spread():
    """All packets come by one worker's queues, and with spread-flows every worker has sessions."""
    with Lab(workers=4, config_extra="session { spread-flows }") as lab:
        for queue in range(4):
            lab.cli("set", "interface", "rx-placement", "tap0", "queue", str(queue), "worker", "0")
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n:
            p.curl_matches(lab, n, "10m")
            p.wrk(lab, n, seconds=1)
            p.wrk(lab, n, seconds=1, close=True)
            with Asker(n) as asker:  # and none follows its packets to that one worker
                for _ in range(200):
                    asker.ask()
        p.iperf3(lab, p.served_by_hostloom(lab), seconds=1, streams=8)
        expect(len(workers_that_sent(lab)) == 4, f"only workers {workers_that_sent(lab)} did anything")
        expect(errors(lab, "session-queue").get("migrated", 0) == 0, f"sessions moved: {errors(lab, 'session-queue')}")
        expect_reclaimed(lab)


class Asker:
    """One connection of the kernel's to nginx, over which file after file is asked for."""

    def __init__(self, n):
        self.n, self.turn = n, 0
        self.socket = socket.create_connection((STACK_IP4, n.port), timeout=120)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def ask(self):
        self.turn += 1
        self.socket.sendall(b"GET /1k HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while b"\r\n\r\n" not in got or len(got) - got.index(b"\r\n\r\n") - 4 < 1024:
            got += self.socket.recv(65536)
        body = got[got.index(b"\r\n\r\n") + 4:]
        expect(hashlib.sha256(body).hexdigest() == self.n.files["1k"], f"answer {self.turn} is wrong")


def followed():
    """A connection whose packets come by another worker's queue moves there by itself, and its program notices nothing."""
    with Lab(workers=2) as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab)) as n, Asker(n) as asker:
            for worker in ("0", "1"):
                for queue in ("0", "1"):
                    lab.cli("set", "interface", "rx-placement", "tap0", "queue", queue, "worker", worker)
                for _ in range(100):
                    asker.ask()
        expect(errors(lab, "session-queue").get("migrated", 0) > 0, "no session has moved")
        expect_reclaimed(lab)


def move(lab, handle, worker):
    """Whether the session went there."""
    command = [str(lab.build / "bin/loomctl"), "-s", str(lab.dir / "run/api.sock"), "session", "migrate", handle, "worker", str(worker)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    expect(done.returncode == 0 or "no session" in said or "try again" in said or "cannot move" in said, f"migrate: {said}")
    return done.returncode == 0, said


def connections(lab):
    return [c["handle"] for c in lab.cli("show", "session", "verbose", as_json=True)["connections"]]


def migrate():
    """An operator moves open sessions around: of nginx's processes, of a client under preload, of a program that forks."""
    with Lab(workers=4) as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n, p.Nginx(lab, p.Side("kernel", HOST_IP4), port=8081) as k:
            with Asker(n) as asker:
                asker.ask()
                handle, = wait_until(lambda: len(c := connections(lab)) == 1 and c, "only that connection is left")
                expect(handle.startswith("0x"), f"a handle is text, also in JSON: {handle}")
                for turn in range(1, 41):
                    wait_until(lambda: move(lab, handle, turn * 3 % 4)[0], "the session can move")
                    asker.ask()
                expect(connections(lab) == [handle], "it has kept its handle")
            script = "for i in 1 2 3; do curl -sS --fail %s | sha256sum; done"
            fetches = [subprocess.Popen([p.find("sh"), "-c", script % n.url("10m")], stdout=subprocess.PIPE, text=True)
                       for _ in range(4)]
            fetches += [subprocess.Popen([p.find("sh"), "-c", script % k.url("10m")], stdout=subprocess.PIPE, text=True,
                                         env=lab.preload()) for _ in range(2)]
            fetches.append(subprocess.Popen([PYTHON, str(HERE / "programs" / "fork_server.py"), STACK_IP4, HOST_IP4],
                                            env=lab.preload(), stdout=subprocess.PIPE, text=True))
            turn = 0
            while any(f.poll() is None for f in fetches):
                turn += 1
                for handle in connections(lab):
                    move(lab, handle, turn % 4)
            for f in fetches:
                lines = f.communicate(timeout=400)[0].splitlines()
                expect(f.returncode == 0, f"{f.args} failed: {lines}")
                for line in lines:
                    expect(len(line.split()[0]) != 64 or line.split()[0] == n.files["10m"], f"a file of {line}")
            expect(move(lab, "77", 1) == (False, "no session 77\n"), f"{move(lab, '77', 1)}")
        expect(errors(lab, "session-queue").get("migrated", 0) >= 40, f"{errors(lab, 'session-queue')}")
        expect_reclaimed(lab)


def barriers_since(lab, mark):
    """How often all workers stood still since the command `mark`."""
    lab.cli("event-logger", "save", "events.jsonl")
    lines = [json.loads(line) for line in (lab.dir / "run/events.jsonl").read_text().splitlines()[1:]]
    events = [(e["event"], e["text"]) for e in lines if e["thread"] == "loom-main"]
    at = events.index(("cli", mark))
    return sum(event == "barrier" for event, _ in events[at:])


def change_all(lab, port):
    """Rules, a deny list and routes come and go."""
    rule = ("proto", "tcp", "0.0.0.0/0", "0", f"{STACK_IP4}/32", port)
    for scope in ("global", "local"):
        lab.cli("session", "rule", "add", *rule, "action", "allow", "scope", scope)
        lab.cli("session", "rule", "del", *rule, "scope", scope)
    lab.cli("session", "sdl", "add", "203.0.113.0/24", "action", "drop")
    lab.cli("session", "sdl", "del", "203.0.113.0/24")
    lab.cli("ip", "route", "add", "203.0.113.0/24", "via", HOST_IP4, "tap0")
    lab.cli("ip", "route", "del", "203.0.113.0/24", "via", HOST_IP4, "tap0")


def churn():
    """Many short connections while listeners, rules and routes come and go: each connection is served whole or refused,
    workers never stand still, and nothing is left behind."""
    with Lab(workers=4) as lab:
        mark = "show version"
        lab.cli("event-logger", "trace", "dispatch", "disable")  # these are many, and old events give way
        lab.cli(*mark.split())
        ports = [str(7100 + i) for i in range(6)]
        server = lab.spawn([PYTHON, str(HERE / "programs" / "short_lived.py"), "serve", STACK_IP4] + ports, env=lab.preload(),
                           name="short-lived")
        wait_until(lambda: "ready" in lab.output(server) or server.poll() is not None, "the listeners run")
        clients = [subprocess.Popen([PYTHON, str(HERE / "programs" / "short_lived.py"), "connect", STACK_IP4] + ports,
                                    stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for _ in range(10):
            change_all(lab, ports[0])
        # And as many that the daemon's own applications open, over the network and by cut-through.
        near = lab.run([PYTHON, str(HERE / "programs" / "short_lived.py"), "connect", STACK_IP4] + ports, env=lab.preload(), timeout=400)
        reports = [c.communicate(timeout=400)[0] for c in clients] + [near.stdout.decode()]
        expect(all(c.returncode == 0 for c in clients), f"a client failed: {reports}")
        for report in reports:
            print(report.strip(), flush=True)
            served = int(report.split()[1])
            expect(served > 100, f"hardly anything was served: {report}{lab.output(server)}")
        expect(server.poll() is None, f"the server ended:\n{lab.output(server)}")
        lab.stop(server)
        expect(barriers_since(lab, mark) == 0, "workers stood still")
        lab.cli("set", "interface", "rx-placement", "tap0", "queue", "0", "worker", "1")
        expect(barriers_since(lab, mark) > 0, "a barrier is not seen")
        expect_reclaimed(lab)


def beside():
    """A worker with little to do comes to the core of the application that wakes it, and where it may not it stays at home.
    Beside other work, too: then it goes away again for a while, but it has come."""
    mine = sorted(os.sched_getaffinity(0))
    schedstat = pathlib.Path("/proc/thread-self/schedstat")
    if len(mine) < 2 or not schedstat.exists() or schedstat.read_text().strip() == "0 0 0":
        return print("skipped: one core, or a kernel that does not count")
    program = laboratory.TOP / "tests" / "bench" / "datagrams" / "datagram_load.cc"
    for extra, comes in (("", True), ("cpu { follow-applications off }", False)):
        with Lab(config_extra=extra) as lab:
            load, port = str(p.compiled(lab, program)), "7100"
            server = lab.spawn([load, "serve", STACK_IP4, port], env=lab.preload(), name="server", core=mine[-1])
            wait_until(lambda: "listening" in lab.output(server) or server.poll() is not None, "the server is bound")

            def ping(seconds):  # a few thousand a second: without a pause the worker has enough to do
                return lab.spawn([load, "ping", STACK_IP4, port, str(seconds), "64", "300"], name="client", core=mine[0])

            def run(*programs):
                for program in programs:
                    expect(program.poll() is None, f"the {program.label} ended ({program.returncode}): {lab.output(program)}")
                return True

            # Asked of the kernel, as a command would take a core each time.
            lwp = lab.cli("show", "threads", as_json=True)["threads"][0]["lwp"]
            status = pathlib.Path(f"/proc/{lab.daemon.pid}/task/{lwp}/status")

            def cores():
                return re.search(r"Cpus_allowed_list:\t(.*)", status.read_text())[1]
            home = cores()
            if comes:
                client = ping(600)
                wait_until(lambda: run(server, client) and cores() == str(mine[-1]), "the worker is beside the server")
                lab.stop(client)
            else:
                def has_stayed():
                    """Whether it had a reason to go: a busy machine makes too few round trips in some seconds."""
                    client = ping(1)

                    def is_over():
                        expect(cores() == home, "it has gone where it may not go")
                        return client.poll() is not None or not run(server)
                    wait_until(is_over, "the client ends")
                    said = lab.output(client)
                    expect(client.returncode == 0, f"the client ended ({client.returncode}): {said}")
                    return int(said) > 500
                wait_until(has_stayed, "more than 500 round trips in a second")
            lab.stop(server)


def reuseport():
    """Two processes listen on one port with SO_REUSEPORT: connections are spread by their flow, the same flow always leads
    to the same one, and when one goes all of them lead to the other. Without the option the second is refused."""
    server = ("import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(sys.argv[2])); "
              "s.bind(('0.0.0.0', int(sys.argv[3]))); s.listen(64); print('port', sys.argv[3], flush=True)\n"
              "while True:\n    c, _ = s.accept(); c.sendall(sys.argv[1].encode()); c.close()")

    def taker(port, source):
        """Who takes the connection from that port of this host's."""
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # the port is free at once
            s.settimeout(120)
            s.bind((HOST_IP4, source))
            s.connect((STACK_IP4, port))
            return s.recv(1).decode()

    with Lab(workers=2) as lab:
        def listening(name, shares, port):
            return lab.program([PYTHON, "-c", server, name, str(shares), str(port)], name=name, env=lab.preload())

        with listening("A", 1, 7000) as a, listening("B", 1, 7000) as b:
            lab.port_of(a), lab.port_of(b)
            sources = range(20000, 20064)
            first = [taker(7000, s) for s in sources]
            expect(8 < first.count("A") < 56, f"not spread: {first}")  # six deviations from 32
            expect([taker(7000, s) for s in sources] == first, "a flow has another taker")
            b.kill()
            b.wait()
            wait_until(lambda: len(lab.cli("show", "session", as_json=True)["listeners"]) == 1, "the daemon knows")
            expect([taker(7000, s) for s in sources] == ["A"] * 64, "the other takes all")
        with listening("C", 0, 7001) as c:
            lab.port_of(c)
            with listening("D", 1, 7001) as d:
                wait_until(lambda: d.poll() is not None, "the second is refused")
                expect("Address already in use" in lab.output(d), lab.output(d))
        expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(programs, strays, spread, followed, migrate, churn, beside, reuseport)
