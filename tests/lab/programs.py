"""The programs of the laboratory: how each is started, over Hostloom or over the kernel, and what it reports.

A `side` says who serves and where: Side(address, env, wrap) - the address to listen on, the environment (with or
without preload), and how the command is put into its namespace.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil

import lab as laboratory
from lab import FAR_IP4, HOST_IP4, NEAR_IP4, STACK_IP4, Failure


@dataclasses.dataclass
class Side:
    name: str
    server: str                      # address that the server listens on, and clients connect to
    server_env: dict | None = None
    client_env: dict | None = None
    wrap_server: object = staticmethod(lambda command: command)


def served_by_hostloom(lab):
    return Side("hostloom serves", STACK_IP4, server_env=lab.preload())


def client_on_hostloom(lab):
    return Side("hostloom connects", HOST_IP4, client_env=lab.preload())


def both_on_hostloom(lab):
    return Side("both on hostloom", STACK_IP4, server_env=lab.preload(), client_env=lab.preload())


def over_loopback(lab):
    return Side("kernel loopback", "127.0.0.1")


def kernel_to_kernel(lab):
    lab.peer_namespace()
    return Side("kernel to kernel", FAR_IP4, wrap_server=lab.in_peer)


def find(program):
    for folder in os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/sbin"]:
        path = shutil.which(program, path=folder)
        if path:
            return path
    raise Failure(f"'{program}' is not installed; ./quickstart says which packages are needed")


def compiled(lab, source, *libraries):
    """A program of tests/bench, compiled once a laboratory. Its path."""
    program = lab.dir / source.stem
    if not program.exists():
        lab.run([find("c++"), "-std=c++20", "-O2", "-o", str(program), str(source), *libraries], timeout=120)
    return program


def wait_listening(lab, child, side, port):
    if side.client_env:  # it is asked as its clients will
        lab.wait_listening_over_hostloom(child, side.server, port)
    else:
        lab.wait_listening(child, side.server, port)


# --- iperf3 -----------------------------------------------------------------------------------------------------------

def iperf3(lab, side, *how, **more):
    """Bits per second that arrived, as iperf3_once() has them. When the machine stood still meanwhile it may be none at all:
    then it is done again."""
    return iperf3_once(lab, side, *how, **more) or iperf3_once(lab, side, *how, **more)


def iperf3_once(lab, side, seconds=3, reverse=False, port=5201, streams=1, cores=(None, None), length=None):
    """reverse: the server sends. length: bytes of a write, of a read at most."""
    server = [find("iperf3"), "-s", "-1", "-B", side.server, "-p", str(port), "--forceflush"]
    with lab.program(side.wrap_server(server), name="iperf3-server", env=side.server_env, core=cores[1]) as s:
        laboratory.wait_until(lambda: "listening" in lab.output(s) or s.poll() is not None, "iperf3 server listens")
        client = [find("iperf3"), "-c", side.server, "-p", str(port), "-t", str(seconds), "-J", "-P", str(streams)]
        if reverse:
            client.append("-R")
        if length:
            client += ["-l", str(length)]
        done = lab.run(client, timeout=seconds + 120, env=side.client_env, core=cores[0], check=False)
        try:
            report = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise Failure(f"iperf3 client wrote no report (status {done.returncode}): "
                          f"{done.stdout[-500:]!r} {done.stderr[-500:]!r}\nserver: {lab.output(s)[-500:]}"
                          f"{lab.daemon_tail()}") from None
        if "error" in report:
            raise Failure(f"iperf3: {report['error']}\nserver: {lab.output(s)[-500:]}{lab.daemon_tail()}")
        return report["end"]["sum_received"]["bits_per_second"]


# --- The static HTTP server inside the daemon ---------------------------------------------------------------------------

class HttpStatic:
    """Serves one file, of the name and size that Nginx has, too."""

    def __init__(self, lab, port=8081):
        self.lab, self.uri = lab, f"tcp://{STACK_IP4}/{port}"
        self.base = f"http://{STACK_IP4}:{port}"
        self.www = lab.dir / "http-static-www"
        self.www.mkdir(exist_ok=True)
        (self.www / "1k").write_bytes(hashlib.shake_128(b"1k").digest(1024))

    def __enter__(self):
        self.lab.cli("http", "static", "server", "www-root", str(self.www), "uri", self.uri)
        return self

    def __exit__(self, *exc):
        self.lab.cli("http", "static", "server", "delete", "uri", self.uri)

    def url(self, name):
        return f"{self.base}/{name}"


# --- nginx ------------------------------------------------------------------------------------------------------------

class Nginx:
    """servers: of its configuration, a function of the folder of files; else one at the port, without TLS."""

    def __init__(self, lab, side, port=8080, workers=1, core=None, keepalive=True, servers=None):
        self.lab, self.side, self.port, self.core = lab, side, port, core
        self.dir = lab.dir / f"nginx-{side.name.replace(' ', '-')}-{port}"
        self.www = self.dir / "www"
        self.www.mkdir(parents=True, exist_ok=True)
        self.files = {}
        for name, size in (("1k", 1024), ("10m", 10 * 1024 * 1024)):
            data = hashlib.shake_128(name.encode()).digest(size)
            (self.www / name).write_bytes(data)
            self.files[name] = hashlib.sha256(data).hexdigest()
        servers = servers(self.www) if servers else f"server {{ listen {side.server}:{port} backlog=4096; root {self.www}; }}"
        self.conf = self.dir / "nginx.conf"
        self.conf.write_text(f"""
worker_processes {workers};
daemon off;
master_process on;
{'user root;' if os.geteuid() == 0 else ''}
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  keepalive_timeout {'65' if keepalive else '0'};
  open_file_cache max=100;
  client_body_temp_path {self.dir}/body; proxy_temp_path {self.dir}/proxy; fastcgi_temp_path {self.dir}/fastcgi;
  uwsgi_temp_path {self.dir}/uwsgi; scgi_temp_path {self.dir}/scgi;
  {servers}
}}
""")

    def __enter__(self):
        command = [find("nginx"), "-c", str(self.conf), "-p", str(self.dir)]
        self.child = self.lab.spawn(self.side.wrap_server(command), name="nginx", env=self.side.server_env, core=self.core)
        self.lab.wait_listening(self.child, self.side.server, self.port)
        return self

    def __exit__(self, kind, *exc):
        self.lab.stop(self.child)
        if kind is None and self.side.server_env:
            self.lab.wait_forgotten(self.side.server, self.port)

    def url(self, name):
        return f"http://{self.side.server}:{self.port}/{name}"


def curl_matches(lab, nginx, name, env=None):
    """Fetches a file and compares it byte for byte (by digest). Returns seconds taken."""
    out = lab.dir / "curl.out"
    done = lab.run([find("curl"), "-sS", "--fail", "-o", str(out), "-w", "%{time_total}", nginx.url(name)], env=env)
    got = hashlib.sha256(out.read_bytes()).hexdigest()
    if got != nginx.files[name]:
        raise Failure(f"curl {nginx.url(name)}: {out.stat().st_size} bytes that differ from the file")
    return float(done.stdout)


def wrk(lab, nginx, name="1k", seconds=3, connections=64, close=False, env=None, core=None):
    """Requests per second. What is late is no error; and when the machine stood still as long as wrk asks, it asks again, and
    longer."""
    for longer in 1, 10:
        command = [find("wrk"), "-t", "1", "-c", str(connections), "-d", f"{seconds * longer}s", "--timeout", "60s", "--latency",
                   nginx.url(name)]
        if close:
            command[1:1] = ["-H", "Connection: close"]
        text = lab.run(command, timeout=seconds * longer + 120, env=env, core=core).stdout.decode()
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        if rate and float(rate[1]) > 0:
            break
    else:
        raise Failure(f"wrk reported no rate:\n{text}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if bad:
        raise Failure(f"wrk saw {bad[1]} bad responses:\n{text}")
    return float(rate[1])


# --- redis ------------------------------------------------------------------------------------------------------------

class Redis:
    def __init__(self, lab, side, port=6379, core=None):
        self.lab, self.side, self.port, self.core = lab, side, port, core

    def __enter__(self):
        command = [find("redis-server"), "--bind", self.side.server, "--port", str(self.port), "--protected-mode", "no",
                   "--save", "", "--appendonly", "no", "--dir", str(self.lab.dir)]
        self.child = self.lab.spawn(self.side.wrap_server(command), name="redis-server", env=self.side.server_env,
                                    core=self.core)
        self.lab.wait_listening(self.child, self.side.server, self.port)
        return self

    def __exit__(self, kind, *exc):
        self.lab.stop(self.child)
        if kind is None and self.side.server_env:
            self.lab.wait_forgotten(self.side.server, self.port)

    def benchmark(self, test="set", clients=32, requests=100000, env=None, core=None, pipeline=1):
        """Requests per second."""
        done = self.lab.run([find("redis-benchmark"), "-h", self.side.server, "-p", str(self.port), "-t", test, "-c",
                             str(clients), "-n", str(requests), "-P", str(pipeline), "--csv"], timeout=180, env=env, core=core)
        text = done.stdout.decode()
        for line in text.splitlines():
            cells = [c.strip('"') for c in line.split(",")]
            if cells[0].lower() == test:
                return float(cells[1])
        raise Failure(f"redis-benchmark reported no rate for {test}:\n{text}{done.stderr.decode()}")


# --- sockperf ---------------------------------------------------------------------------------------------------------

def sockperf(lab, side, seconds=3, port=11111, size=64, cores=(None, None), polling=False, udp=False):
    """Round trips of one TCP connection, or of a UDP socket, that sends, waits for the echo and sends again: microseconds
    (p50, p99).

    polling: both ends ask again and again instead of sleeping."""
    where = ["-i", side.server, "-p", str(port)] + ([] if udp else ["--tcp"]) + (["--nonblocked"] if polling else [])
    server = side.wrap_server([find("sockperf"), "server"] + where)
    with lab.program(server, name="sockperf-server", env=side.server_env, core=cores[1]) as s:
        if udp:
            laboratory.wait_until(lambda: "to block on socket" in lab.output(s) or s.poll() is not None, "sockperf is bound")
        else:
            wait_listening(lab, s, side, port)
        client = [find("sockperf"), "ping-pong"] + where + ["-t", str(seconds), "-m", str(size), "--full-rtt"]
        text = lab.run(client, timeout=seconds + 120, env=side.client_env, core=cores[0]).stdout.decode()
    found = {q: re.search(rf"percentile {q} =\s+([\d.]+)", text) for q in ("50.000", "99.000")}
    if not all(found.values()):
        raise Failure(f"sockperf reported no percentiles:\n{text}{lab.daemon_tail()}")
    return tuple(float(m[1]) for m in found.values())


def served(lab, side, source, port, ask, cores=(None, None), serve=(), seconds=0):
    """What a program of tests/bench says that asks its other self, which serves: numbers."""
    program = compiled(lab, laboratory.TOP / "tests" / "bench" / source)
    server = side.wrap_server([str(program), "serve", side.server, str(port), *serve])
    with lab.program(server, name=program.name, env=side.server_env, core=cores[1]) as s:
        laboratory.wait_until(lambda: "listening" in lab.output(s) or s.poll() is not None, "the server listens")
        done = lab.run([str(program), ask[0], side.server, str(port), *map(str, ask[1:])], timeout=seconds + 120,
                       env=side.client_env, core=cores[0])
    return tuple(float(word) for word in done.stdout.split())


def round_trips(lab, side, seconds=3, port=11112, size=1, cores=(None, None), polling=False):
    """As sockperf() does, of any size from one byte on."""
    how = ["polling"] if polling else []
    return served(lab, side, "streams/round_trips.cc", port, ["ask", seconds, size, *how], cores, how, seconds)


def connections(lab, side, count, port=7200, cores=(None, None)):
    """TCP connections a second that one program opens to another, each with a byte."""
    return served(lab, side, "connections/connection_load.cc", port, ["open", count], cores)[0]


# --- Datagrams --------------------------------------------------------------------------------------------------------

def datagram_load(lab, side, how, size, seconds=3, port=7100, cores=(None, None)):
    """how: "ping", round trips a second; "flood", datagrams that arrive a second. Of one connected socket and a bound one;
    with "ping-to" neither has a peer."""
    return served(lab, side, "datagrams/datagram_load.cc", port, [how, seconds, size], cores, seconds=seconds)[0]
