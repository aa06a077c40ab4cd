#!/usr/bin/python3
"""System tests of the statistics: segment, exporter, live view, over a running daemon. usage: stats_cases.py CASE"""

import json
import mmap
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402
from statseg import COMBINED, EMPTY, NAMES, SCALAR, SIMPLE, SYMLINK, Segment  # noqa: E402

FAST = "statseg { update-interval 0.1 }"


def expect(condition, message):
    if not condition:
        raise Failure(message)


def socket_of(lab):
    return str(lab.dir / "run/stats.sock")


def ping(lab, count=20):
    lab.run(["ping", "-c", str(count), "-i", "0.01", STACK_IP4])


def next_update(segment, times=1):
    """Waits until the daemon has copied its counters that many times more."""
    want = segment.get("/sys/heartbeat") + times
    wait_until(lambda: segment.get("/sys/heartbeat") >= want, "the segment is updated")


def segment():
    """The bytes are those of the table; the numbers are the daemon's own; interfaces and nodes come and go."""
    with Lab(config_extra=FAST) as lab, Segment(socket_of(lab)) as s:
        header = s.header()
        expect(header["version"] == 2 and header["base"] and header["errors"], f"header {header}")
        entries = s.consistent(s.entries)
        expect([n for _, _, n in entries[:3]] == ["/sys/heartbeat", "/sys/last_stats_clear", "/sys/boottime"],
               f"first entries {entries[:3]}")
        kinds = {name: kind for kind, _, name in entries if kind != EMPTY}
        for name, kind in {"/sys/num_worker_threads": SCALAR, "/sys/last_update": SCALAR, "/sys/vector_rate": SCALAR,
                           "/sys/loops_per_worker": SIMPLE, "/if/names": NAMES, "/if/rx": COMBINED, "/if/tx": COMBINED,
                           "/if/drops": SIMPLE, "/interfaces/tap0/rx": SYMLINK, "/nodes/ip4-input/calls": SYMLINK,
                           "/nodes/ip4-input/vectors": SYMLINK, "/nodes/ip4-input/clocks": SYMLINK,
                           "/nodes/ip4-input/suspends": SYMLINK, "/sys/node/names": NAMES, "/node/errors": SIMPLE,
                           "/err/drop/dropped": SYMLINK, "/buffer-pools/default-numa-0/available": SCALAR,
                           "/mem/main heap": SIMPLE, "/mem/main heap/used": SYMLINK,
                           "/sys/session/sessions_total": SCALAR, "/sys/tcp/connections": SCALAR,
                           "/sys/tcp/active-opens": SIMPLE}.items():
            expect(kinds.get(name) == kind, f"{name}: type {kinds.get(name)}, not {kind}")
        for name in kinds:  # every one can be read, and none is out of bounds
            s.get(name)
        expect(abs(s.get("/sys/boottime") - time.time()) < 120, "boottime is not now")
        expect(all(len(row) == len(s.get("/sys/node/names")) for row in s.get("/sys/node/clocks")), "a column a node")

        ping(lab)

        def received():
            rx = s.get("/interfaces/tap0/rx")
            return sum(p for p, _ in rx) >= 20 and sum(b for _, b in rx) >= 20 * 98
        wait_until(received, "tap0 has received the requests")
        # The kernel may send now and then, so the two views agree once the segment has caught up.
        wait_until(lambda: sum(p for p, _ in s.get("/interfaces/tap0/tx")) ==
                   lab.cli("show", "interface", as_json=True)["interfaces"][0]["TxPackets"],
                   "`show interface` has the same number")
        wait_until(lambda: sum(s.get("/nodes/ip4-input/vectors")) >= 20, "ip4-input has seen the packets")

        epoch = s.header()["epoch"]
        lab.cli("create", "loopback", "interface")
        wait_until(lambda: "/interfaces/loop0/tx" in s.names(), "the loopback appears")
        expect(s.header()["epoch"] > epoch, "the directory changed within an epoch")
        expect(s.get("/if/names")[-1] == "loop0", f"names {s.get('/if/names')}")
        lab.cli("delete", "loopback", "interface", "loop0")
        wait_until(lambda: "/interfaces/loop0/tx" not in s.names(), "the loopback goes")
        expect(s.get("/if/names")[-1] == "deleted", f"names {s.get('/if/names')}")

        # Whoever has the descriptor cannot write through it, nor make it shorter.
        for attempt in (lambda: mmap.mmap(s.fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
                        lambda: os.ftruncate(s.fd, 0), lambda: os.pwrite(s.fd, b"x", 0)):
            try:
                attempt()
            except OSError:
                continue
            raise Failure("the segment can be changed by a reader")
        text = lab.cli("show", "statistics", "segment")
        expect(re.search(r"entries:?\s+\d+", text) and "/if/rx" in text, f"show statistics segment: {text}")
        memory = {row["area"]: {k: int(row[k]) for k in ("total", "used", "free")}
                  for row in json.loads(lab.cli("--json", "show", "memory"))["memory"]}
        expect(set(memory) == {"process", "main heap", "buffer pool 0", "application segments", "statistics segment"},
               f"show memory: {memory}")
        expect(all(m["used"] + m["free"] == m["total"] for a, m in memory.items() if a != "main heap"), f"{memory}")
        heap = sum(int(re.search(what + r":?\s+(\d+)", text)[1]) for what in ("used", "free"))
        expect(memory["statistics segment"]["total"] == heap, f"{memory}")
        expect(memory["process"]["used"] > 0 and memory["main heap"]["used"] > 0 and memory["buffer pool 0"]["used"] > 0,
               f"{memory}")  # the TAP's receive rings hold buffers

        lab.stop(lab.daemon)  # what was mapped stays readable
        expect(s.get("/if/names")[0] == "tap0", "the segment went away with the daemon")
        expect(not os.path.exists(socket_of(lab)), "the socket is still there")


def options():
    """statseg { } is honoured."""
    path = f"/tmp/hostloom-stats-{os.getppid()}-{time.monotonic_ns()}.sock"
    with Lab(config_extra=f"statseg {{ socket-name {path} size 2m update-interval 3600 per-node-counters off }}") as lab:
        with Segment(path) as s:
            expect(len(s.bytes) == 2 << 20, f"{len(s.bytes)} bytes")
            names = s.names()
            expect(not [n for n in names if n.startswith("/nodes/") or n.startswith("/sys/node/")], "nodes are there")
            expect("/err/drop/dropped" in names, "error counters are not there")
            beats = s.get("/sys/heartbeat")
            ping(lab)
            expect(s.get("/sys/heartbeat") == beats, "it was updated before its time")
    expect(not os.path.exists(path), "the socket is still there")


def idle():
    """Statistics at the default interval leave an idle daemon idle, and its workers asleep."""
    with Lab() as lab, Segment(socket_of(lab)) as s:
        ticks = os.sysconf("SC_CLK_TCK")

        def cpu():
            fields = pathlib.Path(f"/proc/{lab.daemon.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / ticks

        def is_idle():
            """Over five updates. Packets of the kernel's, and what the host of this machine takes, are not there each time."""
            used, start, sleeps = cpu(), time.monotonic(), s.get("/sys/sleeps_per_worker")[0][0]
            next_update(s, 5)
            seconds = time.monotonic() - start
            share, woken = (cpu() - used) / seconds, (s.get("/sys/sleeps_per_worker")[0][0] - sleeps) / seconds
            print(f"{100 * share:.2f} % of a core; the worker was woken {woken:.1f} times a second", flush=True)
            return share < 0.01 and woken < 5

        def has_slept():
            """A sleep that goes on counts."""
            asleep = s.get("/sys/asleep_ns_per_worker")[0][0]
            next_update(s, 3)
            asleep = (s.get("/sys/asleep_ns_per_worker")[0][0] - asleep) / 1e9
            print(f"the worker slept for {asleep:.2f} of 3 s", flush=True)
            return asleep > 1.5

        next_update(s, 2)
        wait_until(is_idle, "five seconds in which the daemon uses less than 1 % of a core and the worker is hardly woken", 60)
        wait_until(has_slept, "three seconds of which the worker sleeps half", 60)


def scrape(port, path="/metrics", method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.headers, answer.read().decode()


def parse(text):
    """Samples by name and labels; fails on what a scraper would refuse."""
    types, samples, finished, current = {}, {}, set(), None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            expect(name not in types and kind in ("counter", "gauge"), f"bad line: {line}")
            types[name] = kind
            continue
        match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? ([0-9.eE+-]+)', line)
        expect(match, f"not a sample: {line}")
        name, labels = match[1], match[2] or ""
        expect(name in types, f"no TYPE before: {line}")
        expect(name.endswith("_total") == (types[name] == "counter"), f"{name} is a {types[name]}")
        if name != current:
            expect(name not in finished, f"samples of {name} stand in two places")
            finished.add(current)
            current = name
        expect((name, labels) not in samples, f"twice: {line}")
        samples[name, labels] = float(match[3])
    return samples


def prometheus():
    with Lab(config_extra=FAST) as lab:
        exporter = str(lab.build / "bin/hostloom-prometheus")
        done = subprocess.run([exporter, "--help"], capture_output=True, text=True, timeout=120)
        expect(done.returncode == 0 and "--listen" in done.stdout, f"--help: {done}")
        expect(subprocess.run([exporter, "--nonsense"], capture_output=True, timeout=120).returncode == 2, "wrong usage")
        server = lab.spawn([exporter, "--socket", socket_of(lab), "--port", "0"], name="exporter")
        url = wait_until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/metrics", lab.output(server)), "the exporter listens")
        port = int(url[1])
        before = parse(scrape(port)[1])
        ping(lab)
        key = 'hostloom_interface_rx_packets_total', '{interface="tap0",worker="0"}'
        wait_until(lambda: parse(scrape(port)[1])[key] >= before[key] + 20, "the received packets are counted")
        headers, text = scrape(port)
        expect(headers["Content-Type"].startswith("text/plain; version=0.0.4"), f"{headers}")
        now = parse(text)
        for name, labels in (("hostloom_up", ""), ("hostloom_node_clocks_total", '{node="ip4-input",worker="0"}'),
                             ("hostloom_tcp_active_opens_total", '{worker="0"}'), ("hostloom_tcp_connections", ""),
                             ("hostloom_node_counter_total", '{node="drop",counter="dropped",worker="0"}'),
                             ("hostloom_sessions", '{worker="0"}'),
                             ("hostloom_buffers_available", '{pool="default-numa-0"}'),
                             ("hostloom_memory_used_bytes", '{heap="process"}')):
            expect((name, labels) in now, f"no {name}{labels}")
        for path, method, status in (("/nowhere", "GET", 404), ("/metrics", "POST", 405)):
            try:
                scrape(port, path, method)
                raise Failure(f"{method} {path} was answered")
            except urllib.error.HTTPError as refused:
                expect(refused.code == status, f"{method} {path}: {refused.code}")
        expect(scrape(port, method="HEAD")[1] == "", "HEAD has a body")
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(b"\xff" * 20000)
            s.settimeout(120)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        expect(parse(scrape(port)[1])["hostloom_up", ""] == 1, "bad bytes stopped it")

        lab.stop(lab.daemon, signal.SIGKILL)
        wait_until(lambda: parse(scrape(port)[1]) == {("hostloom_up", ""): 0}, "a dead daemon is down")
        lab.start_daemon()
        wait_until(lambda: parse(scrape(port)[1])["hostloom_up", ""] == 1, "the new daemon is found")


def sessions_in_top(lab, loomctl):
    """A transfer is the first of the sessions, under its addresses and its program."""
    iperf3 = shutil.which("iperf3")
    server = lab.spawn([iperf3, "-s", "-B", STACK_IP4, "-p", "5300", "--forceflush"], env=lab.preload(), name="iperf3")
    wait_until(lambda: "listening" in lab.output(server), "iperf3 listens")
    with lab.program([iperf3, "-c", STACK_IP4, "-p", "5300", "-t", "600"]):
        def view(*options):
            return json.loads(lab.run(loomctl + ["--json", "top", "--once", "--interval", "0.2", *options]).stdout)

        def flowing():  # the control connection comes first
            return next((s for s in view()["sessions"][:1] if s["rx-bits-per-second"] > 1e6), None)

        first = wait_until(flowing, "the transfer is listed")
        expect(first["local"] == f"{STACK_IP4}:5300" and first["remote"].startswith(HOST_IP4), f"{first}")
        expect(first["transport"] == "tcp" and "iperf3" in first["application"], f"{first}")
        expect(first["rx-bits-per-second"] > first["tx-bits-per-second"], f"{first}")
        few = view("--max-sessions", "1")  # iperf3 has two: control and data
        expect(few["sessions"] == [] and "--max-sessions" in few["sessions-not-listed"], f"{few['sessions']}")
        expect("iperf3" in lab.run(loomctl + ["top", "--once", "--interval", "0.2"]).stdout.decode(), "no table of sessions")
    lab.stop(server)


def top():
    with Lab(config_extra=FAST) as lab:
        loomctl = [str(lab.build / "bin/loomctl"), "-s", str(lab.dir / "run/api.sock")]
        with lab.program(["ping", "-i", "0.01", STACK_IP4]):
            def flowing():
                view = json.loads(lab.run(loomctl + ["--json", "top", "--once", "--interval", "0.5"]).stdout)
                nodes = {n["node"]: n["packets-per-second"] for n in view["nodes"]}
                return view if nodes.get("ip4-input", 0) > 10 else None

            view = wait_until(flowing, "ping is seen in ip4-input")
            expect(view["seconds"] >= 0.3, f"over {view['seconds']} s")
            costs = [n["clocks-per-packet"] for n in view["nodes"]]
            expect(costs == sorted(costs, reverse=True) and costs[0] > 0, f"not by clocks per packet: {costs}")
            expect(view["interfaces"][0]["interface"] == "tap0" and view["interfaces"][0]["rx-bits-per-second"] > 1000,
                   f"interfaces: {view['interfaces']}")
            text = lab.run(loomctl + ["top", "--once"]).stdout.decode()
            for word in ("clocks/pkt", "ip4-input", "tap0", "session/sessions_total", "tcp/connections", "asleep %"):
                expect(word in text, f"no {word} in:\n{text}")
        sessions_in_top(lab, loomctl)
        expect(lab.run(loomctl + ["top", "--bogus"], check=False).returncode == 2, "wrong usage")
        # Not on a terminal: view after view, until the daemon is gone.
        live = lab.spawn(loomctl + ["top", "--interval", "0.1"], name="top")
        wait_until(lambda: lab.output(live).count("clocks/pkt") >= 3, "three views")
        lab.stop(lab.daemon)
        wait_until(lambda: live.poll() is not None, "top ends with the daemon")
        expect(live.returncode == 3, f"exit status {live.returncode}")


if __name__ == "__main__":
    laboratory.run_case(segment, options, idle, prometheus, top)
