#!/usr/bin/python3
"""System tests of TLS with real servers and clients over the kernel, and of its messages. usage: tls_peer_cases.py CASE"""

import hashlib
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from certificates import KEY_TYPES, Authority  # noqa: E402
from lab import HOST_IP4, STACK_IP4, wait_until  # noqa: E402
from messages import Messages  # noqa: E402
from tls_cases import asked, figures, gnutls_cli, listening, says, served, tls_lab  # noqa: E402

VERSIONS = {"1.2": "-tls1_2", "1.3": "-tls1_3"}  # of s_client and s_server
MATRIX = [(key_type, version) for key_type in KEY_TYPES for version in VERSIONS]
BODY = hashlib.shake_128(b"body").digest(1_500_000)


def fetched(lab, url, *options, env=None):
    return lab.run([p.find("curl"), "-sS", "--fail", *options, url], env=env, timeout=240).stdout


def s_client(port, *options, data=b"", until=(), to=STACK_IP4):
    """What openssl s_client says until it has said all of those, or ends."""
    command = ["openssl", "s_client", "-connect", f"{to}:{port}", "-ign_eof", *map(str, options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as c:
        try:
            return says(c, data, [u.encode() for u in until]).decode(errors="replace")
        finally:
            c.kill()


def s_server(lab, cert, key, version, *options):
    """openssl s_server over the kernel, which serves the laboratory's folder; and its port."""
    with socket.create_server((HOST_IP4, 0)) as s:
        port = s.getsockname()[1]
    command = ["openssl", "s_server", "-accept", f"{HOST_IP4}:{port}", "-cert", str(cert), "-key", str(key), VERSIONS[version],
               "-WWW", *options]
    return lab.program(command, name="s_server", cwd=lab.dir), port


def only(version):
    """GnuTLS's words for one version alone."""
    return f"NORMAL:-VERS-ALL:+VERS-TLS{version}"


def doubtful(ca):
    """A good pair, one that signs itself, a CRL; and pairs that are not to be believed: what, pair, alert (RFC 8446 section 6)."""
    good, revoked, expired = ca.make("good"), ca.make("revoked"), ca.make("expired", days=-1)
    unknown = ca.make("unknown", self_signed=True)
    of_another = Authority(ca.folder / "another", "another").make("good")
    return good, unknown, ca.revoke("revoked"), (("revoked", revoked, 44), ("expired", expired, 45), ("self-signed", unknown, 48),
                                                 ("another authority's", of_another, 48))


def nginx():
    """nginx with TLS over the kernel and ours as client; nginx without it, where TLS is the daemon's, for curl and wget."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        pairs = {key_type: ca.make(f"server-{key_type}", key_type) for key_type in KEY_TYPES}
        with tls_lab(ca) as lab:
            ports = {combination: 8440 + i for i, combination in enumerate(MATRIX)}

            def servers(www):
                return "\n".join(f"server {{ listen {HOST_IP4}:{port} ssl; root {www}; ssl_protocols TLSv{version}; "
                                 f"ssl_certificate {pairs[key_type][0]}; ssl_certificate_key {pairs[key_type][1]}; }}"
                                 for (key_type, version), port in ports.items())

            # A client that knows no TLS asks by http.
            env = lab.preload(LDP_TRANSPARENT_TLS="1")
            with p.Nginx(lab, p.Side("nginx-ssl", HOST_IP4), port=8440, servers=servers) as n:
                for combination, port in ports.items():
                    got = fetched(lab, f"http://{HOST_IP4}:{port}/10m", env=env)
                    expect(hashlib.sha256(got).hexdigest() == n.files["10m"], f"{combination}: {len(got)} bytes")
            seen = figures(lab)
            expect(seen["client-handshakes"] >= len(MATRIX) and seen["verify-failed"] == 0, f"{seen}")

            for key_type, (cert, key) in pairs.items():
                env = lab.preload(LDP_TRANSPARENT_TLS="1", LDP_TLS_CERT_FILE=str(cert), LDP_TLS_KEY_FILE=str(key))
                side = p.Side(f"nginx-{key_type}", STACK_IP4, server_env=env)
                with p.Nginx(lab, side, port=8443, workers=2) as n:
                    url = f"https://{STACK_IP4}:8443"
                    for options in (["--tls-max", "1.2"], ["--tlsv1.3"]):
                        got = fetched(lab, f"{url}/10m", "--cacert", str(ca.pem), *options)
                        expect(hashlib.sha256(got).hexdigest() == n.files["10m"], f"{key_type} {options}: {len(got)} bytes")
                    for version in VERSIONS:
                        got = lab.run(["wget", "-q", "-O", "-", f"--ca-certificate={ca.pem}", f"--ciphers={only(version)}", f"{url}/10m"],
                                      timeout=240).stdout
                        expect(hashlib.sha256(got).hexdigest() == n.files["10m"], f"wget {key_type} {version}: {len(got)} bytes")
            expect_reclaimed(lab)


def wrk():
    """wrk, which has no option for a version, at nginx without TLS, of a daemon of that version alone: every kind of key."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        pairs = {key_type: ca.make(f"server-{key_type}", key_type) for key_type in KEY_TYPES}
        for version in VERSIONS:
            with tls_lab(ca, f"min-version {version} max-version {version}") as lab:
                for key_type, (cert, key) in pairs.items():
                    env = lab.preload(LDP_TRANSPARENT_TLS="1", LDP_TLS_CERT_FILE=str(cert), LDP_TLS_KEY_FILE=str(key))
                    with p.Nginx(lab, p.Side(f"nginx-{key_type}", STACK_IP4, server_env=env), port=8443, workers=2):
                        said = s_client(8443, "-CAfile", ca.pem, until=("Cipher is",))
                        expect(f"New, TLSv{version}" in said, f"{key_type} {version}:\n{said}")
                        for more in ([], ["-H", "Connection: close"]):
                            def answered():  # when the machine does not stand still for that second; what is late is no error
                                said = lab.run([p.find("wrk"), *more, "-t", "1", "-c", "16", "-d", "1s", "--timeout", "60s",
                                                f"https://{STACK_IP4}:8443/1k"]).stdout.decode()
                                done = re.search(r"(\d+) requests in", said)
                                expect(done and "Socket errors" not in said and "Non-2xx" not in said, f"wrk {key_type} {version} {more}:\n{said}")
                                return int(done[1]) > 0
                            wait_until(answered, f"wrk {key_type} {version} {more} is answered")
                expect_reclaimed(lab)


def profiles():
    """One daemon, programs with a profile of their own by LDP_TLS_PROFILE: servers for openssl s_client, curl to openssl s_server."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server")
        stanza = "profile old { max-version 1.2 ciphers ECDHE-ECDSA-AES128-GCM-SHA256 } profile new { min-version 1.3 groups P-384 }"
        wanted = {"old": ("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"), "new": ("1.3", "Server Temp Key: ECDH, secp384r1, 384 bits"),
                  "": ("1.3", "Server Temp Key: X25519, 253 bits")}
        with tls_lab(ca, stanza) as lab:
            (lab.dir / "body").write_bytes(BODY)

            def env(name, **files):
                return lab.preload(LDP_TRANSPARENT_TLS="1", LDP_TLS_PROFILE=name, **files)

            for port, (name, (version, words)) in enumerate(wanted.items(), 8443):
                command = [PYTHON, "-u", "-m", "http.server", "--bind", STACK_IP4, "--directory", str(lab.dir), str(port)]
                with lab.program(command, name=f"http-{port}", env=env(name, LDP_TLS_CERT_FILE=str(cert), LDP_TLS_KEY_FILE=str(key))) as s:
                    lab.wait_listening_over_hostloom(s, STACK_IP4, port)
                    said = s_client(port, "-CAfile", ca.pem, until=(f"New, TLSv{version}",))
                    expect(f"New, TLSv{version}" in said and words in said, f"{name} {version}:\n{said}")
                    if name:
                        other, option = next((v, o) for v, o in VERSIONS.items() if v != version)
                        said = s_client(port, option, "-CAfile", ca.pem, until=("SSL alert number 70",))
                        expect("SSL alert number 70" in said, f"{name} {other}: protocol_version\n{said}")
                    listener, = lab.cli("show", "tls", "listeners", as_json=True)["listeners"]
                    expect(listener["profile"] == name, f"{listener}")
            for version in VERSIONS:
                program, port = s_server(lab, cert, key, version)
                with program as s:
                    wait_until(lambda: "ACCEPT" in lab.output(s), "s_server listens")
                    for name, (wants, _) in wanted.items():
                        done = lab.run([p.find("curl"), "-sS", f"http://{HOST_IP4}:{port}/body"], env=env(name), check=False)
                        is_good = not name or wants == version
                        expect((done.stdout == BODY) == is_good, f"curl {name} to {version}: {done.stderr}")
                    done = lab.run([p.find("curl"), "-sS", f"http://{HOST_IP4}:{port}/body"], env=env("unknown"), check=False)
                    expect(done.returncode != 0 and not done.stdout, f"curl of no profile: {done.stderr}")
            expect_reclaimed(lab)


def openssl():
    """openssl s_server and s_client: every version and kind of key."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        pairs = {key_type: ca.make(f"server-{key_type}", key_type) for key_type in KEY_TYPES}
        with tls_lab(ca) as lab:
            (lab.dir / "body").write_bytes(BODY)
            env = lab.preload(LDP_TRANSPARENT_TLS="1")
            for key_type, version in MATRIX:
                program, port = s_server(lab, *pairs[key_type], version)
                with program as s:
                    wait_until(lambda: "ACCEPT" in lab.output(s), "s_server listens")
                    got = fetched(lab, f"http://{HOST_IP4}:{port}/body", env=env)
                    expect(got == BODY, f"s_server {key_type} {version}: {len(got)} bytes\n{lab.output(s)}")
            for port, (key_type, (cert, key)) in enumerate(pairs.items(), 4430):
                with served(lab, STACK_IP4, port, f"{cert},{key}") as s:
                    listening(lab, s)
                    for version, option in VERSIONS.items():
                        said = s_client(port, option, "-CAfile", ca.pem, "-verify_return_error", "-verify_hostname", "server.test",
                                        data=b"there and back\n", until=("there and back", f"TLSv{version}"))
                        expect("there and back" in said and f"New, TLSv{version}" in said and "Verify return code: 0" in said,
                               f"s_client {key_type} {version}:\n{said}")
            expect(figures(lab)["handshakes-failed"] == 0, f"{figures(lab)}")
            expect_reclaimed(lab)


def gnutls():
    """gnutls-cli and gnutls-serv: every version and kind of key."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        pairs = {key_type: ca.make(f"server-{key_type}", key_type) for key_type in KEY_TYPES}
        with tls_lab(ca) as lab:
            env = lab.preload(LDP_TRANSPARENT_TLS="1")
            for key_type, version in MATRIX:
                with socket.create_server((HOST_IP4, 0)) as s:
                    port = s.getsockname()[1]
                cert, key = pairs[key_type]
                command = ["gnutls-serv", "--http", "--disable-client-cert", "-p", str(port), "--x509certfile", str(cert), "--x509keyfile",
                           str(key), "--priority", only(version)]
                with lab.program(command, name="gnutls-serv") as s:
                    wait_until(lambda: f"port {port}...done" in lab.output(s), "gnutls-serv listens")
                    page = fetched(lab, f"http://{HOST_IP4}:{port}/", env=env).decode()
                    expect(f"TLS{version}" in page, f"gnutls-serv {key_type} {version}:\n{page}\n{lab.output(s)}")
            seen = figures(lab)
            expect(seen["client-handshakes"] == len(MATRIX) and seen["verify-failed"] == 0, f"{seen}")
            line = hashlib.shake_128(b"line").digest(400).hex().encode()
            for port, (key_type, (cert, key)) in enumerate(pairs.items(), 4430):
                with served(lab, STACK_IP4, port, f"{cert},{key}") as s:
                    listening(lab, s)
                    for version in VERSIONS:
                        said, status = gnutls_cli(ca, port, line, "--priority", only(version))
                        expect(line.decode() in said and f"(TLS{version}" in said and status == 0,
                               f"gnutls-cli {key_type} {version}: {said}")
            seen = figures(lab)
            expect(seen["server-handshakes"] == len(MATRIX) and seen["handshakes-failed"] == 0, f"{seen}")
            expect_reclaimed(lab)


def refused():
    """Certificates that are not to be believed, on either side: the other one hears why."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        good, unknown, crl, bad = doubtful(ca)
        with tls_lab(ca, f"crl {crl} verify-client required") as lab:
            for version in VERSIONS:
                for what, pair, alert in (*bad, ("another name", good, 42)):
                    program, port = s_server(lab, *pair, version)
                    with program as s:
                        wait_until(lambda: "ACCEPT" in lab.output(s), "s_server listens")
                        name = "another.test" if what == "another name" else "server.test"
                        out = asked(lab, HOST_IP4, port, name, 10)
                        expect("EACCES" in out, f"{what} {version}: {out}")
                        wait_until(lambda: f"SSL alert number {alert}" in lab.output(s), f"s_server hears of {what} in {version}")
            verified = figures(lab)["verify-failed"]
            expect(verified == (len(bad) + 1) * len(VERSIONS), f"{figures(lab)}")

            with served(lab, STACK_IP4, 4430, f"{good[0]},{good[1]}") as s:
                listening(lab, s)
                for version, option in VERSIONS.items():
                    missing = ("none", None, 116 if version == "1.3" else 40)
                    for what, pair, alert in (*bad, missing):
                        own = ["-cert", pair[0], "-key", pair[1]] if pair else []
                        said = s_client(4430, option, "-CAfile", ca.pem, *own, until=(f"SSL alert number {alert}",))
                        expect(f"SSL alert number {alert}" in said, f"{what} {version}:\n{said}")
                    said = s_client(4430, option, "-CAfile", ca.pem, "-cert", good[0], "-key", good[1], data=b"believed\n",
                                    until=("believed",))
                    expect("believed" in said, f"good {version}:\n{said}")
                # What the peer finds wrong we hear.
                before = figures(lab)
                for trust in (["-CAfile", ca.pem, "-verify_hostname", "another.test"], ["-CAfile", unknown[0]]):
                    said = s_client(4430, "-tls1_3", "-verify_return_error", *trust)
                    expect("verify error" in said, said)
                wait_until(lambda: figures(lab)["alerts-received"] == before["alerts-received"] + 2, "both alerts have come")
            seen = figures(lab)
            expect(seen["verify-failed"] == verified + len(bad) * len(VERSIONS), f"none of a missing certificate: {seen}")
            expect_reclaimed(lab)


def resumed():
    """openssl s_client comes again with its sessions: by -reconnect, and by a file."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server")
        with tls_lab(ca) as lab:
            with served(lab, STACK_IP4, 4430, f"{cert},{key}") as s:
                listening(lab, s)
                said = s_client(4430, "-tls1_2", "-CAfile", ca.pem, "-reconnect", data=b"again\n", until=("again",))
                expect(said.count("Reused, TLSv1.2") == 5 and figures(lab)["resumed"] == 5, f"{figures(lab)}\n{said}")
                for n, (version, option) in enumerate(VERSIONS.items()):
                    session = pathlib.Path(folder) / f"session-{version}"
                    said = s_client(4430, option, "-CAfile", ca.pem, "-sess_out", session, data=b"first\n", until=("first",))
                    expect(f"New, TLSv{version}" in said, said)
                    said = s_client(4430, option, "-CAfile", ca.pem, "-sess_in", session, data=b"second\n", until=("second", "Reused"))
                    expect(f"Reused, TLSv{version}" in said and "second" in said, said)
                    wait_until(lambda: figures(lab)["resumed"] == 6 + n, f"{version} is counted")
            expect(figures(lab)["server-handshakes"] == 10, f"{figures(lab)}")
            expect_reclaimed(lab)


def early():
    """openssl s_client -early_data: taken with a ticket once, and dropped with the same one again, or where it is not configured."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("server")
        data, session = (pathlib.Path(folder) / name for name in ("data", "session"))
        data.write_bytes(b"much too early\n")
        for words, most in (("early-data 4096", 4096), ("", 0)):
            with tls_lab(ca, words) as lab:
                with served(lab, STACK_IP4, 4430, f"{cert},{key}") as s:
                    listening(lab, s)
                    # It ends in order: the ticket of a connection that is cut off is good no more.
                    command = ["openssl", "s_client", "-connect", f"{STACK_IP4}:4430", "-tls1_3", "-servername", "server.test",
                               "-CAfile", ca.pem, "-sess_out", session]
                    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL) as c:
                        c.stdin.write(b"first\n")
                        c.stdin.flush()
                        heard = iter(c.stdout.readline, b"")
                        expect(any(line == b"first\n" for line in heard), "an echo")
                        c.stdin.write(b"Q\n")
                        c.stdin.flush()
                        shown = b"".join(heard).decode(errors="replace")
                    for is_first in (True, False):
                        is_taken = is_first and most != 0
                        outcome = "accepted" if is_taken else "rejected" if most != 0 else "not sent"
                        said = s_client(4430, "-tls1_3", "-servername", "server.test", "-CAfile", ca.pem, "-sess_in", session, "-early_data",
                                        data, data=b"in time\n",
                                        until=("in time", f"Early data was {outcome}"))
                        expect(f"Early data was {outcome}" in said and "in time" in said, f"{words} {is_first}:\n{shown}\n{said}")
                        expect((data.read_text() in said) == is_taken, f"{words} {is_first}:\n{said}")
                    seen = figures(lab)
                    counted = tuple(seen[f"early-{what}"] for what in ("data-accepted", "data-refused", "bytes-in"))
                    expect(counted == ((1, 1, len(data.read_bytes())) if most else (0, 0, 0)), f"{seen}")
                expect_reclaimed(lab)


def messages():
    """A pair of the operator's, by the binary API; listeners, connections and counters are listed; files are read again."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        cert, key = ca.make("operator")
        with tls_lab(ca) as lab, Messages(lab.dir / "run/api.sock") as m:
            text = cert.read_bytes() + key.read_bytes()
            added = m.call("app_add_cert_key_pair", cert_len=cert.stat().st_size, certkey_len=len(text), certkey=text)
            expect(added["retval"] == 0 and added["index"] > 0, f"{added}")
            with served(lab, STACK_IP4, 4430, added["index"], "echo,other") as s:
                listening(lab, s)
                listener, = m.dump("tls_listener_dump")
                expect((listener["subject"], listener["alpn"], listener["certificates"]) == ("CN=operator", "echo,other", 1), f"{listener}")
                ports = {x["handle"]: x["local_port"] for x in m.dump("session_dump", transport="tcp")}
                expect(ports.get(listener["lower_handle"]) == 4430, f"{listener} {ports}")
                context = ssl.create_default_context(cafile=ca.pem)
                context.set_alpn_protocols(["echo"])
                with socket.create_connection((STACK_IP4, 4430), timeout=120) as raw:
                    c = context.wrap_socket(raw, server_hostname="server.test")
                    c.sendall(b"x")
                    expect(c.recv(1) == b"x", "an echo")
                    port = c.getsockname()[1]
                    found, = m.dump("tls_connection_dump", state=3, remote_port=port)
                    expect((found["version"], found["alpn"], found["server_name"], found["is_server"], found["peer"])
                           == (c.version(), "echo", "server.test", True, ""), f"{found}")
                    expect(found["cipher"] == c.cipher()[0] and found["local"]["un"][:4] == socket.inet_aton(STACK_IP4), f"{found}")
                    handles = [x["handle"] for x in m.dump("session_dump", transport="tls", remote_port=port)]
                    expect(handles == [found["session_handle"]], f"{handles} {found}")
                    shown, = lab.cli("show", "tls", "connections", "remote-port", str(port), as_json=True)["connections"]
                    expect((shown["for"], shown["is"], shown["state"]) == ("server.test", "server", "open"), f"{shown}")
                    c.unwrap().close()
                counted = {x["name"]: x["value"] for x in m.call("tls_counters_get")["counters"]}
                expect(counted["server-handshakes"] == figures(lab)["server-handshakes"] == 1, f"{counted}")
                expect(m.call("tls_reload")["retval"] == 0, "reload")
                expect(m.call("app_del_cert_key_pair", index=added["index"])["retval"] == 0, "taken back")
                expect(m.call("app_del_cert_key_pair", index=added["index"])["retval"] == -6, "once")
                expect(m.dump("tls_listener_dump")[0]["subject"] == "CN=operator", "who listens keeps it")
            with served(lab, STACK_IP4, 4431, added["index"]) as s:
                wait_until(lambda: "listen:" in lab.output(s), "it is nobody's any more")
            expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(nginx, wrk, profiles, openssl, gnutls, refused, resumed, early, messages)
