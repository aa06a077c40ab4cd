#!/usr/bin/python3
"""System tests of TLS: other people's TLS at the kernel's side. usage: tls_cases.py CASE"""

import hashlib
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from certificates import KEY_TYPES, LARGE_KEY, Authority  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402
from messages import Messages  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent / "programs"
VERSIONS = ("1.2", "1.3")
MOST_LEFT = 8  # bytes of the heap, of each handshake: 144 of 4,000 were seen


def tls_lab(authority, more=""):
    return Lab(config_extra=f"tls {{ ca-cert-path {authority.pem} {more} }}")


def vcl(lab, *words):
    return [PYTHON, str(HERE / "vcl_tls.py"), str(lab.build / "lib/libvppcom.so"), *map(str, words)]


def vcl_env(lab):
    return lab.native()


def served(lab, *words, name="vcl"):
    return lab.program(vcl(lab, "server", *words), name=name, env=vcl_env(lab))


def listening(lab, server):
    wait_until(lambda: "listening" in lab.output(server) or server.poll() is not None, "the server listens")
    expect(server.poll() is None, f"the server ended:\n{lab.output(server)}{lab.daemon_tail()}")


def asked(lab, *words):
    return lab.run(vcl(lab, "client", *words), env=vcl_env(lab), timeout=240).stdout.decode().strip()


def says(program, data, until):
    """Gives it the data and reads until it has said all of those, or it ends."""
    program.stdin.write(data)
    program.stdin.flush()
    said, deadline = b"", time.monotonic() + 120
    while not until or not all(u in said for u in until):
        ready = select.select([program.stdout], [], [], max(0, deadline - time.monotonic()))[0]
        part = os.read(program.stdout.fileno(), 1 << 16) if ready else b""
        if not part:
            break
        said += part
    return said


def gnutls_cli(ca, port, line, *options):
    """What gnutls-cli says, and its exit status. Its input ends when the line has come back: it waits but half a second after."""
    command = ["gnutls-cli", "--x509cafile", ca.pem, "--sni-hostname", "server.test", "--verify-hostname", "server.test", "-p", port,
               *options, STACK_IP4]
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as c:
        try:
            said = says(c, line + b"\n", (line,))
            c.stdin.close()
            while part := c.stdout.read(1 << 16):
                said += part
            return said.decode(errors="replace"), c.wait(120)
        finally:
            c.kill()


def figures(lab):
    shown = lab.cli("show", "tls", as_json=True)
    if shown.pop("aes-gcm") not in ("ipsec-mb", "openssl"):
        raise Failure("show tls does not say whose AES-GCM it is")
    return {name: int(value) for name, value in shown.items()}


def server():
    """A server of libvppcom, and openssl s_client, gnutls-cli and Python as clients: every version and kind of key."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        with tls_lab(ca) as lab:
            line = hashlib.shake_128(b"x").digest(500).hex().encode()
            for port, key_type in enumerate(KEY_TYPES, 4430):
                cert, key = ca.make(f"server-{key_type}", key_type)
                with served(lab, STACK_IP4, port, f"{cert},{key}", "echo,other") as s:
                    listening(lab, s)
                    for version in VERSIONS:
                        client = [PYTHON, str(HERE / "tls_client.py"), STACK_IP4, str(port), str(ca.pem), "server.test", version,
                                  "1000000"]
                        out = lab.run(client, timeout=240).stdout.decode()
                        expect(f"TLSv{version} echo same" in out, f"{key_type} {version}: {out}")
                    said, _ = gnutls_cli(ca, port, line)
                    expect(line.decode() in said, f"gnutls-cli: {said[-1000:]}")
            seen = figures(lab)
            expect(seen["server-handshakes"] >= 9 and seen["handshakes-failed"] == 0, f"{seen}")
            expect_reclaimed(lab)


def client():
    """A client of libvppcom and servers of Python's ssl: every version; certificates that are not to be believed."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        with tls_lab(ca) as lab:
            for version in VERSIONS:
                for key_type in KEY_TYPES:
                    cert, key = ca.make(f"server-{key_type}", key_type)
                    command = [PYTHON, str(HERE / "tls_server.py"), HOST_IP4, "0", str(cert), str(key), version]
                    with lab.program(command, name="server") as s:
                        port = lab.port_of(s)
                        expect(asked(lab, HOST_IP4, port, "server.test", 2_000_000) == "same", f"{key_type} {version}")
                        expect(asked(lab, HOST_IP4, port, "", 1000) == "same", "by its address")
                        expect("EACCES" in asked(lab, HOST_IP4, port, "another.test", 1000), "the name is wrong")
            for what, wanted in (("self", {"self_signed": True}), ("nobody", {"alternatives": "DNS:nobody.test"})):
                cert, key = ca.make(what, **wanted)
                command = [PYTHON, str(HERE / "tls_server.py"), HOST_IP4, "0", str(cert), str(key), "1.3"]
                with lab.program(command, name="server") as s:
                    out = asked(lab, HOST_IP4, lab.port_of(s), "server.test", 1000)
                    expect("EACCES" in out, f"{what}: {out}")
            expect(figures(lab)["verify-failed"] >= 8, f"{figures(lab)}")
            expect_reclaimed(lab)


def transparent():
    """LDP_TRANSPARENT_TLS: nginx without TLS serves https, and curl without it fetches by http what is https."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server")
        with tls_lab(ca) as lab:
            env = dict(LDP_TRANSPARENT_TLS="1", LDP_TLS_CERT_FILE=str(cert), LDP_TLS_KEY_FILE=str(key))
            program = [PYTHON, "-u", "-m", "http.server", "--bind", STACK_IP4, "--directory", str(lab.dir), "8443"]
            body = hashlib.shake_128(b"file").digest(3_000_000)
            (lab.dir / "file").write_bytes(body)
            with lab.program(program, name="http", env=lab.preload(**env)) as s:
                lab.wait_listening_over_hostloom(s, STACK_IP4, 8443)
                url = f"https://{STACK_IP4}:8443/file"
                for options in (["--tls-max", "1.2"], ["--tlsv1.3"]):
                    got = lab.run([p.find("curl"), "-sS", "--cacert", str(ca.pem), *options, url]).stdout
                    expect(got == body, f"curl {options}: {len(got)} bytes")
                wget = lab.run(["wget", "-q", "-O", "-", f"--ca-certificate={ca.pem}", url]).stdout
                expect(wget == body, f"wget: {len(wget)} bytes")
                refused = lab.run([p.find("curl"), "-sS", url], check=False)
                expect(refused.returncode == 60, f"curl without the authority: {refused.returncode}")
            missing = pathlib.Path(folder) / "no.key"
            for broken in ({"LDP_TLS_KEY_FILE": str(missing)}, {"LDP_TLS_KEY_FILE": ""}):
                out = lab.run(program, env=lab.preload(**(env | broken)), check=False)
                expect(out.returncode != 0, "no other certificate takes the place of one that is not there")
                said = out.stderr.decode()
                expect("ldp<" in said and "LDP_TLS_KEY_FILE" in said, said)
            expect_reclaimed(lab)


def across():
    """Two programs on one daemon whose ends of a connection live on different workers: segments that refer to a fifo's bytes are
    handed over."""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = Authority(pathlib.Path(folder) / "ca").make("server")
        with Lab(workers=2, config_extra="session { spread-flows } tls { verify-server off }") as lab:
            env = lab.preload(LDP_TRANSPARENT_TLS="1", LDP_TLS_CERT_FILE=str(cert), LDP_TLS_KEY_FILE=str(key))
            body = hashlib.shake_128(b"file").digest(3_000_000)
            (lab.dir / "file").write_bytes(body)
            program = [PYTHON, "-u", "-m", "http.server", "--bind", STACK_IP4, "--directory", str(lab.dir), "8443"]
            with lab.program(program, name="http", env=env) as s:
                lab.wait_listening_over_hostloom(s, STACK_IP4, 8443)
                handed = {}
                for _ in range(40):  # half of them, by the flow's hash
                    got = lab.run([p.find("curl"), "-sS", f"http://{STACK_IP4}:8443/file"], env=env).stdout
                    expect(got == body, f"{len(got)} bytes")
                    counters = lab.cli("show", "errors", as_json=True)["errors"]
                    handed = {c["reason"]: int(c["count"]) for c in counters if c["node"] == "worker-handoff"}
                    if handed.get("copied", 0) > 0:
                        break
                expect(handed.get("copied", 0) > 0, f"no connection had its ends on two workers: {handed}")
            expect_reclaimed(lab)


def inside():
    """An application inside the daemon, with the start-up file's certificate; 10,000 handshakes leave nothing."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server")
        with tls_lab(ca, f"certificate {cert} key {key} handshake-timeout 600") as lab:  # however busy the machine is
            www = lab.dir / "www"
            www.mkdir()
            body = hashlib.shake_128(b"page").digest(2_000_000)
            (www / "page").write_bytes(body)
            lab.cli("http", "static", "server", "www-root", str(www), "uri", f"tls://{STACK_IP4}/443")
            got = lab.run([p.find("curl"), "-sS", "--cacert", str(ca.pem), f"https://{STACK_IP4}/page"]).stdout
            expect(got == body, f"{len(got)} bytes")

            def handshakes(n):
                lab.run([PYTHON, str(HERE / "tls_handshakes.py"), STACK_IP4, "443", str(ca.pem), str(n)], timeout=1000)
                wait_until(lambda: figures(lab)["connections"] == 0, "all connections end")

            def in_use():
                rows = lab.cli("show", "memory", as_json=True)["memory"]
                return next(int(row["used"]) for row in rows if row["area"] == "main heap")

            for n in (2000, 4000):  # whatever is allocated once is there
                handshakes(n)
            before = in_use()
            handshakes(4000)
            seen = figures(lab)
            expect(seen["server-handshakes"] >= 10_000 and seen["handshakes-under-way"] == 0, f"{seen}")
            expect(seen["resumed"] >= 4000, f"half of them resume: {seen}")
            wait_until(lambda: in_use() - before < 4000 * MOST_LEFT, f"4,000 handshakes leave less than {MOST_LEFT} bytes each")


def reload():
    """`tls reload`, and the message, in the turns of the daemon's loop: the next connection is shown what the files have now."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server")
        with tls_lab(ca, f"certificate {cert} key {key}") as lab, Messages(lab.dir / "run/api.sock") as m:
            (lab.dir / "www").mkdir()
            lab.cli("http", "static", "server", "www-root", str(lab.dir / "www"), "uri", f"tls://{STACK_IP4}/443")

            def shown():
                command = ["openssl", "s_client", "-connect", f"{STACK_IP4}:443", "-CAfile", str(ca.pem), "-verify_return_error"]
                out = lab.run(command, timeout=240).stdout.decode(errors="replace")
                expect("Verify return code: 0 (ok)" in out, out)
                return re.search(r"subject=CN = (\S+)", out)[1]

            def replace(name):
                for there, fresh in zip((cert, key), ca.make(name)):
                    there.write_bytes(fresh.read_bytes())

            expect(shown() == "server", "the first")
            for name, ask in (("second", lambda: lab.cli("tls", "reload")), ("third", lambda: m.call("tls_reload")["retval"]),
                              ("fourth", lambda: lab.cli("tls", "reload"))):
                replace(name)
                said = ask()
                expect(not said, f"{name}: {said}")
                expect(shown() == name, name)
            key.write_text("rubbish")
            expect(m.call("tls_reload")["retval"] != 0, "it is refused")
            expect(shown() == "fourth", "nothing has changed")


def s_time(*options, seconds):
    """openssl s_time: one new connection after the other, each with a short request."""
    command = ["openssl", "s_time", "-connect", f"{STACK_IP4}:443", "-www", "/small", "-new", "-time", str(seconds), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def n_crypto_threads(lab):
    return [t.read_text().strip() for t in pathlib.Path(f"/proc/{lab.daemon.pid}/task").glob("*/comm")].count("loom-crypto")


def threads():
    """Handshakes by two threads: a stream goes on among those of OpenSSL's clients, and the daemon ends in the middle of some."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server", LARGE_KEY)
        with tls_lab(ca, f"certificate {cert} key {key} crypto-threads 2") as lab:
            expect(n_crypto_threads(lab) == 0, "nobody uses TLS yet")
            www = lab.dir / "www"
            www.mkdir()
            body = hashlib.shake_128(b"page").digest(8_000_000)
            (www / "page").write_bytes(body)
            (www / "small").write_bytes(b"small")
            lab.cli("http", "static", "server", "www-root", str(www), "uri", f"tls://{STACK_IP4}/443")
            expect(n_crypto_threads(lab) == 2, "they come with the listener")
            clients = [s_time(version, seconds=4) for version in ("-tls1_2", "-tls1_3", "-tls1_3")]
            n_fetched = 0
            while n_fetched == 0 or any(c.poll() is None for c in clients):
                got = lab.run([p.find("curl"), "-sS", "--cacert", str(ca.pem), f"https://{STACK_IP4}/page"], timeout=240).stdout
                expect(got == body, f"{len(got)} bytes")
                n_fetched += 1
            said = [c.communicate()[0] for c in clients]
            counts = [re.search(r"(\d+) connections in [\d.]+s", text) for text in said]
            expect(all(counts) and not any(c.returncode for c in clients), f"{said}")
            for version in VERSIONS:
                s_client = ["openssl", "s_client", "-connect", f"{STACK_IP4}:443", "-CAfile", str(ca.pem), "-verify_return_error",
                            "-verify_hostname", "server.test", f"-tls{version.replace('.', '_')}"]
                out = lab.run(s_client, timeout=240).stdout.decode(errors="replace")
                expect("Verify return code: 0 (ok)" in out, out)
            wait_until(lambda: figures(lab)["connections"] == 0, "all connections end")
            seen = figures(lab)
            n = sum(int(c[1]) for c in counts) + n_fetched + len(VERSIONS)
            expect(seen["server-handshakes"] == n and seen["handshakes-failed"] == 0, f"{n}: {seen}")
            expect(seen["crypto-steps"] >= n and seen["crypto-under-way"] == 0, f"{seen}")

            clients = [s_time("-tls1_3", seconds=60) for _ in range(4)]
            try:
                wait_until(lambda: figures(lab)["crypto-steps"] >= seen["crypto-steps"] + 8, "handshakes are under way")
                lab.daemon.terminate()
                expect(lab.daemon.wait(120) == 0, f"the daemon ended by {lab.daemon.returncode}:{lab.daemon_tail()}")
            finally:
                for c in clients:
                    c.kill()
                    c.communicate()


if __name__ == "__main__":
    laboratory.run_case(server, client, transparent, across, inside, reload, threads)
