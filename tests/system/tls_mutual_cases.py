#!/usr/bin/python3
"""System tests of certificates that clients show: ours to other people's servers, and theirs to ours. usage: tls_mutual_cases.py CASE"""

import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import expect, expect_reclaimed  # noqa: E402
from certificates import KEY_TYPES, Authority  # noqa: E402
from lab import HOST_IP4, STACK_IP4, wait_until  # noqa: E402
from tls_cases import asked as tells  # noqa: E402
from tls_cases import figures, gnutls_cli, listening, served, tls_lab  # noqa: E402
from tls_peer_cases import BODY, VERSIONS, doubtful, only, s_client, s_server  # noqa: E402

CURL_VERSIONS = {"1.2": ["--tls-max", "1.2"], "1.3": ["--tlsv1.3"]}


def missing(version):
    """The alert for a client without a certificate: handshake_failure (RFC 5246 section 7.4.6), certificate_required (RFC 8446 section 6.2)."""
    return 116 if version == "1.3" else 40


# OpenSSL's words for alerts; those for certificate_expired curl takes for its own error of the same kind when they come while it connects.
WORDS = {40: "alert handshake failure", 44: "alert certificate revoked", 45: "certificate expired|certificate verification failed",
         48: "alert unknown ca", 116: "alert certificate required"}


def asked():
    """Our server asks; openssl s_client, curl and gnutls-cli have a good one of each kind of key, none, or one that is not to be believed."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        good, _, crl, bad = doubtful(ca)
        own = {key_type: ca.make(f"client-{key_type}", key_type) for key_type in KEY_TYPES}
        with tls_lab(ca, f"crl {crl} verify-client required certificate {good[0]} key {good[1]}") as lab:
            www = lab.dir / "www"
            www.mkdir()
            (www / "body").write_bytes(BODY)
            lab.cli("http", "static", "server", "www-root", str(www), "uri", f"tls://{STACK_IP4}/443")
            url = f"https://{STACK_IP4}/body"

            def curl(version, pair):
                options = ["--cert", str(pair[0]), "--key", str(pair[1])] if pair else []
                return lab.run([p.find("curl"), "-sS", "--cacert", str(ca.pem), *CURL_VERSIONS[version], *options, url], check=False)

            def gnutls(version, pair):
                options = ["--x509certfile", pair[0], "--x509keyfile", pair[1]] if pair else []
                return gnutls_cli(ca, 4430, b"there and back", "--priority", only(version), *options)

            with served(lab, STACK_IP4, 4430, f"{good[0]},{good[1]}") as s:
                listening(lab, s)
                for version, option in VERSIONS.items():
                    failed = figures(lab)["handshakes-failed"]
                    for key_type, pair in own.items():
                        done = curl(version, pair)
                        expect(done.returncode == 0 and done.stdout == BODY, f"curl {key_type} {version}: {done.stderr}")
                        said, status = gnutls(version, pair)
                        expect("there and back" in said and status == 0, f"gnutls-cli {key_type} {version}:\n{said}")
                        said = s_client(4430, option, "-CAfile", ca.pem, "-cert", pair[0], "-key", pair[1], data=b"there and back\n",
                                        until=("there and back",))
                        expect("there and back" in said, f"s_client {key_type} {version}:\n{said}")
                    expect(figures(lab)["handshakes-failed"] == failed, f"{version}: {failed} {figures(lab)}")
                    for what, pair, alert in (*bad, ("none", None, missing(version))):
                        before = figures(lab)
                        done = curl(version, pair)
                        expect(done.returncode != 0 and not done.stdout, f"curl {what} {version}: {done.returncode}")
                        expect(re.search(WORDS[alert], done.stderr.decode()), f"curl {what} {version}: {done.stderr}")
                        said, status = gnutls(version, pair)
                        expect(f"[{alert}]" in said and "there and back" not in said and status != 0, f"gnutls-cli {what} {version}:\n{said}")
                        seen = figures(lab)
                        expect(seen["handshakes-failed"] == before["handshakes-failed"] + 2, f"{what} {version}: {before} {seen}")
                        n_verified = 0 if pair is None else 2
                        expect(seen["verify-failed"] == before["verify-failed"] + n_verified, f"{what} {version}: {before} {seen}")
            wait_until(lambda: figures(lab)["connections"] == 0, "all connections end")


def shown():
    """Our client shows one to openssl s_server -Verify, and to nginx with ssl_verify_client: the same choice."""
    with tempfile.TemporaryDirectory() as folder:
        ca = Authority(pathlib.Path(folder) / "ca")
        good, _, crl, bad = doubtful(ca)
        own = {key_type: ca.make(f"client-{key_type}", key_type) for key_type in KEY_TYPES}
        trusted = pathlib.Path(folder) / "trusted"  # OpenSSL's program takes lists from there, too
        trusted.write_text(ca.pem.read_text() + crl.read_text())
        with tls_lab(ca) as lab:
            (lab.dir / "body").write_bytes(BODY)

            def fetch(port, pair):
                files = dict(LDP_TLS_CERT_FILE=str(pair[0]), LDP_TLS_KEY_FILE=str(pair[1])) if pair else {}
                return lab.run([p.find("curl"), "-sS", "-w", "%{http_code}", f"http://{HOST_IP4}:{port}/body"],
                               env=lab.preload(LDP_TRANSPARENT_TLS="1", **files), check=False)

            for version in VERSIONS:
                asks = ["-Verify", "1", "-verify_return_error", "-CAfile", str(trusted), "-crl_check"]
                program, port = s_server(lab, *good, version, *asks)
                with program as s:
                    wait_until(lambda: "ACCEPT" in lab.output(s), "s_server listens")
                    for key_type, pair in own.items():
                        done = fetch(port, pair)
                        expect(done.stdout == BODY + b"200", f"s_server {key_type} {version}: {done.stderr}\n{lab.output(s)}")
                    for what, pair, _ in (*bad, ("none", None, 0)):
                        before = figures(lab)["alerts-received"]
                        own_files = [f"{pair[0]},{pair[1]}"] if pair else []
                        out = tells(lab, HOST_IP4, port, "server.test", 10, *own_files)
                        # In 1.3 the handshake is done here before the server has looked.
                        is_early = "session_connect" in out
                        expect("ECONNRESET" in out and is_early == (version == "1.2"), f"s_server {what} {version}: {out}")
                        expect(figures(lab)["alerts-received"] == before + 1, f"s_server {what} {version}: no alert\n{lab.output(s)}")

            ports = dict(zip(VERSIONS, (8440, 8441)))

            def servers(www):
                (www / "body").write_bytes(BODY)
                return "\n".join(f"server {{ listen {HOST_IP4}:{port} ssl; root {www}; ssl_protocols TLSv{version}; ssl_certificate {good[0]}; "
                                 f"ssl_certificate_key {good[1]}; ssl_client_certificate {ca.pem}; ssl_crl {crl}; ssl_verify_client on; }}"
                                 for version, port in ports.items())

            with p.Nginx(lab, p.Side("nginx-asks", HOST_IP4), port=8440, servers=servers):
                for version, port in ports.items():
                    for key_type, pair in own.items():
                        done = fetch(port, pair)
                        expect(done.stdout == BODY + b"200", f"nginx {key_type} {version}: {done.stderr} {done.stdout[-500:]}")
                    for what, pair, _ in (*bad, ("none", None, 0)):  # which it says by HTTP
                        words = b"The SSL certificate error" if pair else b"No required SSL certificate was sent"
                        done = fetch(port, pair)
                        expect(done.stdout.endswith(b"400") and words in done.stdout, f"nginx {what} {version}: {done.stderr} {done.stdout[-500:]}")
            expect(figures(lab)["verify-failed"] == 0, f"{figures(lab)}")
            expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(asked, shown)
