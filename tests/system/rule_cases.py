#!/usr/bin/python3
"""System tests of session rules and deny lists. usage: rule_cases.py CASE"""

import os
import pathlib
import select
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from api_cases import PEER, PYTHON, SlowDownload, address, messages  # noqa: E402
from cases import expect  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402

DROP = 2**32 - 2


def app_of(m, child):
    """The index of the application that the process is."""
    return wait_until(lambda: [a["app_index"] for a in m.dump("app_dump") if child.pid in a["pids"]], "the application")[0]


def prefix(text):
    ip, length = text.split("/")
    return {"address": address(ip), "len": int(length)}


def rule(m, is_add=True, local="0.0.0.0/0", remote="0.0.0.0/0", **fields):
    return m.call("session_rule_add_del", transport_proto=0, lcl=prefix(local), rmt=prefix(remote), is_add=is_add,
                  **fields)["retval"]


def denied(lab):
    """SYNs that were dropped for a rule or the deny list."""
    return sum(int(e["count"]) for e in lab.cli("show", "errors", as_json=True)["errors"]
               if (e["node"], e["reason"]) == ("tcp4-input", "denied"))


class Knock:
    """A connect that is under way for as long as nobody answers."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((STACK_IP4, port))

    def is_answered(self):
        return bool(select.select([], [self.socket], [], 0)[1])

    def expect_silence(self, lab):
        before = denied(lab)  # it may have been counted before
        wait_until(lambda: denied(lab) > before, "another SYN is dropped", 140)
        expect(not self.is_answered(), f"answered: {self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)}")

    def expect_connection(self):
        wait_until(self.is_answered, "a SYN is answered", 140)  # the next one may be 64 s away
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        expect(error == 0, f"the connect ended with {os.strerror(error)}")
        self.socket.close()


def rules():
    """Packets and connects denied and redirected, by rule and by deny list; open connections go on."""
    with Lab() as lab, messages(lab) as m, p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
        # Ingress, denied: no answer at all, until the rule goes and the next SYN passes.
        download = SlowDownload(n)
        expect(rule(m, remote=f"{HOST_IP4}/32", lcl_port=n.port, action_index=DROP, tag="no") == 0, "add")
        knock = Knock(n.port)
        knock.expect_silence(lab)
        shown = lab.cli("show", "session", "rules", as_json=True)["rules"]
        expect([(r["remote"], r["local port"], r["action"], r["tag"]) for r in shown]
               == [(f"{HOST_IP4}/32", n.port, "drop", "no")] and shown[0]["hits"] > 0, f"shown: {shown}")
        listed = m.dump("session_rules_v2_dump")
        expect([(r["lcl_port"], r["action_index"], r["tag"]) for r in listed] == [(n.port, DROP, "no")], f"listed: {listed}")
        expect(download.finish() > 10_000_000, "a connection that was open goes on")
        expect(rule(m, is_add=False, tag="no") == 0, "del")
        knock.expect_connection()

        # The deny list; a longer prefix is an exception.
        sources = [{"rmt": prefix(f"172.{i // 256}.{i % 256}.0/24"), "action_index": DROP} for i in range(10_000)]
        sources.append({"rmt": prefix(f"{HOST_IP4}/8"), "action_index": DROP, "tag": "ten"})
        expect(m.call("session_sdl_add_del_v2", is_add=True, count=len(sources), r=sources)["retval"] == 0, "add")
        knock = Knock(n.port)
        knock.expect_silence(lab)
        expect(len(m.dump("session_sdl_v3_dump")) == len(sources), "all are listed")
        shown = lab.cli("show", "session", "sdl", HOST_IP4, as_json=True)["sources"]
        expect(shown == [{"source": "10.0.0.0/8", "action": "drop", "tag": "ten"}], f"shown: {shown}")
        lab.cli("session", "sdl", "add", f"{HOST_IP4}/32", "action", "allow")
        knock.expect_connection()
        lab.cli("session", "sdl", "del", f"{HOST_IP4}/32")
        knock = Knock(n.port)
        knock.expect_silence(lab)
        expect(m.call("session_sdl_add_del_v2", is_add=False, count=len(sources), r=sources)["retval"] == 0, "del")
        knock.expect_connection()
        expect(m.dump("session_sdl_v3_dump") == [], "the list is empty")

        # Ingress, redirected: nginx's port echoes.
        echo = lab.spawn(PEER + ["serve", STACK_IP4, "7000"], name="echo", env=lab.preload())
        wait_until(lambda: "listening" in lab.output(echo) or echo.poll() is not None, "the other program listens")
        index = app_of(m, echo)
        expect(rule(m, lcl_port=n.port, action_index=index) == 0, "redirect")
        with socket.create_connection((STACK_IP4, n.port), timeout=120) as s:
            s.sendall(b"echo this")
            expect(s.recv(100) == b"echo this", "the other program has the connection")
            expect(rule(m, is_add=False, lcl_port=n.port) == 0, "del")
            s.sendall(b"and that")
            expect(s.recv(100) == b"and that", "and keeps it")
        p.curl_matches(lab, n, "1k")

        # Egress: refused, and redirected without a packet.
        lab.cli("session", "rule", "add", "proto", "tcp", "0.0.0.0/0", "0", f"{STACK_IP4}/32", str(n.port), "action", "drop",
                "scope", "local")
        tried = lab.run([PYTHON, "-c", f"import socket; socket.create_connection(('{STACK_IP4}', {n.port}))"], check=False,
                        env=lab.preload())
        expect(tried.returncode != 0 and b"ConnectionRefusedError" in tried.stderr + tried.stdout, f"tried: {tried}")
        p.curl_matches(lab, n, "1k")  # not from a program of ours
        lab.cli("session", "rule", "add", "proto", "tcp", "0.0.0.0/0", "0", f"{STACK_IP4}/32", str(n.port), "action",
                str(index), "scope", "local")
        lab.run(PEER + ["talk", STACK_IP4, str(n.port)], timeout=240, env=lab.preload())
        lab.cli("session", "rule", "del", "proto", "tcp", "0.0.0.0/0", "0", f"{STACK_IP4}/32", str(n.port), "scope", "local")
        p.curl_matches(lab, n, "1k", env=lab.preload())
        lab.stop(echo)
        for words in ("rule add proto smoke", "rule add proto tcp 10.0.0.0/8 1 10.0.0.0/8 action drop", "sdl add 10.0.0.0/33",
                      "rule add proto tcp 0.0.0.0/0 0 0.0.0.0/0 0 action 77", "sdl del 10.0.0.0/8", "rule del proto tcp",
                      "rule add proto tcp 0.0.0.0/0 0 0.0.0.0/0 0", "rule del proto tcp tag x"):
            try:
                lab.cli("session", *words.split())
            except Failure:
                continue
            raise Failure(f"session {words} was taken")


if __name__ == "__main__":
    laboratory.run_case(rules)
