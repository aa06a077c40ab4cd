#!/usr/bin/python3
"""System tests: real programs over Hostloom, in network namespaces of their own. usage: cases.py CASE"""

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from lab import HOST_IP4, STACK_IP4, STACK_IP6, Failure, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"


def expect(condition, message):
    if not condition:
        raise Failure(message)


def session_count(lab):
    return int(re.search(r"sessions:?\s+(\d+)", lab.cli("show", "session"))[1])


def no_applications(lab):
    return not lab.applications()


def expect_reclaimed(lab):
    """All that applications held is back: no application, no session, every buffer in the pool."""
    wait_until(lambda: no_applications(lab), "the daemon forgets the applications")
    try:
        wait_until(lambda: session_count(lab) == 0, "all sessions end", 240)  # a connection may be 60 s from its next attempt
    except Failure as e:
        shows = ("session verbose 2", "ip neighbors", "tcp stats", "errors", "hardware-interfaces")
        raise Failure("\n".join([str(e), *(lab.cli("show", *words.split()) for words in shows)])) from None


def iperf3():
    with Lab() as lab:
        for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
            for reverse in (False, True):
                rate = p.iperf3(lab, side, seconds=2, reverse=reverse)
                expect(rate > 0, f"{side.name}, reverse {reverse}: only {rate / 1e6:.1f} Mb/s")
        p.iperf3(lab, p.served_by_hostloom(lab), seconds=1, streams=8)
        expect_reclaimed(lab)


def nginx():
    with Lab() as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n:
            for name in ("1k", "10m"):
                for _ in range(3):
                    p.curl_matches(lab, n, name)
            many = [subprocess.Popen([p.find("curl"), "-sS", "--fail", n.url("10m")], stdout=subprocess.PIPE)
                    for _ in range(10)]
            for c in many:
                data = c.communicate(timeout=240)[0]
                expect(hashlib.sha256(data).hexdigest() == n.files["10m"], f"parallel curl got {len(data)} wrong bytes")
            p.wrk(lab, n, seconds=1)
            p.wrk(lab, n, seconds=1, close=True)
            p.curl_matches(lab, n, "10m")
            # curl over Hostloom, from a server of the kernel.
        with p.Nginx(lab, p.Side("kernel", HOST_IP4), port=8081) as n:
            p.curl_matches(lab, n, "10m", env=lab.preload())
        expect_reclaimed(lab)


def redis():
    with Lab() as lab:
        with p.Redis(lab, p.served_by_hostloom(lab)) as r:
            for test in ("set", "get"):
                expect(r.benchmark(test, requests=20000) > 0, "no rate")
            expect(r.benchmark("set", requests=20000, pipeline=16) > 0, "no rate")
            cli = [p.find("redis-cli"), "-h", STACK_IP4]
            big = hashlib.shake_128(b"value").hexdigest(200_000)
            done = subprocess.run(cli + ["-x", "set", "big"], input=big.encode(), capture_output=True, timeout=120)
            expect(done.stdout.strip() == b"OK", f"redis-cli set: {done.stdout!r} {done.stderr!r}")
            got = lab.run(cli + ["get", "big"]).stdout.decode().rstrip("\n")
            expect(got == big, "redis returned another value than it was given")
            # A save forks the server; the child inherits the sessions and must not disturb them.
            lab.run(cli + ["config", "set", "dir", str(lab.dir)])
            lab.run(cli + ["bgsave"])
            wait_until(lambda: b"rdb_bgsave_in_progress:0" in lab.run(cli + ["info", "persistence"]).stdout,
                       "redis finishes its background save")
            expect(b"rdb_last_bgsave_status:ok" in lab.run(cli + ["info", "persistence"]).stdout, "bgsave failed")
            expect(lab.run(cli + ["get", "big"]).stdout.decode().rstrip("\n") == big, "value lost after bgsave")
        expect_reclaimed(lab)


def mixed_programs():
    """Python's selectors, asyncio, blocking sockets and threads; IPv6; kernel and Hostloom sockets in one wait."""
    with Lab() as lab:
        for program in ("echo_blocking", "echo_asyncio", "echo_threads", "mixed_wait", "socket_api"):
            lab.run([PYTHON, str(HERE / "programs" / f"{program}.py"), STACK_IP4, HOST_IP4], env=lab.preload(), timeout=240)
        lab.run([PYTHON, str(HERE / "programs" / "echo_blocking.py"), STACK_IP6, laboratory.HOST_IP6], env=lab.preload(), timeout=240)
        lab.run(["ping", "-c", "3", "-i", "0.2", STACK_IP4])
        lab.run(["ping", "-c", "3", "-i", "0.2", STACK_IP6])
        expect_reclaimed(lab)


def loss():
    """1 % of the frames lost, both ways: slower, and not one byte wrong."""
    startup = [
        "create tap id 0 host-if-name tap0",
        f"set interface ip address tap0 {STACK_IP4}/24",
        "set interface state tap0 up",
    ]
    with Lab(startup=startup, config_extra="tcp { max-gso-size 3000 }") as lab:
        subprocess.run(["ip", "link", "set", "tap0", "up"], check=True)
        relay = lab.spawn([PYTHON, str(HERE / "relay.py"), "tap0", "lossy0", "1"], name="relay")
        wait_until(lambda: "ready" in lab.output(relay), "the relay runs")
        subprocess.run(["ip", "addr", "add", f"{HOST_IP4}/24", "dev", "lossy0"], check=True)
        subprocess.run(["ip", "link", "set", "lossy0", "up"], check=True)
        with p.Nginx(lab, p.served_by_hostloom(lab)) as n:
            for _ in range(2):
                p.curl_matches(lab, n, "10m")
            for _ in range(20):
                p.curl_matches(lab, n, "1k")
        with p.Nginx(lab, p.Side("kernel", HOST_IP4), port=8081) as n:
            p.curl_matches(lab, n, "10m", env=lab.preload())
        wait_until(lambda: re.search(r"dropped [1-9]", lab.output(relay)), "the relay has dropped something")


def fork_and_exec():
    with Lab() as lab:
        lab.run([PYTHON, str(HERE / "programs" / "fork_server.py"), STACK_IP4, HOST_IP4], env=lab.preload(), timeout=240)
        # A program under preload that starts others: they work, with and without sockets of their own.
        lab.run(["sh", "-c", "ls / >/dev/null && echo ok | cat"], env=lab.preload())
        expect_reclaimed(lab)


def application_death():
    """kill -9 at work: everything it held is reclaimed, the peer learns of it, and others do not notice."""
    with Lab() as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab)) as n:
            for _ in range(3):
                victim = lab.spawn([p.find("iperf3"), "-s", "-B", STACK_IP4, "-p", "5300", "--forceflush"], env=lab.preload())
                wait_until(lambda: "listening" in lab.output(victim), "iperf3 server listens")
                client = lab.spawn([p.find("iperf3"), "-c", STACK_IP4, "-p", "5300", "-t", "30", "--forceflush"], name="iperf3-client")
                wait_until(lambda: "Mbits" in lab.output(client) or "Gbits" in lab.output(client) or client.poll() is not None,
                           "iperf3 runs")
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                wait_until(lambda: client.poll() is not None, "the client notices that its server died")
                p.curl_matches(lab, n, "10m")
            wait_until(lambda: len(lab.applications()) == 1, "dead applications go")
        expect_reclaimed(lab)


def table(lab, command, name):
    return lab.cli(*command.split(), as_json=True)[name]


def exchange(address, port, data, half_close=True):
    """What a peer of the kernel gets back for `data`, sent while it reads."""
    got = bytearray()
    with socket.create_connection((address, port), timeout=120) as s:
        sender = threading.Thread(target=lambda: (s.sendall(data), half_close and s.shutdown(socket.SHUT_WR)))
        sender.start()
        while chunk := s.recv(1 << 16):
            got += chunk
        sender.join()
    return bytes(got)


def in_process():
    """Applications inside the daemon: echo and perf servers against peers of the kernel, perf clients against both."""
    with Lab() as lab:
        data = hashlib.shake_128(b"in-process").digest(3_000_000)
        lab.cli("echo", "server", "uri", f"tcp://{STACK_IP4}/7")
        lab.cli("echo", "server", "uri", f"tcp://{STACK_IP6}/7", "fifo-size", "16k")
        for address in (STACK_IP4, STACK_IP6):
            expect(exchange(address, 7, data) == data, f"{address}: the echo is not what was sent")
        with concurrent.futures.ThreadPoolExecutor(20) as many:
            for got in many.map(lambda i: exchange(STACK_IP4, 7, data[:100_000 + i]), range(40)):
                expect(data.startswith(got) and len(got) >= 100_000, "an echo among many is wrong")

        server = f"tcp://{STACK_IP4}/1234"
        lab.cli("perf", "server", "uri", server, "fifo-size", "4m")
        names = [a["name"] for a in table(lab, "show app", "applications")]
        expect(f"perf server {server}" in names, f"show app lists {names}")
        expect(server.split("/")[2] + ":1234" in lab.cli("show", "session"), "show session does not list the listener")
        # A peer that knows nothing of perf: its bytes are taken and counted, and the end is answered by the end.
        expect(exchange(STACK_IP4, 1234, data) == b"", "a perf server answered")
        expect(exchange(STACK_IP4, 1234, b"hostloom") == b"", "a stream that ends within the mark was answered")
        expect(exchange(STACK_IP4, 1234, b"") == b"", "an empty stream was answered")
        marked = b"hostloom-perf-ec" + data
        expect(exchange(STACK_IP4, 1234, marked) == marked, "a stream that asks for it is not echoed")
        row = next(r for r in table(lab, "show perf", "servers") if r["uri"] == server)
        wanted = len(data) + len(b"hostloom") + len(marked)
        expect(row["bytes received"] == wanted, f"{row} should count {wanted} bytes")

        # One daemon, both ends.
        run = lab.cli("perf", "client", "uri", server, "bytes", "5m", "nclients", "4", "echo-bytes", "fifo-size", "1m", as_json=True)
        expect((run["connections"], run["unfinished"], run["failed"]) == (4, 0, 0), f"{run}")
        expect(run["bytes sent"] == run["bytes received"] == 4 * (5 << 20), f"{run}")

        def goes_on():  # for the second, if the machine does not stand still
            run = lab.cli("perf", "client", "uri", server, "run-time", "1", as_json=True)
            expect(run["unfinished"] == 0 and float(run["seconds"]) >= 0.9, f"{run}")
            return run["bytes sent"] > 1 << 20
        wait_until(goes_on, "a run of a second sends a megabyte")

        # Against a server of the kernel that sends back, and one that sends back something else.
        with kernel_echo() as port:
            run = lab.cli("perf", "client", "uri", f"tcp://{HOST_IP4}/{port}", "bytes", "1m", "echo-bytes", as_json=True)
            expect(run["bytes received"] == 1 << 20 and run["unfinished"] == 0, f"{run}")
        with kernel_echo(lambda b: bytes([b[0] ^ 1]) + b[1:]) as port:
            expect_error(lab, "got other bytes back", "perf", "client", "uri", f"tcp://{HOST_IP4}/{port}", "bytes", "1m", "echo-bytes")
        expect_error(lab, "refused", "perf", "client", "uri", f"tcp://{HOST_IP4}/9")
        for line in ("perf server uri tcp://nowhere/1", "perf client uri smoke://10.0.0.1/1 bytes 1", f"echo server delete uri {server}",
                     f"perf server uri {server}", f"perf client uri {server} bytes 1 run-time 1", "perf client", f"perf client uri {server} x"):
            expect_error(lab, "", *line.split())

        # A run does not hold the control thread up, and can be ended; a server that goes resets what it has.
        waiting = lab.spawn(loomctl(lab, "perf", "client", "uri", server, "run-time", "600"))
        wait_until(lambda: any(r["state"] == "running" and r["open"] == 1 for r in table(lab, "show perf", "clients")), "the run begins")
        lab.cli("perf", "client", "stop")
        wait_until(lambda: waiting.poll() is not None, "the one who waits for the run is answered")
        with socket.create_connection((STACK_IP4, 7), timeout=120) as s:
            s.sendall(b"x")
            expect(s.recv(1) == b"x", "no echo")
            lab.cli("echo", "server", "delete", "uri", f"tcp://{STACK_IP4}/7")
            try:
                expect(s.recv(1) == b"", "bytes from a server that is gone")
                raise Failure("an orderly end of a server that was deleted")
            except ConnectionResetError:
                pass
        lab.cli("echo", "server", "delete", "uri", f"tcp://{STACK_IP6}/7")
        lab.cli("perf", "server", "delete", "uri", server)
        expect(not laboratory.can_connect(STACK_IP4, 1234), "a deleted server accepts")
        expect_reclaimed(lab)


def ping():
    """A command that waits holds nobody else up, and whoever asked may leave."""
    with Lab() as lab:
        def answered():  # one that comes more than a second late is lost
            text = lab.cli("ping", HOST_IP4, "count", "3", "interval", "0.1")
            return "3 sent, 3 received, 0% packet loss" in text and text.count("64 bytes from") == 3
        wait_until(answered, "three answers of three")
        expect_error(lab, "no way to 192.0.2.1", "ping", "192.0.2.1")
        for address in STACK_IP4, STACK_IP6:  # by the kernel, larger than the MTU: in fragments both ways
            lab.run(["ping", "-n", "-c", "2", "-i", "0.2", "-s", "5000", address], timeout=120)

        def clients():
            return len(table(lab, "show api clients", "clients"))

        wait_until(lambda: clients() == 1, "only who asks is there")
        with lab.program(loomctl(lab, "ping", "10.88.0.77", "count", "60", "interval", "1")) as waiting:
            wait_until(lambda: clients() == 2, "the ping is under way")
            for _ in range(5):
                lab.cli("show", "version")
            expect(waiting.poll() is None, "the ping ended: " + lab.output(waiting))
        wait_until(lambda: clients() == 1, "a client that left is forgotten")


def loomctl(lab, *command):
    return [str(lab.build / "bin/loomctl"), "-s", str(lab.dir / "run/api.sock"), *command]


def expect_error(lab, text, *command):
    try:
        lab.cli(*command)
    except Failure as e:
        expect(text in str(e), f"{e}: should say '{text}'")
        return
    raise Failure(f"{' '.join(command)}: should have failed")


@contextlib.contextmanager
def kernel_echo(change=lambda b: b):
    """A kernel socket that sends back what it gets, changed."""
    with socket.create_server((HOST_IP4, 0)) as listener:
        def serve():
            with listener.accept()[0] as s:
                while data := s.recv(1 << 16):
                    s.sendall(change(data))
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listener.getsockname()[1]
        server.join(120)


def daemon_death():
    """The daemon is killed under a running nginx: connections get errors, nginx lives."""
    with Lab() as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
            with socket.create_connection((STACK_IP4, n.port), timeout=120) as s:
                s.sendall(b"GET /1k HTTP/1.1\r\nHost: x\r\n\r\n")
                expect(s.recv(100).startswith(b"HTTP/1.1 200"), "no answer before")
                lab.daemon.kill()
                lab.daemon.wait()
                workers = lambda: subprocess.run(["pgrep", "-P", str(n.child.pid)], capture_output=True).stdout.split()
                wait_until(workers, "nginx has its worker")
                time_to_notice = time.monotonic() + 2
                wait_until(lambda: time.monotonic() > time_to_notice, "time passes", 5)
                expect(n.child.poll() is None, f"nginx died with the daemon:\n{lab.output(n.child)}")
                expect(workers(), "nginx lost its worker with the daemon")
            n.child.send_signal(signal.SIGTERM)
            n.child.wait(120)


def bad_input():
    with Lab(daemon=False) as lab:
        hostloom, loomctl = str(lab.build / "bin/hostloom"), str(lab.build / "bin/loomctl")
        conf = lab.dir / "bad.conf"

        def refused(text, *needles):
            conf.write_text(text)
            done = subprocess.run([hostloom, "-c", str(conf)], capture_output=True, text=True, timeout=120)
            said = done.stdout + done.stderr
            expect(done.returncode == 2, f"exit status {done.returncode} for {text!r}: {said}")
            for needle in needles:
                expect(needle in said, f"{needle!r} is missing in the error for {text!r}: {said}")

        run = f"unix {{ nodaemon runtime-dir {lab.dir}/r }}\nplugins {{ path {lab.build}/lib/hostloom/plugins }}\n"
        refused("unix { nodaemon }\nsesion { }\n", "bad.conf:2", "session")
        refused("session {\n  evt-q-lenght 12\n}\n", "bad.conf:2", "evt-q-length")
        refused("cpu { workers many }\n", "bad.conf:1", "workers")
        refused("cpu { workers 17 }\n", "from 0 to 16")
        refused("unix { nodaemon\n", "bad.conf")
        refused(run + "tcp { cc-allgo cubic }\n", "bad.conf:3", "cc-algo")
        refused(run + "tcp { cc-algo vegas }\n", "vegas")

        done = subprocess.run([loomctl, "-s", f"{lab.dir}/nowhere.sock", "show", "version"], capture_output=True, text=True)
        expect(done.returncode == 3 and "nowhere.sock" in done.stderr, f"loomctl: {done.returncode} {done.stderr}")
        # A program that attaches to no daemon says which socket it wanted.
        (lab.dir / "vcl.conf").write_text(f"vcl {{ app-socket-api {lab.dir}/nobody }}\n")
        done = subprocess.run([p.find("iperf3"), "-c", STACK_IP4, "-t", "1", "--connect-timeout", "500"],
                              env=lab.preload(), capture_output=True, text=True, timeout=240)
        expect(f"{lab.dir}/nobody" in done.stderr, f"the socket's path is missing: {done.stderr}")
    with Lab() as lab:
        again = subprocess.run([str(lab.build / "bin/hostloom"), "-c", str(lab.dir / "startup.conf")], capture_output=True,
                               text=True, timeout=120)
        expect(again.returncode != 0 and str(lab.daemon.pid) in again.stdout + again.stderr,
               f"a second daemon: {again.returncode} {again.stdout}{again.stderr}")
        for words, needle in ((("show", "sesion"), "session"), (("set", "interface", "state", "tap9", "up"), "tap9"),
                              (("nonsense",), "nonsense")):
            done = subprocess.run([str(lab.build / "bin/loomctl"), "-s", f"{lab.dir}/run/api.sock", *words],
                                  capture_output=True, text=True)
            expect(done.returncode == 1 and needle in done.stdout + done.stderr,
                   f"loomctl {words}: {done.returncode} {done.stdout}{done.stderr}")
        # No right to make a TAP: the error names the missing capability.
        conf = lab.dir / "other.conf"
        (lab.dir / "other.cli").write_text("create tap id 1 host-if-name tap9\n")
        conf.write_text((lab.dir / "startup.conf").read_text().replace(f"{lab.dir}/run", f"{lab.dir}/run2")
                        .replace("hostloom.log", "other.log").replace("startup.cli", "other.cli"))
        done = subprocess.run(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", str(lab.build / "bin/hostloom"), "-c",
                               str(conf)], capture_output=True, text=True, timeout=120)
        said = done.stdout + done.stderr + (lab.dir / "other.log").read_text()
        expect(done.returncode != 0 and "CAP_NET_ADMIN" in said, f"without capabilities: {done.returncode} {said}")


def worker_rounds(lab):
    """Rounds that the workers have made: none while they sleep."""
    threads = lab.cli("show", "threads", as_json=True)["threads"]
    return sum(int(t["rounds"]) for t in threads)


def asleep_seconds(lab):
    return sum(float(t["asleep-seconds"]) for t in lab.cli("show", "threads", as_json=True)["threads"])


def expect_asleep(*labs):
    """While they sleep half a second, timers that run all the time and the requests of this test make few rounds: a worker that
    polls makes as many in a millisecond, and never sleeps."""
    for lab in labs:
        slept, rounds = asleep_seconds(lab), worker_rounds(lab)
        wait_until(lambda: asleep_seconds(lab) - slept > 0.5, "the workers sleep")
        made = worker_rounds(lab) - rounds
        print(f"{made} rounds while they slept half a second", flush=True)
        expect(made < 300, f"workers that should sleep have made {made} rounds")


def expect_polling(lab):
    """A worker that polls makes its rounds, and does not sleep between them."""
    slept, before = asleep_seconds(lab), worker_rounds(lab)
    wait_until(lambda: worker_rounds(lab) - before > 100_000, "a worker that polls makes its rounds")
    expect(asleep_seconds(lab) == slept, "a worker that polls has slept")


def idle():
    """An idle daemon, with an application attached, uses less than 1 % of a core over 10 s. What the host of this machine takes
    while the daemon has a core counts as the daemon's, and is not there each time."""
    with Lab() as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab)) as n:
            p.wrk(lab, n, seconds=1)

            def used():
                fields = pathlib.Path(f"/proc/{lab.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

            wait_until(lambda: session_count(lab) == 0, "wrk's connections have ended")

            def is_idle():
                before, start = used(), time.monotonic()
                wait_until(lambda: time.monotonic() - start > 10, "ten seconds pass")
                spent, took = used() - before, time.monotonic() - start
                print(f"idle daemon: {spent:.2f} s of CPU in {took:.1f} s = {100 * spent / took:.2f} %", flush=True)
                return spent < 0.01 * took
            wait_until(is_idle, "ten seconds in which the daemon uses less than 1 % of a core", 60)


def unprivileged_user():
    """The same as somebody without any right, through a user namespace."""
    expect(os.environ.get("HOSTLOOM_LAB_USER"), "this is not a user namespace")
    iperf3()


def main():
    if sys.argv[1:] == ["unprivileged_user"] and os.geteuid() == 0 and not os.environ.get("HOSTLOOM_LAB_INSIDE"):
        # In a mount namespace of its own, so that /dev/net/tun can have the mode that Debian gives it everywhere.
        prepare = ("mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && "
                   'exec setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"')
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", prepare, "sh", PYTHON] + sys.argv)
    laboratory.run_case(iperf3, nginx, redis, mixed_programs, loss, fork_and_exec, application_death, in_process, ping,
                        daemon_death, bad_input, idle, unprivileged_user)


if __name__ == "__main__":
    main()
