"""Two daemons with a core each, joined by a memif: what one core sends and receives, without applications, shared memory or
a kernel in the way. The performance client of the one talks to the performance server of the other.

Used by tests/bench/memif and tests/bench/run.
"""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import memif_cases as memif  # noqa: E402
from lab import Failure, Lab  # noqa: E402


class OnCore(Lab):
    """A laboratory whose daemon has one core, worker and control thread."""

    core = 0

    def spawn(self, command, name=None, **kw):
        return super().spawn(command, name=name, **({"core": self.core} if name == "hostloom" else {}), **kw)


class Pair:
    def __init__(self, build, mtu, ring_size):
        self.server, self.client = OnCore(build, daemon=False), OnCore(build, daemon=False)
        self.client.core = 1
        words = f"ring-size {ring_size}" + (" buffer-size 9216" if mtu > 2000 else "")
        self.server.startup = memif.startup(self.server.dir / "memif.sock", "master", memif.MASTER_IP4, memif.MASTER_IP6, words, mtu)
        self.client.startup = memif.startup(self.server.dir / "memif.sock", "slave", memif.SLAVE_IP4, memif.SLAVE_IP6, words, mtu)

    def __enter__(self):
        self.server.start_daemon()
        self.client.start_daemon()
        memif.wait_link(self.server, self.client)
        memif.ping(self.client, memif.MASTER_IP4)
        self.server.cli("perf", "server", "uri", self.uri(), "fifo-size", "4m")
        return self

    def __exit__(self, *exc):
        self.client.close()
        self.server.close()

    def ring_full(self):
        """Packets that found the ring full, of the server and of the client."""
        return [memif.interface(lab)["ring full"] for lab in (self.server, self.client)]

    def busy(self):
        """Seconds that the server and the client have been on their cores."""
        return [sum(int(s.read_text().split()[0]) for s in pathlib.Path(f"/proc/{lab.daemon.pid}/task").glob("*/schedstat")) / 1e9
                for lab in (self.server, self.client)]

    @staticmethod
    def uri():
        return f"tcp://{memif.MASTER_IP4}/1234"

    def run(self, *words):
        command = [str(self.client.build / "bin/loomctl"), "-s", str(self.client.dir / "run/api.sock"), "--timeout", "120",
                   "--json", "perf", "client", "uri", self.uri(), "fifo-size", "4m", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


def of(report, what):
    return next(row for row in report["latency"] if row["of"] == what)


N_CONNECTIONS = 20_000


def rows(seconds):
    """(name, unit, MTU, words of the client, figures of its report by what is behind the name)"""
    load = ["run-time", str(seconds)]
    return [
        ("bulk, MSS 1460", "Gb/s", 1500, load, lambda r: {"": float(r["gbit/s sent"])}),
        ("bulk, MTU 9000", "Gb/s", 9000, load, lambda r: {"": float(r["gbit/s sent"])}),
        ("connections", "1/s", 1500, ["nclients", str(N_CONNECTIONS), "bytes", "1"],
         lambda r: {"": float(r["connections a second"])}),
        ("request and response of 64 bytes", "us", 1500, [*load, "request", "64", "response", "64"],
         lambda r: {f" {q}": float(of(r, "round trip")[f"{q} ns"]) / 1e3 for q in ("p50", "p99")}),
    ]
