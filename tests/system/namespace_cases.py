#!/usr/bin/python3
"""System tests of application namespaces. usage: namespace_cases.py CASE"""

import os
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
NAMED = [PYTHON, str(HERE / "programs" / "named_server.py")]
SECRETS = {"blue": 1234, "red": 18446744073709551615}

# Two TAPs with the same addresses, each in a routing table of its own.
STARTUP = [
    "ip table add 1", "ip table add 2",
    f"create tap id 1 host-if-name tap1 host-ip4-addr {HOST_IP4}/24",
    "set interface ip table tap1 1", f"set interface ip address tap1 {STACK_IP4}/24", "set interface state tap1 up",
    f"app ns add id blue secret {SECRETS['blue']} if tap1",
    f"app ns add id red secret {SECRETS['red']} ip4-fib-id 2",
]


def expect(condition, message):
    if not condition:
        raise Failure(message)


class TwoTaps(Lab):
    """A kernel's end of tap1 here, of tap2 in the second network namespace, with the same addresses."""

    def __init__(self, **more):
        super().__init__(startup=STARTUP, **more)

    def __enter__(self):
        super().__enter__()
        for line in (f"create tap id 2 host-if-name tap2 host-ns /proc/{self.peer_namespace()}/ns/net host-ip4-addr {HOST_IP4}/24",
                     "set interface ip table tap2 2", f"set interface ip address tap2 {STACK_IP4}/24",
                     "set interface state tap2 up"):
            self.cli(*line.split())
        return self

    def env(self, ns, **more):
        return self.preload(VCL_APP_NAMESPACE_ID=ns, VCL_APP_NAMESPACE_SECRET=str(SECRETS[ns]), VCL_REQUIRE_STACK="1", **more)

    def serve(self, ns, name, port=7000, **more):
        child = self.spawn(NAMED + ["serve", "0.0.0.0", str(port), name], name=name, env=self.env(ns, **more))
        wait_until(lambda: "listening" in self.output(child) or child.poll() is not None, f"{name} listens")
        expect(child.poll() is None, f"{name} ended:\n{self.output(child)}")
        return child

    def ask(self, env=None, wrap=lambda c: c, port=7000):
        return self.run(wrap(NAMED + ["ask", STACK_IP4, str(port)]), env=env, check=False, timeout=120).stdout.decode().strip()


def apps(lab, ns):
    return lab.cli("show", "app", "namespace", ns, as_json=True)["applications"]


def one_port():
    """Two servers on one address and port, in two namespaces; everybody finds his own."""
    with TwoTaps() as lab:
        lab.serve("blue", "azure")
        lab.serve("red", "scarlet")
        expect(lab.ask() == "azure", "from tap1")
        expect(lab.ask(wrap=lab.in_peer) == "scarlet", "from tap2")
        # Programs in a namespace find its server, by cut-through, and the kernel's end of its own TAP.
        expect(lab.ask(env=lab.env("blue")) == "azure", "within blue")
        expect(lab.ask(env=lab.env("red")) == "scarlet", "within red")
        for ns, wrap in (("blue", lambda c: c), ("red", lab.in_peer)):
            far = lab.spawn(wrap(NAMED + ["serve", HOST_IP4, "7001", f"beyond-{ns}"]), name=f"beyond-{ns}")
            wait_until(lambda far=far: "listening" in lab.output(far), "a server of the kernel listens")
            got = lab.run(NAMED + ["ask", HOST_IP4, "7001"], env=lab.env(ns), timeout=120).stdout.decode().strip()
            expect(got == f"beyond-{ns}", f"{ns} reaches {got!r}")
        def rows_of():
            return {r["id"]: r for r in lab.cli("show", "app", "ns", as_json=True)["namespaces"]}

        # Of those who asked the daemon may not have seen the end yet.
        wait_until(lambda: [rows_of()[ns]["applications"] for ns in ("blue", "red")] == [1, 1], "each has its server alone")
        rows = rows_of()
        expect((rows["blue"]["interface"], rows["blue"]["ip4 table"]) == ("tap1", 1), f"{rows}")
        expect((rows["red"]["interface"], rows["red"]["ip4 table"]) == ("none", 2), f"{rows}")
        # Deleted, one ends and the other does not notice.
        lab.cli("app", "ns", "del", "id", "blue")
        wait_until(lambda: not laboratory.can_connect(STACK_IP4, 7000), "blue's server is gone")
        expect(lab.ask(wrap=lab.in_peer) == "scarlet", "after blue was deleted")


def local_scope():
    """Local listeners of two namespaces in one routing table: both on one port, and neither sees the other's."""
    with Lab(vcl_extra="app-scope-local") as lab:
        lab.cli("app", "ns", "add", "id", "blue")
        lab.cli("app", "ns", "add", "id", "red")

        def env(ns):
            return lab.preload(VCL_APP_NAMESPACE_ID=ns, VCL_REQUIRE_STACK="1")

        for ns in ("blue", "red"):
            child = lab.spawn(NAMED + ["serve", STACK_IP4, "7000", ns], name=ns, env=env(ns))
            wait_until(lambda child=child: "listening" in lab.output(child) or child.poll() is not None, f"{ns} listens")
        for ns in ("blue", "red"):
            got = lab.run(NAMED + ["ask", STACK_IP4, "7000"], env=env(ns), timeout=120).stdout.decode().strip()
            expect(got == ns, f"in {ns} answers {got!r}")
        nobody = lab.run(NAMED + ["ask", STACK_IP4, "7000"], env=env("default"), timeout=120, check=False)
        expect(nobody.returncode != 0 and not nobody.stdout, f"in default answers {nobody.stdout!r}")
        expect(not laboratory.can_connect(STACK_IP4, 7000), "from the network one answers")


def refused():
    """A wrong secret, an unknown namespace, a user who may not: said at once, and the same whatever is wrong."""
    with TwoTaps() as lab:
        def attempt(**more):
            done = lab.run(NAMED + ["serve", "0.0.0.0", "7000", "x"], env=lab.preload(VCL_REQUIRE_STACK="1", **more), timeout=120,
                           check=False)
            expect(done.returncode != 0, f"{more}: it runs: {done.stdout!r}")
            return done.stderr.decode()

        wrong = attempt(VCL_APP_NAMESPACE_ID="blue", VCL_APP_NAMESPACE_SECRET="1")
        expect("namespace 'blue'" in wrong and "secret" in wrong, wrong)
        expect(attempt(VCL_APP_NAMESPACE_ID="blue") == wrong, "a missing secret is told from a wrong one")
        unknown = attempt(VCL_APP_NAMESPACE_ID="bleu", VCL_APP_NAMESPACE_SECRET="1234")
        expect(unknown.replace("bleu", "blue") == wrong, f"an unknown namespace is told from a wrong secret: {unknown}")
        # Without require-stack it runs, over the kernel, and says so.
        kernel = lab.spawn(NAMED + ["serve", "127.0.0.1", "7000", "kernel"], name="kernel",
                           env=lab.preload(VCL_APP_NAMESPACE_ID="blue", VCL_APP_NAMESPACE_SECRET="1"))
        wait_until(lambda: "listening" in lab.output(kernel), "it runs over the kernel")
        expect("sockets stay the kernel's" in lab.output(kernel) or laboratory.can_connect("127.0.0.1", 7000), lab.output(kernel))
        one = lab.cli("show", "app", "ns", "id", "blue", as_json=True)
        expect(one["wrong secrets"] >= 2, f"{one}")
        # By its own socket, in vcl.conf; no id is needed.
        conf = lab.dir / "blue.conf"
        conf.write_text(f"vcl {{ app-socket-api {lab.dir}/run/app_ns_sockets/blue namespace-secret 1234 require-stack }}\n")
        child = lab.spawn(NAMED + ["serve", "0.0.0.0", "7002", "own"], name="own", env=lab.preload(VCL_CONFIG=str(conf)))
        wait_until(lambda: "listening" in lab.output(child) or child.poll() is not None, "it attaches by the namespace's socket")
        expect(len(apps(lab, "blue")) == 1, lab.output(child))
        # An abstract name.
        lab.cli("app", "ns", "add", "id", "dark", "sock-name", f"@hostloom-{os.getpid()}", "mode", "0600")
        conf.write_text(f"vcl {{ app-socket-api abstract:hostloom-{os.getpid()} require-stack }}\n")
        child = lab.spawn(NAMED + ["serve", "0.0.0.0", "7003", "dark"], name="dark", env=lab.preload(VCL_CONFIG=str(conf)))
        wait_until(lambda: "listening" in lab.output(child) or child.poll() is not None, "it attaches by an abstract name")
        expect(len(apps(lab, "dark")) == 1, lab.output(child))
        shown = lab.cli("show", "app", "ns") + lab.cli("show", "app", "ns", "id", "red")
        expect(str(SECRETS["red"]) not in shown, "a secret is shown")


def quotas():
    """No more applications, sessions and memory than it may have; who waits loses nothing."""
    with TwoTaps() as lab:
        lab.cli("app", "ns", "add", "id", "blue", "max-apps", "1", "max-sessions", "2")

        def blue():
            return lab.cli("show", "app", "ns", "id", "blue", as_json=True)

        expect(blue()["secret"] == "yes", "the secret went")
        lab.serve("blue", "azure")
        second = lab.run(NAMED + ["serve", "0.0.0.0", "7001", "x"], env=lab.env("blue"), timeout=120, check=False)
        expect(second.returncode != 0 and b"1 applications that it may have" in second.stderr, f"{second.stderr!r}")
        held = [socket.create_connection((STACK_IP4, 7000), timeout=120) for _ in range(2)]
        for s in held:
            s.recv(5, socket.MSG_WAITALL)
        with socket.socket() as third:
            # The handshake waits; what was to be sent goes when a session has ended, all of it.
            third.settimeout(120)
            third.setblocking(False)
            third.connect_ex((STACK_IP4, 7000))
            wait_until(lambda: blue()["refused sessions"] > 0, "the third is put off")
            expect(blue()["sessions"] == 2, "there are more sessions than may be")
            held[0].close()
            third.setblocking(True)
            third.settimeout(120)
            wait_until(lambda: third.connect_ex((STACK_IP4, 7000)) in (0, 106), "the third is connected")
            data = os.urandom(1 << 20)
            third.sendall(data)
            third.shutdown(socket.SHUT_WR)
            got = bytearray()
            while chunk := third.recv(1 << 16):
                got += chunk
            expect(bytes(got) == b"azure" + data, f"{len(got)} bytes came back, of {len(data)}")
        held[1].close()
        wait_until(lambda: blue()["sessions"] == 0, "all sessions end", 240)


if __name__ == "__main__":
    laboratory.run_case(one_port, local_scope, refused, quotas)
