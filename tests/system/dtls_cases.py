#!/usr/bin/python3
"""System tests of DTLS 1.2 by libvppcom with real peers over the kernel. usage: dtls_cases.py CASE"""

import pathlib
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from cases import expect, expect_reclaimed  # noqa: E402
from certificates import KEY_TYPES, LARGE_KEY, Authority  # noqa: E402
from lab import HOST_IP4, STACK_IP4, STACK_IP6, Lab, wait_until  # noqa: E402
from messages import Messages  # noqa: E402
from tls_cases import gnutls_cli, listening, tls_lab, vcl, vcl_env  # noqa: E402
from tls_peer_cases import doubtful, s_client  # noqa: E402

DTLS = "-dtls1_2"  # of s_client and s_server
ANSWER = "an answer"
SERVERS = [k for k in KEY_TYPES if k != "ed25519"]  # OpenSSL 3 has no cipher for it in DTLS 1.2, GnuTLS has


def figures(lab):
    return {name: int(value) for name, value in lab.cli("show", "dtls", as_json=True).items()}


def served(lab, port, pair, at=STACK_IP4):
    return lab.program(vcl(lab, "dtls-server", at, port, f"{pair[0]},{pair[1]}"), name=f"vcl-{port}", env=vcl_env(lab))


def asked(lab, port, *words):
    return lab.run(vcl(lab, "dtls-client", HOST_IP4, port, *words), env=vcl_env(lab), timeout=240).stdout.decode()


class Server:
    """A peer's server over the kernel, and what it says."""

    def __init__(self, lab, command, ready):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((HOST_IP4, 0))
            self.port = s.getsockname()[1]
        self.log = lab.dir / f"server-{self.port}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([w.replace("PORT", str(self.port)) for w in command], stdin=subprocess.PIPE,
                                            stdout=log, stderr=subprocess.STDOUT)
        self.ready = ready

    def __enter__(self):
        try:
            wait_until(lambda: self.ready in self.said() or self.process.poll() is not None, "the server is there")
            expect(self.process.poll() is None, self.said())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def said(self):
        return self.log.read_text(errors="replace")

    def says(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()


def s_server(lab, pair, *options):
    command = ["openssl", "s_server", DTLS, "-accept", f"{HOST_IP4}:PORT", "-cert", pair[0], "-key", pair[1], *options]
    return Server(lab, list(map(str, command)), "ACCEPT")


def talk(lab, pair):
    """A client of libvppcom and openssl s_server, which says what it hears."""
    with s_server(lab, pair) as s:
        command = vcl(lab, "dtls-client", HOST_IP4, s.port, "server.test", "a question")
        with lab.program(command, name=f"client-{s.port}", env=vcl_env(lab)) as c:
            wait_until(lambda: "a question" in s.said(), "the datagram is there")
            s.says(ANSWER)
            wait_until(lambda: c.poll() is not None, "the client has ended")
            out = lab.output(c)
        expect("refused" in out and f"got {ANSWER}" in out, f"{pair}: {out}")


def server():
    """A server of libvppcom; openssl s_client and gnutls-cli as clients: every kind of key."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        with tls_lab(ca) as lab:
            for port, key_type in enumerate(SERVERS, 4430):
                with served(lab, port, ca.make(f"server-{key_type}", key_type)) as s:
                    listening(lab, s)
                    for more in ([], ["-mtu", "500"]):  # flights of several datagrams
                        said = s_client(port, DTLS, *more, "-CAfile", ca.pem, "-verify_return_error", "-verify_hostname", "server.test",
                                        data=b"there and back\n", until=("there and back", "DTLSv1.2"))
                        expect("there and back" in said and "Verify return code: 0" in said, f"s_client {key_type} {more}:\n{said}")
                    said, _ = gnutls_cli(ca, port, b"forth and back", "--udp")
                    expect("DTLS1.2" in said and "forth and back" in said, f"gnutls-cli {key_type}:\n{said}")
                    wait_until(lambda: "closed" in lab.output(s), "gnutls-cli has said close_notify")
            seen = figures(lab)
            expect(seen["server-handshakes"] == 3 * len(SERVERS) and seen["handshakes-failed"] == 0, f"{seen}")
            with served(lab, 4430, ca.make("server-ed25519", "ed25519")) as s:
                wait_until(lambda: "session_listen: E" in lab.output(s), "a key that OpenSSL has no cipher for is refused")
            expect(seen["hellos"] >= 2 * seen["server-handshakes"], f"each has shown a cookie: {seen}")
            expect_reclaimed(lab)


def client():
    """A client of libvppcom; openssl s_server and gnutls-serv as servers: every kind of key."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        with tls_lab(ca) as lab:
            for key_type in KEY_TYPES:
                cert, key = ca.make(f"server-{key_type}", key_type)
                if key_type in SERVERS:
                    talk(lab, (cert, key))
                command = ["gnutls-serv", "--udp", "--echo", "--disable-client-cert", "--x509certfile", str(cert), "--x509keyfile", str(key),
                           "-p", "PORT"]
                with Server(lab, command, "listening") as s:
                    out = asked(lab, s.port, "server.test", "a question")
                    expect("refused" in out and "got a question" in out, f"gnutls-serv {key_type}: {out}\n{s.said()}")
            seen = figures(lab)
            expect(seen["client-handshakes"] == len(SERVERS) + len(KEY_TYPES) and seen["too-long"] == 0, f"{seen}")
            expect_reclaimed(lab)


def refused():
    """Certificates that are not to be believed, or missing, on either side: the other one hears why."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        good, unknown, crl, bad = doubtful(ca)
        with tls_lab(ca, f"crl {crl} verify-client required") as lab:
            for what, pair, alert in (*bad, ("another name", good, 42)):
                with s_server(lab, pair) as s:
                    out = asked(lab, s.port, "another.test" if what == "another name" else "server.test", "x")
                    expect("EACCES" in out, f"{what}: {out}")
                    wait_until(lambda: f"SSL alert number {alert}" in s.said(), f"s_server hears of {what}")
            verified = figures(lab)["verify-failed"]
            expect(verified == len(bad) + 1, f"{figures(lab)}")
            with s_server(lab, good, "-Verify", "1", "-verify_return_error", "-CAfile", str(ca.pem)) as s:
                out = asked(lab, s.port, "server.test", "x")  # it has none to show
                expect("session_connect" in out or "session_read" in out, f"without a certificate: {out}")
            with served(lab, 4430, good) as s:
                listening(lab, s)
                for what, pair, alert in (*bad, ("none", None, 40)):
                    own = ["-cert", pair[0], "-key", pair[1]] if pair else []
                    said = s_client(4430, DTLS, "-CAfile", ca.pem, *own, until=(f"SSL alert number {alert}",))
                    expect(f"SSL alert number {alert}" in said, f"{what}:\n{said}")
                said = s_client(4430, DTLS, "-CAfile", ca.pem, "-cert", good[0], "-key", good[1], data=b"believed\n",
                                until=("believed",))
                expect("believed" in said, said)
                before = figures(lab)["alerts-received"]
                said = s_client(4430, DTLS, "-verify_return_error", "-CAfile", unknown[0], "-cert", good[0], "-key", good[1])
                expect("verify error" in said, said)
                wait_until(lambda: figures(lab)["alerts-received"] == before + 1, "its alert has come")
            seen = figures(lab)
            expect(seen["verify-failed"] == verified + len(bad), f"none of a missing certificate: {seen}")
            expect_reclaimed(lab)


def network():
    """IPv6 and IPv4, on two workers; and a daemon that drains while somebody is there, until it does not any more."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        pair = ca.make("server")
        with Lab(config_extra=f"tls {{ ca-cert-path {ca.pem} }}", workers=2) as lab:
            trust = (DTLS, "-CAfile", ca.pem, "-verify_return_error")
            with served(lab, 4430, pair, STACK_IP6) as six, served(lab, 4431, pair) as four:
                listening(lab, six)
                listening(lab, four)

                def echoed(port, to):
                    return "an echo" in s_client(port, *trust, data=b"an echo\n", until=("an echo", "DTLSv1.2"), to=to)

                expect(echoed(4430, f"[{STACK_IP6}]") and echoed(4431, STACK_IP4), f"{figures(lab)}")
                with Messages(lab.dir / "run/api.sock") as m:
                    done = [{x["name"]: x["value"] for x in m.call("dtls_counters_get", worker=w)["counters"]}["server-handshakes"]
                            for w in (0, 1)]
                expect(done == [1, 1], f"each listener has a worker: {done}")
                def connect(port, to):
                    command = ["openssl", "s_client", "-connect", f"{to}:{port}", *map(str, trust)]
                    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

                with connect(4430, f"[{STACK_IP6}]") as c:
                    def says(text):
                        c.stdin.write(text.encode() + b"\n")
                        c.stdin.flush()
                        return any(text.encode() in line for line in iter(c.stdout.readline, b""))
                    expect(says("before"), "it is open")
                    lab.cli("drain")
                    with connect(4431, STACK_IP4) as late:
                        wait_until(lambda: figures(lab)["hellos-dropped"] > 0, "nobody is greeted")
                        late.kill()
                    expect(says("while it drains"), "what is open goes on")
                    c.stdin.write(b"Q\n")
                    c.stdin.flush()
                    c.wait(120)
                wait_until(lambda: figures(lab)["connections"] == 2, "those that were cut off are left")
                lab.cli("drain", "off")
                expect(echoed(4430, f"[{STACK_IP6}]") and echoed(4431, STACK_IP4), f"{figures(lab)}")
                expect(figures(lab)["bound-again"] == 0, "they were there all the time")
            wait_until(lambda: figures(lab)["connections"] == 0, "all have ended")
            expect_reclaimed(lab)


def threads():
    """A key of RSA-4096 and two threads: several of OpenSSL's clients at once, and the daemon ends in the middle of some."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        with tls_lab(ca, "crypto-threads 2") as lab, served(lab, 4430, ca.make("server", LARGE_KEY)) as s:
            listening(lab, s)
            command = ["openssl", "s_client", "-connect", f"{STACK_IP4}:4430", DTLS, "-CAfile", str(ca.pem), "-verify_return_error",
                       "-verify_hostname", "server.test"]

            def client():
                return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

            n = 0
            for _ in range(4):
                clients = [client() for _ in range(4)]
                said = [c.communicate(timeout=240)[0].decode(errors="replace") for c in clients]
                n += len(clients)
                for text in said:
                    expect("Verify return code: 0 (ok)" in text and "DTLSv1.2" in text, text)
            seen = figures(lab)
            expect(seen["server-handshakes"] == n and seen["handshakes-failed"] == 0, f"{n}: {seen}")
            expect(seen["crypto-steps"] >= 2 * n and seen["crypto-under-way"] == 0, f"{seen}")
            clients = [client() for _ in range(8)]
            try:
                wait_until(lambda: figures(lab)["crypto-steps"] > seen["crypto-steps"], "handshakes are under way")
                lab.daemon.terminate()
                expect(lab.daemon.wait(120) == 0, f"the daemon ended by {lab.daemon.returncode}:{lab.daemon_tail()}")
            finally:
                for c in clients:
                    c.kill()
                    c.communicate()


if __name__ == "__main__":
    laboratory.run_case(server, client, refused, network, threads)
