"""A laboratory for real programs: one network namespace with a daemon and its TAP, a second one behind a veth for the
same work done kernel to kernel. Used by quickstart, the system tests and the benchmarks.

Everything runs below one process in a PID namespace of its own: when that process ends, however it ends, the kernel
ends the rest, and the namespaces and the TAP are gone. Works as root and, through a user namespace, as anybody.

Python standard library only; runs with Debian's /usr/bin/python3.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]

HOST_IP4, STACK_IP4 = "10.88.0.1", "10.88.0.2"  # kernel's and Hostloom's end of the TAP
HOST_IP6, STACK_IP6 = "fd88::1", "fd88::2"
NEAR_IP4, FAR_IP4 = "10.89.0.1", "10.89.0.2"  # both ends of the veth, for kernel to kernel

_INSIDE = "HOSTLOOM_LAB_INSIDE"


class Failure(Exception):
    """Something did not work; the message is for the person who ran it."""


def enter():
    """Re-executes this program in new namespaces, once. Call first thing in main()."""
    if os.environ.get(_INSIDE):
        # So that `ip netns`-style paths and sysctls are ours, and nothing is seen outside.
        subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # which a user's need not have
    env = dict(os.environ, PATH=path, **{_INSIDE: "1", "HOSTLOOM_LAB_USER": "" if os.geteuid() == 0 else "1"})
    os.execvpe(command[0], command + [sys.executable] + sys.argv, env)


def run_case(*cases):
    """main() of a file of test cases: runs the one (a function) that the command line names, in namespaces of its own."""
    by_name = {f.__name__: f for f in cases}
    if len(sys.argv) != 2 or sys.argv[1] not in by_name:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} {'|'.join(by_name)}")
    enter()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what is made to crash leaves nothing
    try:
        by_name[sys.argv[1]]()
    except Failure as failure:
        sys.exit(f"{sys.argv[1]}: FAILED: {failure}")
    print(f"{sys.argv[1]}: passed")


def wait_until(condition, what, seconds=120.0):
    """Polls a condition (a callable) until it is true. The wait is bounded so that a failure is a message, not a hang."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what}: did not happen within {seconds:g} s")
        time.sleep(0.01)


def can_connect(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        return s.connect_ex((address, port)) == 0


class Lab:
    """One running daemon, and what runs over it. A context manager: leaving it stops everything it started."""

    patience = 120  # seconds that starting may take

    def __init__(self, build=None, daemon=True, keep_files=False, startup=None, config_extra="", vcl_extra="",
                 fifo="4m", workers=None):
        self.build = pathlib.Path(build or os.environ.get("HOSTLOOM_BUILD", TOP / "build")).resolve()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hostloom-"))
        self.dir.chmod(0o755)
        self.keep_files = keep_files
        self.children = []
        self.daemon = None
        self.config_extra, self.vcl_extra, self.fifo = config_extra, vcl_extra, fifo
        # HOSTLOOM_WORKERS=4 runs any case on as many, unless it wants a number of its own.
        self.workers = workers or int(os.environ.get("HOSTLOOM_WORKERS", 1))
        self.startup = startup
        self._want_daemon = daemon
        self._peer = None

    def __enter__(self):
        try:
            if self._want_daemon:
                self.start_daemon()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        try:
            for child in reversed(self.children):
                self.stop(child)
        finally:
            self.children.clear()
            if not self.keep_files:
                shutil.rmtree(self.dir, ignore_errors=True)

    # --- The daemon ---------------------------------------------------------------------------------------------

    def start_daemon(self):
        run = self.dir / "run"
        startup = self.startup or [
            f"create tap id 0 host-if-name tap0 host-ip4-addr {HOST_IP4}/24 host-ip6-addr {HOST_IP6}/64",
            f"set interface ip address tap0 {STACK_IP4}/24",
            f"set interface ip address tap0 {STACK_IP6}/64",
            "set interface state tap0 up",
        ]
        (self.dir / "startup.cli").write_text("\n".join(startup) + "\n")
        (self.dir / "startup.conf").write_text(
            f"unix {{ nodaemon log {self.dir}/hostloom.log runtime-dir {run} startup-config {self.dir}/startup.cli }}\n"
            f"plugins {{ path {self.build}/lib/hostloom/plugins }}\n"
            + (f"cpu {{ workers {self.workers} }}\n" if self.workers > 1 else "") + f"{self.config_extra}\n")
        (self.dir / "vcl.conf").write_text(
            f"vcl {{ app-socket-api {run}/app_ns_sockets/default rx-fifo-size {self.fifo} tx-fifo-size {self.fifo} "
            f"{self.vcl_extra} }}\n")
        self.daemon = self.spawn([str(self.build / "bin/hostloom"), "-c", str(self.dir / "startup.conf")], name="hostloom")
        log = self.dir / "hostloom.log"

        def ready():
            if self.daemon.poll() is not None:
                raise Failure("hostloom did not start:\n" + self.output(self.daemon) + self._tail(log))
            return log.exists() and any(line.rstrip().endswith("ready") for line in log.read_text().splitlines())

        wait_until(ready, "hostloom writes 'ready' to its log", self.patience)

    def _loomctl(self):
        return [str(self.build / "bin/loomctl"), "-s", str(self.dir / "run/api.sock")]

    def cli(self, *words, as_json=False):
        done = subprocess.run(self._loomctl() + (["--json"] if as_json else []) + list(words), capture_output=True,
                              text=True, timeout=240)
        if done.returncode != 0:
            ended = self._how_it_ended() if "closed the connection" in done.stderr else ""
            raise Failure(f"loomctl {' '.join(words)}: {done.stdout}{done.stderr}{ended}")
        return json.loads(done.stdout) if as_json else done.stdout

    def _how_it_ended(self):
        """Of a daemon that should go on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.daemon.wait(10)
        return f"the daemon's exit status: {self.daemon.poll()}{self.daemon_tail()}"

    def has_plugin(self, name):
        """Whether the build has it: some are left out where a library is missing."""
        return (self.build / f"lib/hostloom/plugins/{name}.so").exists()

    def applications(self):
        """Those that come and go: not the plugins that are applications for as long as the daemon runs."""
        return [a for a in self.cli("show", "app", as_json=True)["applications"] if a["name"] not in ("tls", "dtls")]

    def preload(self, **more):
        """The environment of a program that is to run over Hostloom. One of ours that waits in vain asks LAB_LOOMCTL why."""
        env = dict(os.environ, LD_PRELOAD=str(self.build / "lib/libvcl_ldpreload.so"),
                   VCL_CONFIG=str(self.dir / "vcl.conf"), LAB_LOOMCTL=shlex.join(self._loomctl()))
        preloads = os.environ.get("HOSTLOOM_PRELOAD_FIRST")  # a sanitizer's runtime has to come before everything
        if preloads:
            env["LD_PRELOAD"] = preloads + " " + env["LD_PRELOAD"]
        env.update(more)
        return env

    def native(self):
        """The environment of a program that uses libvppcom itself."""
        env = self.preload()
        first = os.environ.get("HOSTLOOM_PRELOAD_FIRST")
        if first:
            env["LD_PRELOAD"] = first
        else:
            del env["LD_PRELOAD"]
        return env

    # --- Kernel to kernel ---------------------------------------------------------------------------------------

    def peer_namespace(self):
        """The pid of a process in a second network namespace, joined to this one by a veth."""
        if self._peer:
            return self._peer.pid
        self._peer = self.spawn(["unshare", "--net", "sleep", "infinity"], name="peer-namespace")
        mine = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self._peer.pid}/ns/net") != mine, "the second namespace is there")
        pid = str(self._peer.pid)
        for words in (f"link add near type veth peer name far netns {pid}", f"addr add {NEAR_IP4}/24 dev near",
                      "link set near up"):
            subprocess.run(["ip"] + words.split(), check=True)
        for words in (f"addr add {FAR_IP4}/24 dev far", "link set far up", "link set lo up"):
            subprocess.run(self.in_peer(["ip"] + words.split()), check=True)
        return self._peer.pid

    def in_peer(self, command):
        return ["nsenter", f"--net=/proc/{self.peer_namespace()}/ns/net"] + command

    def use_cubic(self):
        """The kernel's TCP uses CUBIC, as Linux does unless told otherwise, on each IPv4 route that there is now in both
        namespaces; some machines have another default (BBR sets a timer for each segment). The name of what it uses."""
        known = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        if "cubic" not in known:
            return pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
        for prefix in ([], self.in_peer([])) if self._peer else ([],):
            shown = subprocess.run(prefix + ["ip", "-4", "-j", "route", "show", "table", "all"], check=True, capture_output=True)
            for r in json.loads(shown.stdout):
                kind = r.get("type", "unicast")
                if kind not in ("unicast", "local") or "gateway" in r:
                    continue
                route = [kind, r["dst"], "dev", r["dev"], "table", str(r.get("table", "main")), "proto", r["protocol"],
                         "scope", r["scope"], "src", r["prefsrc"], "congctl", "cubic"]
                subprocess.run(prefix + ["ip", "route", "replace"] + route, check=True)
        return "cubic"

    # --- Programs -----------------------------------------------------------------------------------------------

    def spawn(self, command, name=None, core=None, **kw):
        """Starts a program; its output goes to a file that output() reads."""
        name = name or pathlib.Path(command[0]).name
        out = open(self.dir / f"{len(self.children):02d}-{name}.out", "w+b")
        if core is not None:
            command = ["taskset", "-c", str(core)] + command
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **kw)
        child.output_file = out
        child.label = name
        self.children.append(child)
        return child

    def stop(self, child, how=signal.SIGTERM):
        if child.poll() is None:
            child.send_signal(how)
            try:
                child.wait(120 if child is self.daemon else 10)  # how the daemon ends is looked at
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child is self.daemon and child.returncode in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT):
            raise Failure(f"the daemon crashed: {signal.Signals(-child.returncode).name}:{self.daemon_tail()}")

    def output(self, child):
        child.output_file.flush()
        return pathlib.Path(child.output_file.name).read_text(errors="replace")

    def port_of(self, server):
        """What a program says of itself that prints `port N`. Programs may write a line in pieces, so it is the whole one."""
        def said():
            return re.search(r"^port (\d+)\n", self.output(server), re.M)
        wait_until(lambda: said() or server.poll() is not None, "the server is bound")
        if not said():
            raise Failure(f"the server ended:\n{self.output(server)}{self.daemon_tail()}")
        return said()[1]

    def run(self, command, timeout=240, core=None, check=True, **kw):
        if core is not None:
            command = ["taskset", "-c", str(core)] + command
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, **kw)
        except subprocess.TimeoutExpired as late:
            text = b"".join(x or b"" for x in (late.stdout, late.stderr)).decode(errors="replace")
            raise Failure(f"{' '.join(map(str, command))}: still running after {timeout} s\n{text}{self.daemon_tail()}") from None
        if check and done.returncode != 0:
            raise Failure(f"{' '.join(map(str, command))}: exit status {done.returncode}\n"
                          f"{done.stdout.decode(errors='replace')[-2000:]}{done.stderr.decode(errors='replace')[-8000:]}"
                          f"{self.daemon_tail()}")
        return done

    def wait_listening(self, child, address, port, seconds=None):
        def there():
            if child.poll() is not None:
                raise Failure(f"{child.label} ended at once:\n{self.output(child)}{self.daemon_tail()}")
            return can_connect(address, port)
        wait_until(there, f"{child.label} listens on {address} port {port}", seconds or self.patience)

    def wait_listening_over_hostloom(self, child, address, port):
        """As wait_listening, but only the daemon is asked: the server sees no connection."""
        def there():
            if child.poll() is not None:
                raise Failure(f"{child.label} ended at once:\n{self.output(child)}{self.daemon_tail()}")
            listeners = self.cli("show", "session", as_json=True)["listeners"]
            return any(x["local"] == f"{address}:{port}" for x in listeners)
        wait_until(there, f"{child.label} listens on {address} port {port}", self.patience)

    def wait_forgotten(self, address, port):
        """Until the daemon has seen the end of who listened there: before, the next one seems to listen at once."""
        def gone():
            listeners = self.cli("show", "session", as_json=True).get("listeners", [])
            return not any(x["local"] == f"{address}:{port}" for x in listeners)
        if self.daemon and self.daemon.poll() is None:
            wait_until(gone, f"the daemon forgets who listened on {address} port {port}")

    def daemon_tail(self):
        return self._tail(self.dir / "hostloom.log") + self._daemon_threads() if self.daemon else ""

    def _daemon_threads(self):
        """Tells one that sleeps, and was perhaps not woken, from one that is given no core."""
        said = []
        for task in sorted(pathlib.Path(f"/proc/{self.daemon.pid}/task").glob("*"), key=lambda t: int(t.name)):
            try:
                name, rest = (task / "stat").read_text().rsplit(")", 1)
                ran, waited = map(int, (task / "schedstat").read_text().split()[:2])
                where = (task / "wchan").read_text()
            except (OSError, ValueError):  # it ends just now, or the kernel does not count
                continue
            said.append(f"{name.split('(', 1)[1]}: state {rest.split()[0]} in {where}, ran {ran / 1e9:.2f} s, "
                        f"waited for a core {waited / 1e9:.2f} s\n")
        return "--- the daemon's threads:\n" + "".join(said) if said else ""

    @staticmethod
    def _tail(path, lines=15):
        if not path.exists():
            return ""
        return f"--- end of {path}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + "\n"

    @contextlib.contextmanager
    def program(self, command, **kw):
        child = self.spawn(command, **kw)
        try:
            yield child
        finally:
            self.stop(child)
            if child in self.children:
                self.children.remove(child)
