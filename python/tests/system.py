#!/usr/bin/python3
"""The package against a real daemon, in network namespaces of the test's own. usage: system.py CASE"""

import asyncio
import os
import pathlib
import re
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests/lab"))
import lab as laboratory  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402

import hostloom  # noqa: E402

EXAMPLES = HERE.parent / "examples"


def expect(condition, message):
    if not condition:
        raise Failure(message)


def refused(kind, call):
    try:
        call()
    except kind as e:
        return e
    raise Failure(f"{kind.__name__} was not raised")


def api_socket(lab):
    return str(lab.dir / "run/api.sock")


def requests():
    with Lab() as lab:
        with hostloom.connect(api_socket(lab)) as h:
            version = h.api.show_version()
            expect(version.program == "hostloom" and version.version, f"{version}")
            expect(h.api.control_ping().vpe_pid == lab.daemon.pid, "another process answers")
            threads = h.api.show_threads().thread_data
            expect(threads and threads[0].pid > 0, f"{threads}")
            lines = h.api.log_dump()
            expect(any("ready" in line.message for line in lines), f"{lines}")
            expect(isinstance(lines[0].level, h.types.LogLevel), f"{lines[0]}")
            later = h.api.log_dump(start_timestamp=lines[-1].timestamp)
            expect(0 < len(later) <= len(lines), f"{later}")
            expect(h.api.get_node_index(node_name="ip4-input").node_index > 0, "no ip4-input")
            e = refused(hostloom.ApiError, lambda: h.api.get_node_index(node_name="nonsense"))
            expect(e.reason == "NO_SUCH_NODE", f"{e}")
            expect("tap0" in h.cli("show interface"), "no tap0")
            expect("sessions" in h.cli("show session", json=True), "no sessions")
            e = refused(hostloom.CommandError, lambda: h.cli("show nonsense"))
            expect("nonsense" in e.text, f"{e}")
            # The daemon tells each stream of what it asked for, and that alone.
            tap = next(i.sw_if_index for i in h.api.sw_interface_dump() if i.interface_name == "tap0")
            with h.events.ip_neighbor(ip="10.88.0.77") as one, h.events.ip_neighbor(sw_if_index=tap) as all_of_them:
                for last in (76, 77, 78):
                    h.api.ip_neighbor_add_del(is_add=True, neighbor={"sw_if_index": tap, "mac_address": f"02:00:00:00:00:{last}",
                                                                    "ip_address": f"10.88.0.{last}"})
                told = []
                while len(told) < 3:  # the kernel may make itself known meanwhile
                    address = str(all_of_them.get(timeout=120).neighbor.ip_address)
                    told += [address] if address.startswith("10.88.0.7") else []
                expect(told == [f"10.88.0.{last}" for last in (76, 77, 78)], f"{told}")
                event = one.get(timeout=120)
                expect(str(event.neighbor.ip_address) == "10.88.0.77" and event.pid == os.getpid(), f"{event}")
                refused(hostloom.TimeoutError, lambda: one.get(timeout=0))
            # Everything that the daemon describes can be asked for, and says what it is.
            for name in h.api:
                expect(h.api[name].__doc__ and h.api[name].__signature__, name)

        async def side_by_side():
            async with hostloom.aio.connect(api_socket(lab)) as a:
                many = await asyncio.gather(*(a.api.control_ping() for _ in range(200)), a.cli("show version"))
                expect(all(p.vpe_pid == lab.daemon.pid for p in many[:200]), "a ping was lost")
        asyncio.run(side_by_side())

        h = hostloom.connect(api_socket(lab))
        lab.stop(lab.daemon)
        refused(hostloom.ClosedError, h.api.show_version)
        refused(hostloom.ConnectError, lambda: hostloom.connect(api_socket(lab)))
        (lab.dir / "hostloom.log").unlink()  # the new one's `ready` is waited for
        lab.start_daemon()
        with hostloom.connect(api_socket(lab)) as again:
            expect(again.api.show_version() == version, "another version")


def stats():
    with Lab() as lab, hostloom.connect(api_socket(lab)) as h:
        beat = h.stats["/sys/heartbeat"]
        wait_until(lambda: h.stats["/sys/heartbeat"] > beat, "the heartbeat goes on")
        expect(h.stats.heartbeat() >= beat, "the heartbeat goes back")
        sessions = h.stats["/sys/session/*"]
        expect(sessions and all(name.startswith("/sys/session/") for name in sessions), f"{sessions}")
        expect(set(sessions) <= set(h.stats) and len(h.stats) > len(sessions), "names do not agree")
        expect("tap0" in h.stats["/if/names"], f"{h.stats['/if/names']}")
        index = h.stats["/if/names"].index("tap0")
        before = h.stats["/if/rx"].sum(index)
        lab.run(["ping", "-c", "3", "-i", "0.2", STACK_IP4])
        wait_until(lambda: h.stats["/if/rx"].sum(index).packets >= before.packets + 3, "packets are counted")
        try:
            h.stats["/no/such/name"]
        except KeyError:
            pass
        else:
            raise Failure("a name that does not exist has a value")
        expect("/no/such/name" not in h.stats and h.stats["/no/such/*"] == {}, "a name that does not exist is there")
        refused(hostloom.ConnectError, lambda: hostloom.Stats(str(lab.dir / "none.sock")))
        # What was mapped stays readable when the daemon has gone; it only stands still.
        lab.stop(lab.daemon)
        expect(h.stats["/sys/heartbeat"] == h.stats["/sys/heartbeat"], "a stopped daemon's heartbeat goes on")


def plugin():
    """A plugin that this package was not built with: its messages, documentation and events are there all the same."""
    memo = pathlib.Path(os.environ["HOSTLOOM_BUILD"]) / "tests/unit/core/plugin/api_plugins/memo.so"
    with Lab() as lab:
        with hostloom.connect(api_socket(lab)) as early:
            expect("memo_set" not in early.api, "it is there before it was loaded")
            early.cli(f"plugin load {memo}")
        with hostloom.connect(api_socket(lab)) as h, hostloom.connect(api_socket(lab)) as other:
            expect("Keeps a text" in h.api.memo_set.__doc__, h.api.memo_set.__doc__)
            with h.events.memo() as events:
                other.api.memo_set(index=7, text="seven")
                other.api.memo_set(index=99, text="last")
                got = [events.get(timeout=120), next(events)]
                expect([e.index for e in got] == [7, 99], f"{got}")
                expect(got[0].pid == os.getpid(), f"{got}")
            other.api.memo_set(index=1, text="nobody listens")
            expect([(m.index, m.text) for m in h.api.memo_dump()] ==
                   [(1, "nobody listens"), (7, "seven"), (99, "last")], f"{h.api.memo_dump()}")
            e = refused(hostloom.ApiError, lambda: h.api.memo_set(index=100, text="x"))
            expect(e.reason == "INVALID_VALUE", f"{e}")

        async def listen():
            async with hostloom.aio.connect(api_socket(lab)) as a:
                async with a.events.memo() as events:
                    await asyncio.gather(*(a.api.memo_set(index=i, text="x") for i in range(50)))
                    seen = [(await events.get(timeout=120)).index for _ in range(50)]
                    expect(sorted(seen) == list(range(50)), f"{seen}")
        asyncio.run(listen())


def two_daemons():
    with Lab(daemon=False) as lab:
        done = lab.run([sys.executable, str(EXAMPLES / "two_daemons.py"), "--prefix", str(lab.build), "--megabytes", "20"],
                       env=dict(os.environ))
        out = done.stdout.decode()
        expect("20000000 bytes arrived as they were sent" in out, out)
        for side in ("left", "right"):
            expect(f"{side}: hostloom" in out, out)


def session_table():
    with Lab() as lab:
        server = lab.spawn([sys.executable, str(HERE / "one_connection.py"), STACK_IP4, "5555"], env=lab.preload())
        lab.wait_listening(server, STACK_IP4, 5555)
        import socket
        with socket.create_connection((STACK_IP4, 5555), timeout=120) as client:
            client.sendall(b"x" * 1000)
            expect(client.recv(1) == b"y", "no answer")
            shown = lab.run([sys.executable, str(EXAMPLES / "session_table.py"), api_socket(lab), "--once"],
                            env=dict(os.environ)).stdout.decode()
            expect(f"{STACK_IP4}:5555" in shown and f"{HOST_IP4}:{client.getsockname()[1]}" in shown, shown)
            expect(" open " in shown, shown)
            # Live: each time that it looks, until the daemon goes away.
            live = lab.spawn([sys.executable, "-u", str(EXAMPLES / "session_table.py"), api_socket(lab), "--interval", "0.05"],
                             env=dict(os.environ))
            wait_until(lambda: lab.output(live).count(f"{STACK_IP4}:5555") >= 3, "the table is shown again and again")
        lab.stop(lab.daemon)
        wait_until(lambda: live.poll() is not None, "the table ends with the daemon")
        expect("the daemon has gone" in lab.output(live), lab.output(live))


def prometheus():
    with Lab() as lab:
        exporter = lab.spawn([sys.executable, "-u", str(EXAMPLES / "prometheus_exporter.py"), api_socket(lab), "--port", "0"],
                             env=dict(os.environ))
        url = wait_until(lambda: re.search(r"http://\S+", lab.output(exporter)), "the exporter listens")[0]

        def scrape():
            with urllib.request.urlopen(url, timeout=120) as answer:
                lines = answer.read().decode().splitlines()
            return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

        first = scrape()
        expect(first["hostloom_up"] == 1 and first["hostloom_sys_session_sessions_total"] == 0, f"{first}")
        packets = 'hostloom_if_rx_packets_total{interface="tap0"}'
        lab.run(["ping", "-c", "3", "-i", "0.2", STACK_IP4])
        wait_until(lambda: scrape()[packets] >= first[packets] + 3, "packets are counted")
        lab.stop(lab.daemon)
        wait_until(lambda: scrape() == {"hostloom_up": 0}, "the daemon is seen to be down")
        (lab.dir / "hostloom.log").unlink()
        lab.start_daemon()
        wait_until(lambda: scrape().get(packets) is not None, "the new daemon is found")


if __name__ == "__main__":
    laboratory.run_case(requests, stats, plugin, two_daemons, session_table, prometheus)
