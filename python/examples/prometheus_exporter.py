#!/usr/bin/python3
"""Serves a daemon's statistics to Prometheus: a start for an exporter of one's own.

    python3 prometheus_exporter.py [API-SOCKET] [--port 9482] [--pattern '/sys/session/*' ...]

Each scrape reads the daemon's shared memory, which the daemon does not notice. `hostloom_up` is 0 while no daemon is
there; it is looked for at every scrape. (The tree's own `hostloom-prometheus` needs no Python, and has more to say.)
"""

import argparse
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import hostloom

PATTERNS = ["/sys/heartbeat*", "/sys/session/*", "/sys/tcp/*", "/mem/*", "/buffer-pools/*"]
INTERFACE = ["rx", "tx", "drops", "rx-error", "tx-error"]


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def metric(name: str) -> str:
    """/sys/session/sessions_total becomes hostloom_sys_session_sessions_total."""
    return "hostloom_" + re.sub(r"[^a-zA-Z0-9]+", "_", name).strip("_").lower()


def interfaces(stats: hostloom.Stats) -> Iterator[str]:
    for what in INTERFACE:
        values = stats.get(f"/if/{what}")
        if values is None:
            continue
        for index, name in enumerate(stats["/if/names"]):
            if not name:  # deleted
                continue
            total = values.sum(index)
            label = f'{{interface="{escaped(name)}"}}'
            if isinstance(total, hostloom.Combined):
                yield f"{metric('/if/' + what)}_packets_total{label} {total.packets}"
                yield f"{metric('/if/' + what)}_bytes_total{label} {total.bytes}"
            else:
                yield f"{metric('/if/' + what)}_total{label} {total}"


def numbers(stats: hostloom.Stats, patterns: list[str]) -> Iterator[str]:
    found = {name: value for pattern in patterns for name, value in stats[pattern].items()}
    for name, value in sorted(found.items()):
        if isinstance(value, int):
            yield f"{metric(name)} {value}"
        elif isinstance(value, hostloom.Counters) and len(value) and all(isinstance(c, int) for row in value for c in row):
            for worker, row in enumerate(value):
                yield f'{metric(name)}{{worker="{worker}"}} {sum(row)}'


class Exporter:
    def __init__(self, socket: str | None, patterns: list[str]):
        self.socket, self.patterns = socket, patterns
        self.connection: hostloom.Connection | None = None
        self.lock = threading.Lock()  # one scrape at a time

    def text(self) -> str:
        with self.lock:
            lines = []
            try:
                if self.connection is None:
                    self.connection = hostloom.connect(self.socket, name="prometheus", timeout=2.0)
                self.connection.api.control_ping()  # the memory of a daemon that has gone stays readable
                lines = [*interfaces(self.connection.stats), *numbers(self.connection.stats, self.patterns)]
                up = 1
            except hostloom.Error as e:
                print(e, file=sys.stderr)
                if self.connection is not None:
                    self.connection.close()
                self.connection, lines, up = None, [], 0
            return "\n".join([*lines, f"hostloom_up {up}", ""])


def handler(exporter: Exporter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/metrics":
                return self.send_error(404)
            body = exporter.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def main() -> int:
    parser = argparse.ArgumentParser(description="Serves a daemon's statistics to Prometheus.")
    parser.add_argument("socket", nargs="?", help="the daemon's API socket")
    parser.add_argument("--port", type=int, default=9482, help="where to listen, on 127.0.0.1 (9482; 0: any)")
    parser.add_argument("--pattern", action="append", help="statistics to serve, with a * in it; again for more")
    args = parser.parse_args()
    exporter = Exporter(args.socket, args.pattern or PATTERNS)
    with ThreadingHTTPServer(("127.0.0.1", args.port), handler(exporter)) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/metrics", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
