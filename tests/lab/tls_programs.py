"""TLS in the laboratory: the same programs with OpenSSL of their own over the kernel, and with plain sockets over Hostloom,
where the daemon speaks TLS for them (LDP_TRANSPARENT_TLS). A peer over the kernel is OpenSSL's in both."""

import dataclasses
import functools
import re
import subprocess
import time

import lab as laboratory
import programs as p
from certificates import Authority
from lab import Failure

SOURCES = laboratory.TOP / "tests" / "bench" / "tls"
CLIENTS = 4  # openssl s_time has one connection at a time


class TlsPrograms:
    def __init__(self, lab, port=4433):
        self.lab, self.port = lab, port

    @functools.cached_property
    def pair(self):
        """The certificate's and the key's file."""
        return tuple(map(str, Authority(self.lab.dir / "tls").make("server")))

    def _program(self, name):
        return str(p.compiled(self.lab, SOURCES / f"{name}.cc", "-lssl", "-lcrypto"))

    def by_the_daemon(self, side):
        """The side, with the daemon's TLS for those ends that are over Hostloom."""
        def with_tls(env):
            return env and dict(env, LDP_TRANSPARENT_TLS="1", LDP_TLS_CERT_FILE=self.pair[0], LDP_TLS_KEY_FILE=self.pair[1])
        return dataclasses.replace(side, server_env=with_tls(side.server_env), client_env=with_tls(side.client_env))

    def serving(self, side, core=None):
        words = ["plain", side.server, str(self.port)] if side.server_env else ["tls", side.server, str(self.port), *self.pair]
        return self.lab.program(side.wrap_server([self._program("tls_server")] + words), name="tls-server", env=side.server_env,
                                core=core)

    def _wait(self, child):
        laboratory.wait_until(lambda: "listening" in self.lab.output(child) or child.poll() is not None, "the server listens")
        if child.poll() is not None:
            raise Failure(f"tls_server ended:\n{self.lab.output(child)}{self.lab.daemon_tail()}")

    def bulk(self, side, how, seconds=3, cores=(None, None)):
        """how: "send" or "receive", what the client does. Bits per second that arrived, of one connection."""
        with self.serving(side, cores[1]) as s:
            self._wait(s)
            client = [self._program("tls_load"), "plain" if side.client_env else "tls", how, side.server, str(self.port)]
            done = self.lab.run(client + [str(seconds)], timeout=seconds + 120, env=side.client_env, core=cores[0])
        return float(done.stdout)

    def handshakes(self, side, resumed, seconds=3, cores=(None, None)):
        """Connections per second of a few clients over the kernel, each with one short request and its answer."""
        pin = [] if cores[0] is None else ["taskset", "-c", str(cores[0])]
        command = pin + [p.find("openssl"), "s_time", "-connect", f"{side.server}:{self.port}", "-tls1_3", "-www", "/",
                         "-reuse" if resumed else "-new", "-time", str(seconds)]
        with self.serving(side, cores[1]) as s:
            self._wait(s)
            begun = time.monotonic()
            clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
            try:
                texts = [c.communicate(timeout=seconds + 120) for c in clients]
            finally:
                for c in clients:
                    c.kill()
            took = time.monotonic() - begun
        counts = [re.search(r"(\d+) connections in [\d.]+s", out) for out, _ in texts]
        if not all(counts) or any(c.returncode for c in clients):
            raise Failure(f"openssl s_time: {texts}{self.lab.daemon_tail()}")
        if resumed and any(re.search(r"[t*]{3}", out) for out, _ in texts):  # r: resumed; t, *: not
            raise Failure(f"openssl s_time did not resume: {texts[0][0][:300]}")
        return sum(int(c[1]) for c in counts) / took
