#!/usr/bin/python3
"""System tests of the binary API: messages whose effect is seen by real programs. usage: api_cases.py CASE"""

import os
import pathlib
import shutil
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import expect, kernel_echo  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402
from messages import Messages  # noqa: E402

NO_HANDLE = 2**64 - 1
ESTABLISHED, LISTENERS, CONNECTIONS = 1, 2, 1
DRAINING, DRAINED = 1, 2
INVALID_VALUE, SESSION_CONNECT = -7, -115
PYTHON = "/usr/bin/python3"
PEER = [PYTHON, str(pathlib.Path(__file__).resolve().parent / "programs" / "through_peer.py")]


def messages(lab):
    return Messages(lab.dir / "run/api.sock")


def address(text):
    return {"af": 0, "un": socket.inet_aton(text)}


class SlowDownload:
    """A connection to nginx that is in the middle of a large answer for as long as the test wants it."""

    def __init__(self, nginx):
        self.socket = socket.create_connection((STACK_IP4, nginx.port), timeout=120)
        self.socket.sendall(b"GET /10m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.got = len(self.socket.recv(1000))
        self.local_port = self.socket.getsockname()[1]

    def finish(self):
        while part := self.socket.recv(1 << 16):
            self.got += len(part)
        self.socket.close()
        return self.got


def connections():
    """A transfer under way, listed by sessions and by TCP; its controller is switched; it is reset by handle."""
    with Lab() as lab, messages(lab) as m, p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
        names = {c["name"]: c for c in m.dump("cc_dump")}
        expect({"cubic", "newreno"} <= set(names) and names["cubic"]["is_default"], f"controllers: {names}")
        download = SlowDownload(n)
        # nginx was asked before whether it is there, and may not have closed that connection yet.
        wait_until(lambda: len(m.dump("session_dump", kind=CONNECTIONS)) == 1, "the transfer is there, alone")

        def tcp():
            found = m.dump("tcp_connection_dump", state=ESTABLISHED, remote_port=download.local_port)
            return found[0] if found else None

        def waiting():
            return [s for s in m.dump("session_dump", remote_port=download.local_port) if s["tx_fifo_fill"] > 1_000_000]

        wait_until(lambda: waiting() and tcp() and tcp()["snd_wnd"] < 2 * tcp()["snd_mss"] and tcp()["in_flight"] == 0,
                   "the transfer stands against a full window")
        c = tcp()
        expect(c["local_port"] == n.port and c["local"]["un"][:4] == socket.inet_aton(STACK_IP4), f"addresses: {c}")
        expect(c["cwnd"] > 0 and c["snd_mss"] > 500 and 0 < c["srtt"] < 5_000_000 and c["rto"] >= 200_000, f"figures: {c}")
        expect(c["bytes_acked"] > 0 and c["congestion"] == "cubic", f"figures: {c}")
        sessions = m.dump("session_dump", transport="tcp", remote_port=download.local_port,
                          remote={"address": address(HOST_IP4), "len": 32})
        expect([s["handle"] for s in sessions] == [c["session_handle"]], f"sessions: {sessions}, connection: {c}")
        expect(sessions[0]["tx_fifo_fill"] > 0 and sessions[0]["bytes_acked"] >= c["bytes_acked"], f"session: {sessions[0]}")
        apps = m.dump("app_dump")
        expect(sessions[0]["app"] in [a["app"] for a in apps] and n.child.pid, f"applications: {apps}")
        for words, listed in ((f"rmt {HOST_IP4}:{download.local_port}", 1), (f"rmt :{download.local_port}", 1), ("state open", 1),
                              (f"lcl {STACK_IP4} proto tcp", 1), (f"app {sessions[0]['app']} lcl [{STACK_IP4}]:{n.port}", 1),
                              ("rmt :9", 0), ("state closing", 0), ("app nobody", 0), ("namespace default", 1), ("worker 0", 1), (f"verbose 2 lcl {HOST_IP4}", 0)):
            found = lab.cli("show", "session", *words.split(), as_json=True)["connections"]
            expect(len(found) == listed, f"show session {words}: {found}")
        found = lab.cli("show", "session", "state", "listen", as_json=True)
        expect((len(found["listeners"]), found["connections"]) == (1, []), f"listeners: {found}")
        figures = lab.cli("show", "session", "verbose", "2", "state", "open", as_json=True)["connections"][0]
        expect(figures["acknowledged"] >= c["bytes_acked"] and figures["tx bytes"] > 0 and figures["tx fifo"] > 0
               and (figures["connection state"], figures["congestion"]) == ("established", "cubic") and figures["cwnd"] > 0
               and figures["snd_mss"] == c["snd_mss"] and "srtt" in figures["details"], f"figures: {figures}")
        for words in ("state opne", "namespace nowhere", "worker 9", "proto smoke", "rmt 10.0.0", "rmt 10.0.0.1:0", "rmt 10.0.0.1:65536", "rmt", "zzz", "verbose 3"):
            try:
                lab.cli("show", "session", *words.split())
            except Failure as refused:
                expect(words.split()[-1] in str(refused), f"show session {words}: {refused}")
            else:
                raise Failure(f"show session {words} was taken")
        listeners = m.dump("session_dump", kind=LISTENERS)
        expect([(s["local_port"], s["backlog"] > 0) for s in listeners] == [(n.port, True)], f"listeners: {listeners}")

        expect(m.call("cc_set_connection", session_handle=c["session_handle"], name="newreno")["retval"] == 0, "switch")
        expect(tcp()["congestion"] == "newreno", f"switched: {tcp()}")
        expect(m.call("cc_set_connection", session_handle=c["session_handle"], name="vegas")["retval"] == -6, "vegas")
        lab.cli("set", "congestion-control", "cubic", "session", f"{c['session_handle']:x}")
        expect(tcp()["congestion"] == "cubic", f"switched back by command: {tcp()}")
        expect(download.finish() > 10_000_000, f"only {download.got} bytes came")

        # The default is for connections that open from now on.
        expect(m.call("cc_set_default", name="newreno")["retval"] == 0, "default")
        expect("newreno" in lab.cli("show", "tcp", "config"), "show tcp config knows the default")
        download = SlowDownload(n)
        wait_until(tcp, "the second transfer is there")
        expect(tcp()["congestion"] == "newreno", f"default: {tcp()}")
        opened = {s["name"]: s["value"] for s in m.call("tcp_stats_get")["stats"]}["passive-opens"]
        expect(opened >= 2, f"passive opens: {opened}")
        handle = tcp()["session_handle"]
        lab.cli("set", "tcp", "cc-algo", "cubic")
        expect({c["name"] for c in m.dump("cc_dump") if c["is_default"]} == {"cubic"}, "default by command")
        expect(m.call("session_disconnect", handle=handle)["retval"] == 0, "disconnect")
        try:
            download.finish()
        except ConnectionResetError:
            pass
        else:
            raise Failure("the connection outlived session_disconnect")
        wait_until(lambda: m.call("session_disconnect", handle=handle)["retval"] == -148, "the handle is stale")


def datagrams():
    """Ports and numbers of UDP, as the commands list them."""
    with Lab(workers=2) as lab, messages(lab) as m:
        expect(m.dump("udp_port_dump") == [], "no sockets, no ports")
        bound = ("import socket, signal; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                 f"s.bind(('{STACK_IP4}', 7000)); t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                 f"t.connect(('{HOST_IP4}', 9)); print('port', 7000, flush=True); signal.pause()")
        with lab.program([PYTHON, "-c", bound], name="bound", env=lab.preload()) as s:
            lab.port_of(s)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
                for _ in range(3):
                    kernel.sendto(b"x", (STACK_IP4, 7000))

            def arrived():
                ports = m.dump("udp_port_dump")
                expect([(q["port"], q["sockets"]) for q in ports] == [(7000, 1)], f"ports: {ports}")
                return ports[0]["received"] == 3

            wait_until(arrived, "three datagrams are counted")
            row = m.dump("udp_port_dump")[0]
            expect((row["sent"], row["overflowed"]) == (0, 0), f"port: {row}")
            stats = m.dump("udp_stats_dump")
            expect([w["worker"] for w in stats] == [0, 1], f"workers: {stats}")
            for name in ("sockets_without_peer", "sockets_with_peer"):
                expect(sum(w[name] for w in stats) == 1, f"{name}: {stats}")
        wait_until(lambda: m.dump("udp_port_dump") == [], "the port is gone with its socket")


def drain():
    """New connections and applications are refused; what is open ends in peace, and then an event says so."""
    with Lab() as lab, messages(lab) as m, messages(lab) as listener:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
            listener.call("want_drain_events", enable=True, pid=os.getpid())
            download = SlowDownload(n)
            wait_until(lambda: len(m.dump("session_dump", kind=CONNECTIONS)) == 1, "the transfer is there, alone")
            expect(m.call("daemon_drain")["sessions"] == 1, "one session to end")
            name, event = listener.receive()
            expect((name, event["state"]) == ("drain_event", DRAINING), f"{name} {event}")
            try:
                socket.create_connection((STACK_IP4, n.port), timeout=120).close()
            except ConnectionRefusedError:
                pass
            else:
                raise Failure("a draining daemon took a new connection")
            done = lab.run([p.find("iperf3"), "-s", "-1", "-B", STACK_IP4, "-p", "5301"], check=False, timeout=120,
                           env=lab.preload(LDP_DEBUG="0"))
            status = m.call("daemon_drain_status")
            expect(done.returncode != 0 and status["refused_apps"] > 0, f"{done}, {status}")
            expect(status["state"] == DRAINING and status["refused_packets"] > 0, f"status: {status}")
            expect("draining" in lab.cli("show", "drain"), "show drain")
            expect(download.finish() > 10_000_000, f"only {download.got} bytes came")
            name, event = listener.receive()
            expect((name, event["state"], event["resets"]) == ("drain_event", DRAINED, 0), f"{name} {event}")
            lab.cli("drain", "off")
            p.curl_matches(lab, n, "1k")


def disabled():
    """The session layer is disabled and enabled: programs lose what they had, and others work afterwards."""
    with Lab() as lab, messages(lab) as m:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
            download = SlowDownload(n)
            expect(m.call("session_enable_disable", is_enable=False)["retval"] == 0, "disable")
            try:
                download.finish()
            except ConnectionResetError:
                pass
            else:
                raise Failure("the connection outlived the session layer")
            wait_until(lambda: not lab.applications(), "no application is left")
            expect("disabled" in lab.cli("show", "session"), "show session says so")
        lab.cli("session", "enable")
        with p.Nginx(lab, p.served_by_hostloom(lab), port=8081, workers=1) as n:
            p.curl_matches(lab, n, "1k")
            lab.cli("set", "log", "level", "debug")
            expect(m.call("log_level_get")["level"] == 7, "the log's level")


def attach_socket():
    """The attach socket is closed: a server that is attached goes on, no program comes; and opened again."""
    with Lab() as lab, messages(lab) as m:
        path = lab.dir / "run/app_ns_sockets/default"
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
            expect(m.call("session_sapi_enable_disable", is_enable=False)["retval"] == 0, "disable")
            expect(not path.exists(), "the socket is gone")
            expect("disabled" in lab.cli("show", "session"), "show session says so")
            p.curl_matches(lab, n, "1k")
            server = [p.find("iperf3"), "-s", "-1", "-B", STACK_IP4, "-p", "5301"]
            late = lab.run(server, check=False, timeout=120, env=lab.preload(LDP_DEBUG="0"))
            expect(late.returncode != 0 and len(lab.applications()) == 1, f"a program came: {late}")
            expect(m.call("session_sapi_enable_disable", is_enable=True)["retval"] == 0, "enable")
            expect(path.is_socket(), "the socket is back")
            with lab.program(server, env=lab.preload()):
                wait_until(lambda: len(m.dump("session_dump", kind=LISTENERS, local_port=5301)) == 1, "iperf3 listens")
            p.curl_matches(lab, n, "1k")
            lab.cli("session", "sapi", "disable")
            expect(not path.exists(), "closed by command")
            # The session layer off and on does not open it; both together are needed.
            lab.cli("session", "disable")
            lab.cli("session", "enable")
            expect(not path.exists(), "opened by session enable")
            lab.cli("session", "sapi", "enable")
            expect(path.is_socket(), "opened by command")
        with p.Nginx(lab, p.served_by_hostloom(lab), port=8081, workers=1) as n:
            p.curl_matches(lab, n, "1k")


def workers():
    """A worker of nginx is taken from it over the API; the rest serve on. Attaching over the API is refused."""
    with Lab() as lab, messages(lab) as m:
        refused = m.call("app_attach", namespace_id="default")
        expect((refused["retval"], refused["n_fds"], refused["app_index"]) == (-126, 0, 2**32 - 1), f"app_attach: {refused}")
        path = str(lab.dir / "run/app_ns_sockets/default")
        expect(path in (lab.dir / "hostloom.log").read_text(), "the log says where to attach")
        expect(m.call("application_detach")["retval"] == -118, "application_detach")
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n:
            app = wait_until(lambda: [a for a in m.dump("app_dump") if len(a["pids"]) == 3], "nginx and its workers")[0]
            def listed():
                return [w["index"] for w in lab.cli("show", "app", str(app["app_index"]), as_json=True)["workers"]]

            before = listed()
            expect(len(before) == 3, f"show app: {before}")
            victim = before[-1]  # the first is nginx itself
            for index, worker, retval in ((app["app_index"] + 9, 0, -7), (app["app_index"], 63, -8)):
                reply = m.call("app_worker_add_del", app_index=index, wrk_index=worker, is_add=False)
                expect(reply["retval"] == retval, f"{index}, {worker}: {reply}")
            reply = m.call("app_worker_add_del", app_index=app["app_index"], wrk_index=victim, is_add=False)
            expect((reply["retval"], reply["wrk_index"], reply["is_add"]) == (0, victim, False), f"removed: {reply}")
            expect(listed() == before[:-1], f"left of {before}: {listed()}")
            expect(m.call("app_worker_add_del", app_index=app["app_index"], wrk_index=victim, is_add=False)["retval"] == -8,
                   "removed twice")
            for _ in range(20):
                p.curl_matches(lab, n, "1k")


def plugins():
    """A plugin is loaded while a transfer runs, and its messages are there for who connects then."""
    with Lab(config_extra="plugins { plugin cc-newreno { disable } }") as lab:
        with messages(lab) as m, p.Nginx(lab, p.served_by_hostloom(lab), workers=1) as n:
            found = {q["path"].rsplit("/", 1)[-1]: q for q in m.dump("plugin_dump")}
            expect(found["cc-newreno.so"]["state"] == 1 and found["tcp.so"]["state"] == 4, f"plugins: {found}")
            download = SlowDownload(n)
            reply = m.call("plugin_load", plugin="cc-newreno")
            expect((reply["retval"], reply["reason"]) == (0, ""), f"plugin_load: {reply}")
            expect("newreno" in {c["name"] for c in m.dump("cc_dump")}, "the controller is registered")
            sessions = m.dump("session_dump", remote_port=download.local_port)
            expect(m.call("cc_set_connection", session_handle=sessions[0]["handle"], name="newreno")["retval"] == 0,
                   "the connection uses it")
            bad = lab.dir / "bad.so"
            shutil.copy(lab.build / "lib/hostloom/plugins/tcp.so", bad)
            for plugin, retval, needle in ((str(bad), -144, "has the name 'tcp'"), ("nowhere", -6, "nowhere"),
                                           ("cc-newreno", -81, "loaded before"), ("\n", -7, "control character")):
                reply = m.call("plugin_load", plugin=plugin)
                expect(reply["retval"] == retval and needle in reply["reason"], f"plugin_load {plugin!r}: {reply}")
            expect(download.finish() > 10_000_000, f"only {download.got} bytes came")


def taps():
    """A TAP made, listed and removed over the API; the kernel sees it."""
    with Lab() as lab, messages(lab) as m:
        def kernel():
            return {name for _, name in socket.if_nameindex()}

        made = m.call("tap_create_v3", id=5, num_rx_queues=0, num_tx_queues=0, tap_flags=1, host_if_name_set=True,
                      host_if_name="made5", host_ip4_prefix_set=True, host_mtu_set=True, host_mtu_size=1400,
                      host_ip4_prefix={"address": socket.inet_aton("10.77.0.1"), "len": 24},
                      host_mac_addr_set=True, host_mac_addr=bytes.fromhex("02aabbccddee"))
        expect(made["retval"] == 0 and "made5" in kernel(), f"tap_create_v3: {made}, {kernel()}")
        expect("10.77.0.1/24" in lab.run(["ip", "addr", "show", "made5"]).stdout.decode(), "its address")
        all_taps = {t["dev_name"]: t for t in m.dump("sw_interface_tap_v2_dump")}
        tap = all_taps["tap5"]
        expect(set(all_taps) == {"tap0", "tap5"} and tap["sw_if_index"] == made["sw_if_index"], f"dump: {all_taps}")
        expect((tap["id"], tap["host_if_name"], tap["host_mtu_size"], tap["tap_flags"]) == (5, "made5", 1400, 3), f"{tap}")
        expect(tap["host_mac_addr"] == bytes.fromhex("02aabbccddee") and tap["host_ip4_prefix"]["len"] == 24, f"{tap}")
        expect(len(m.dump("sw_interface_tap_v2_dump", sw_if_index=made["sw_if_index"])) == 1, "one of them")
        for fields, retval in (({"id": 5}, -81), ({"id": 2_000_000}, -7), ({"tap_flags": 16}, -126), ({"tap_flags": 4}, -126),
                               ({"num_rx_queues": 65}, -7), ({"host_mtu_set": True}, -7),
                               ({"host_if_name_set": True, "host_if_name": "a/b"}, -7),
                               ({"use_random_mac": False, "mac_address": b"\xff" * 6}, -7),
                               ({"host_ip4_prefix_set": True, "host_ip4_prefix": {"address": b"\x0a\0\0\1", "len": 33}}, -7),
                               ({"host_namespace_set": True, "host_namespace": "nowhere"}, -6),
                               ({"host_bridge_set": True, "host_bridge": "nobridge"}, -6)):
            before = kernel()
            refused = m.call("tap_create_v3", **fields)
            expect(refused["retval"] == retval and refused["sw_if_index"] == 2**32 - 1, f"{fields}: {refused}")
            expect(kernel() == before, f"{fields} left something behind: {kernel() - before}")
        expect(m.call("tap_delete_v2", sw_if_index=made["sw_if_index"])["retval"] == 0, "delete")
        expect("made5" not in kernel(), "it is gone")
        for index in (made["sw_if_index"], 2**32 - 1):
            expect(m.call("tap_delete_v2", sw_if_index=index)["retval"] == -2, f"delete of {index}")


def capture():
    """pcap_trace_on and the packet trace, of packets that ping sends."""
    with Lab() as lab, messages(lab) as m:
        name = f"hostloom-capture-{lab.dir.name}"
        path = pathlib.Path("/tmp") / name
        tap = m.dump("sw_interface_tap_v2_dump")[0]["sw_if_index"]
        try:
            on = {"capture_rx": True, "capture_tx": True, "filename": name, "max_bytes_per_packet": 60}
            expect(m.call("pcap_trace_on", sw_if_index=99, **on)["retval"] == -2, "interface 99")
            expect(m.call("packet_trace_add", node="tap-input", packets=2)["retval"] == 0, "trace")
            expect(m.call("pcap_trace_on", sw_if_index=tap, **on)["retval"] == 0, "pcap_trace_on")
            lab.run(["ping", "-c", "2", "-i", "0.2", "-s", "500", STACK_IP4])
            expect(m.call("pcap_trace_off")["retval"] == 0, "pcap_trace_off")
            data = path.read_bytes()
            magic, _, _, _, _, snap, link = struct.unpack_from("=IHHiIII", data)
            expect((magic, snap, link) == (0xA1B23C4D, 60, 1), "the file's header")
            echoes, at = {8: 0, 0: 0}, 24
            while at < len(data):
                _, _, kept, length = struct.unpack_from("=IIII", data, at)
                packet = data[at + 16:at + 16 + kept]
                if packet[12:14] == b"\x08\0" and packet[23] == 1:
                    expect((kept, length) == (60, 542), f"an echo of {length} bytes, {kept} kept")
                    echoes[packet[34]] += 1
                at += 16 + kept
            expect(echoes == {8: 2, 0: 2}, f"echo requests and replies in the file: {echoes}")
        finally:
            path.unlink(missing_ok=True)
        visits = m.dump("packet_trace_dump")
        expect({v["packet"] for v in visits} == {0, 1} and visits[0]["node"] == "tap-input", f"trace: {visits}")


def performance():
    """Performance server and client of one daemon; a run ends with the client that waits for it."""
    with Lab() as lab, messages(lab) as m:
        uri = f"tcp://{STACK_IP4}/1234"
        expect(m.call("perf_server_add_del", uri=uri, fifo_size=1 << 20)["retval"] == 0, "perf_server_add_del")
        expect(m.call("perf_server_add_del", uri=uri)["retval"] != 0, "the same again")
        run = m.call("perf_client_run", uri=uri, bytes=5_000_000, n_clients=4, echo_bytes=True, fifo_size=1 << 20)
        expect((run["retval"], run["connections"], run["failed"], run["unfinished"], run["mismatched"]) == (0, 4, 0, 0, 0), f"{run}")
        expect(run["bytes_sent"] == run["bytes_received"] == 20_000_000 and run["seconds"] > 0, f"{run}")

        def server():
            found = m.dump("perf_server_dump")
            expect([s["uri"] for s in found] == [uri], f"servers: {found}")
            return found[0]

        wait_until(lambda: server()["open"] == 0, "the server sees the ends")
        expect((server()["connections"], server()["bytes_received"], server()["bytes_sent"]) == (4, 20_000_000, 20_000_000), f"{server()}")
        run = m.call("perf_client_run", uri=f"tcp://{HOST_IP4}/9", bytes=1)
        expect((run["retval"], run["failed"]) == (SESSION_CONNECT, 1), f"nobody listens there: {run}")
        for fields in ({"uri": "nowhere"}, {"uri": uri, "run_time": 1, "bytes": 1}, {"uri": uri, "n_clients": 0}, {"uri": uri, "fifo_size": 1}):
            run = m.call("perf_client_run", **fields)
            expect(run["retval"] == INVALID_VALUE, f"{fields}: {run}")

        with messages(lab) as other:
            other.request("perf_client_run", uri=uri, run_time=600, n_clients=3)
            wait_until(lambda: server()["open"] == 3, "a run is under way")
        wait_until(lambda: server()["open"] == 0, "the run has ended with its client")
        wait_until(lambda: [a["name"] for a in lab.applications()] == [f"perf server {uri}"], "no application of a run is left")
        expect(m.call("perf_server_add_del", is_add=False, uri=uri)["retval"] == 0, "the server's end")
        expect(m.dump("perf_server_dump") == [] and not laboratory.can_connect(STACK_IP4, 1234), "it is gone")


def perf_runs():
    """Perf clients that receive, make round trips and keep to a rate: both ends count the same, and a slow link is seen."""
    with Lab(config_extra="tcp { max-gso-size 3000 }") as lab, messages(lab) as m:
        perf, source = f"tcp://{STACK_IP4}/1234", f"tcp://{STACK_IP4}/19"
        expect(m.call("perf_server_add_del_v2", kind=0, uri=perf)["retval"] == 0, "a perf server")
        expect(m.call("perf_server_add_del_v2", kind=2, uri=source)["retval"] == 0, "a source")
        expect([s["uri"] for s in m.dump("perf_server_dump")] == [perf], "sources are not of the first version")

        def server(uri):
            return next(s for s in m.dump("perf_server_v2_dump") if s["uri"] == uri)

        def run(**fields):
            reply = m.call("perf_client_run_v2", **fields)
            expect([reply[k] for k in ("retval", "failed", "reset", "unfinished", "mismatched")] == [0] * 5, f"{fields}: {reply}")
            wait_until(lambda: server(fields["uri"])["open"] == 0, "the server sees the ends")
            return reply

        got = run(uri=source, bytes=2_000_000, n_clients=3, reverse=True, verify=True)
        expect(got["connections"] == 3 and got["bytes_sent"] == 0 and got["bytes_received"] >= 6_000_000, f"{got}")
        expect(server(source)["bytes_sent"] == got["bytes_received"], f"{server(source)}: {got}")
        with socket.create_connection((STACK_IP4, 19), timeout=120) as s:
            left = 100_000
            while left > 0:
                piece = s.recv(left)
                expect(piece, f"a peer of the kernel receives: {left} bytes are missing")
                left -= len(piece)

        got = run(uri=perf, requests=20, n_clients=8, over=1, request=100, response=3000, verify=True)
        expect((got["bytes_sent"], got["bytes_received"]) == (8 * (24 + 20 * 100), 8 * 20 * 3000), f"{got}")
        expect((server(perf)["bytes_received"], server(perf)["bytes_sent"]) == (got["bytes_sent"], got["bytes_received"]), f"{got}")
        times = got["round_trip"]
        expect((got["connect"]["count"], times["count"]) == (8, 160), f"{got}")
        expect(0 < times["p50"] <= times["p99"] <= times["p999"] <= times["max"], f"{times}")

        said = lab.cli("perf", "client", "uri", perf, "run-time", "2", "rate", "1m", "nclients", "4", as_json=True)
        expect(0 < said["bytes sent"] <= (2 << 20) + (1 << 17) and said["unfinished"] == 0, f"{said}")  # 100 ms more, when late
        expect(m.call("perf_client_run_v2", uri=perf, reverse=True, request=1)["retval"] == INVALID_VALUE, "reverse requests")

        lab.cli(*"set nsim delay 20 ms bandwidth 1 gbit packet-size 1500".split())
        lab.cli(*"nsim output-feature enable-disable tap0".split())

        def against_the_kernel(*options):
            with kernel_echo() as port:
                return lab.cli("perf", "client", "uri", f"tcp://{HOST_IP4}/{port}", "echo-bytes", *options, as_json=True)

        said = against_the_kernel("request", "64", "requests", "5")
        rows = {r["of"]: r for r in said["latency"]}
        expect(rows["round trip"]["count"] == 5 and said["round trips"] == 5, f"{said}")
        expect(all(r["min ns"] >= 20_000_000 for r in rows.values()), f"faster than the link: {rows}")
        lab.cli(*"set nsim delay 1 ms bandwidth 1 gbit drop-fraction 0.02 seed 1".split())
        said = against_the_kernel("bytes", "2m")
        expect(said["bytes received"] == 2 << 20 and said["segments retransmitted"] > 0, f"{said}")


if __name__ == "__main__":
    laboratory.run_case(connections, datagrams, drain, disabled, attach_socket, workers, plugins, taps, capture, performance,
                        perf_runs)
