#!/usr/bin/python3
"""System tests of datagrams: real programs, over Hostloom and the kernel. usage: udp_cases.py CASE"""

import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Lab, wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent / "programs"


def port_of(lab, server):
    wait_until(lambda: "port" in lab.output(server) or server.poll() is not None, "the echo server is bound")
    found = re.search(r"port (\d+)", lab.output(server))
    expect(found, f"the echo server ended:\n{lab.output(server)}{lab.daemon_tail()}")
    return found[1]


def errors(lab, node):
    """The counters of a node, by name."""
    return {e["reason"]: int(e["count"]) for e in lab.cli("show", "errors", as_json=True)["errors"] if e["node"] == node}


def workers():
    """The same with two workers: a session lives on one, and what arrives on the other is handed off."""
    programs(2)


def programs(n_workers=1):
    """Python's datagram sockets: a client over Hostloom with a server of the kernel, and the other way round."""
    with Lab(workers=n_workers) as lab:
        for stack, host in ((STACK_IP4, HOST_IP4), (STACK_IP6, HOST_IP6)):
            for server, server_env, client_env in ((host, None, lab.preload()), (stack, lab.preload(), None)):
                echo = [PYTHON, str(HERE / "datagram_echo.py"), server, "0"]
                with lab.program(echo, name="echo", env=server_env) as s:
                    client = [PYTHON, str(HERE / "datagrams.py"), server, port_of(lab, s), "20000"]
                    lab.run(client, env=client_env, timeout=90)
        # It was Hostloom that did all this.
        for family in "46":
            for node, reason in (("input", "delivered"), ("input", "no-port"), ("output", "sent"), ("error", "refused")):
                seen = errors(lab, f"udp{family}-{node}")
                expect(seen.get(reason, 0) > 0, f"udp{family}-{node}: {seen}")
        # What is larger than the MTU went and came in fragments.
        for node, reason in (("ip4-rewrite", "fragmented"), ("ip6-fragment", "fragmented"),
                             ("ip4-reassembly", "reassembled"), ("ip6-reassembly", "reassembled")):
            expect(errors(lab, node).get(reason, 0) > 0, f"nothing was {reason} by {node}")
        if n_workers > 1:
            expect(errors(lab, "udp4-input").get("handed-off", 0) > 0, "nothing was handed off")
        # On any address, and one that is the kernel's alone.
        with lab.program([PYTHON, str(HERE / "datagram_echo.py"), "0.0.0.0", "7777"], name="any", env=lab.preload()) as s:
            port_of(lab, s)
            lab.run([PYTHON, str(HERE / "datagrams.py"), STACK_IP4, "7777", "1400"], timeout=90)
        with lab.program([PYTHON, str(HERE / "datagram_echo.py"), "127.0.0.1", "0"], name="loopback",
                         env=lab.preload()) as s:
            lab.run([PYTHON, str(HERE / "datagrams.py"), "127.0.0.1", port_of(lab, s), "5000"], env=lab.preload(),
                    timeout=90)
        expect_reclaimed(lab)


def without_plugin():
    """A daemon without UDP: datagram sockets are the kernel's, and streams are not."""
    with Lab(config_extra="plugins { plugin udp.so { disable } }") as lab:
        with lab.program([PYTHON, str(HERE / "datagram_echo.py"), HOST_IP4, "0"], name="echo", env=lab.preload()) as s:
            lab.run([PYTHON, str(HERE / "datagrams.py"), HOST_IP4, port_of(lab, s), "5000"], env=lab.preload(), timeout=90)
        lab.run([PYTHON, str(HERE / "echo_blocking.py"), STACK_IP4, HOST_IP4], env=lab.preload(), timeout=60)
        expect_reclaimed(lab)


def iperf3():
    """iperf3 -u: its server connects the socket that got the first datagram, and binds the next one to the same port."""
    with Lab() as lab:
        for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
            server = [p.find("iperf3"), "-s", "-1", "-B", side.server, "-p", "5201", "--forceflush"]
            with lab.program(server, name="iperf3-server", env=side.server_env) as s:
                wait_until(lambda: "listening" in lab.output(s) or s.poll() is not None, "iperf3 server listens")
                client = [p.find("iperf3"), "-u", "-c", side.server, "-p", "5201", "-t", "2", "-b", "5M", "-J"]
                done = lab.run(client, timeout=60, env=side.client_env, check=False)
                report = json.loads(done.stdout)
                expect("error" not in report, f"{side.name}: {report.get('error')}\n{lab.output(s)}{lab.daemon_tail()}")
                total = report["end"]["sum"]
                expect(total["packets"] > 100, f"{side.name}: only {total['packets']} datagrams")
                expect(total["lost_percent"] < 100, f"{side.name}: nothing came")
        expect_reclaimed(lab)


def overflow():
    """An application that does not read: what does not fit is dropped and seen; one that is killed leaves nothing."""
    with Lab() as lab:
        sleeper = ("import signal, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                   f"s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768); s.bind(('{STACK_IP4}', 7000)); "
                   "print('port', 7000, flush=True); signal.pause()")
        with lab.program([PYTHON, "-c", sleeper], name="sleeper", env=lab.preload()) as s:
            port_of(lab, s)
            flood = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                     f"[s.sendto(bytes(1000), ('{STACK_IP4}', 7000)) for _ in range(1000)]")

            def dropped():  # how many of a flood come as far as here is the kernel's affair
                lab.run([PYTHON, "-c", flood])
                return errors(lab, "udp4-input").get("rcvbuf-full", 0) > 100

            wait_until(dropped, "datagrams are dropped and counted")
            listed = lab.cli("show", "session", "verbose", "2")
            expect(re.search(r"rcvbuf-full [1-9]", listed), f"the session does not say so:\n{listed}")
        expect_reclaimed(lab)


if __name__ == "__main__":
    laboratory.run_case(programs, workers, without_plugin, iperf3, overflow)
