#!/usr/bin/python3
"""A daemon that starts with nothing is configured, used, watched and drained by one Python session, without a command line.

What startup.conf's start-up commands and the CLI do, the API does: interfaces, addresses, routes, neighbours, plugins,
sessions, congestion control, traces, captures, the log, statistics, and the end.
"""

import ipaddress
import os
import pathlib
import socket
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests/lab"))
import lab as laboratory  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402

import hostloom  # noqa: E402

FAR = ipaddress.ip_network("198.51.100.0/24")
BUILD = pathlib.Path(os.environ["HOSTLOOM_BUILD"])


def expect(condition, message):
    if not condition:
        raise Failure(message)


def refused(reason, call):
    try:
        call()
    except hostloom.ApiError as e:
        return expect(e.reason == reason, f"{e.reason}, not {reason}: {e}")
    raise Failure(f"{reason} was not said")


def interfaces(h):
    """A TAP, its address and state, and who is told of it."""
    with h.events.interface() as events:
        tap = h.api.tap_create_v3(host_if_name_set=True, host_if_name="tap0", host_ip4_prefix_set=True,
                                  host_ip4_prefix=f"{HOST_IP4}/24").sw_if_index
        h.api.sw_interface_add_del_address(sw_if_index=tap, prefix=f"{STACK_IP4}/24")
        h.api.sw_interface_add_del_address(sw_if_index=tap, prefix="fd88::2/64")
        h.api.sw_interface_set_flags(sw_if_index=tap, flags=h.types.IfStatusFlags.ADMIN_UP)
        while True:
            e = events.get(timeout=120)
            if e.sw_if_index == tap and h.types.IfStatusFlags.ADMIN_UP in e.flags:
                break
    h.api.sw_interface_set_mtu(sw_if_index=tap, mtu=[1400, 0, 0, 0])
    h.api.sw_interface_tag_add_del(sw_if_index=tap, tag="uplink")
    shown = {i.interface_name: i for i in h.api.sw_interface_dump()}["tap0"]
    expect(shown.sw_if_index == tap and shown.mtu[0] == 1400 and shown.tag == "uplink", f"{shown}")
    expect(h.types.IfStatusFlags.ADMIN_UP in shown.flags, f"{shown.flags!r}")
    addresses = {a.prefix for v6 in (False, True) for a in h.api.ip_address_dump(sw_if_index=tap, is_ipv6=v6)}
    expect(ipaddress.ip_interface(f"{STACK_IP4}/24") in addresses and ipaddress.ip_interface("fd88::2/64") in addresses,
           f"{addresses}")
    expect([t.host_if_name for t in h.api.sw_interface_tap_v2_dump()] == ["tap0"], "the TAP's host side")
    loop = h.api.create_loopback().sw_if_index
    h.api.delete_loopback(sw_if_index=loop)
    refused("INVALID_SW_IF_INDEX", lambda: h.api.sw_interface_set_flags(sw_if_index=loop, flags=0))
    return tap


def routes_and_neighbours(h, tap):
    h.api.ip_table_add_del(table={"table_id": 7, "name": "blue"})
    expect(any(t.table.table_id == 7 for t in h.api.ip_table_dump()), "the table is not listed")
    h.api.ip_table_add_del(is_add=False, table={"table_id": 7})
    path = {"sw_if_index": tap, "nh": {"address": HOST_IP4}}
    h.api.ip_route_add_del(route={"prefix": FAR, "paths": [path]})
    found = h.api.ip_route_lookup(prefix="198.51.100.9/32").route
    expect(found.prefix == FAR and found.paths[0].sw_if_index == tap, f"{found}")
    expect(found.paths[0].nh.address.ip4 == ipaddress.ip_address(HOST_IP4), f"{found.paths[0].nh}")
    expect(FAR in {r.route.prefix for r in h.api.ip_route_dump(table={})}, "the route is not listed")
    h.api.ip_route_add_del(is_add=False, route={"prefix": FAR, "paths": [path]})
    expect(FAR not in {r.route.prefix for r in h.api.ip_route_dump(table={})}, "the route is still listed")
    refused("NO_SUCH_FIB", lambda: h.api.ip_route_add_del(route={"table_id": 99, "prefix": FAR, "paths": [path]}))

    still = {"sw_if_index": tap, "flags": h.types.IpNeighborFlags.STATIC, "mac_address": "02:00:00:00:00:99",
             "ip_address": "10.88.0.99"}
    h.api.ip_neighbor_add_del(neighbor=still)
    known = {n.neighbor.ip_address: n.neighbor for n in h.api.ip_neighbor_dump(af="ADDRESS_IP4")}
    expect(known[ipaddress.ip_address("10.88.0.99")].mac_address == "02:00:00:00:00:99", f"{known}")
    h.api.ip_neighbor_add_del(is_add=False, neighbor=still)


def drivers(h, lab):
    """What memif and af-packet say of the other end, and count."""
    memif = h.api.memif_create_v2(id=5).sw_if_index  # as master, by the daemon's own socket
    link, = h.api.memif_link_dump(sw_if_index=memif)
    expect(link.sw_if_index == memif and not link.is_connected and (link.peer, link.num_connected) == ("", 0), f"{link}")
    c = h.api.memif_counters_get(sw_if_index=memif)
    expect((c.held, c.ring_full, c.no_peer, c.rx_packets) == (0, 0, 0, 0), f"{c}")
    h.api.memif_delete(sw_if_index=memif)
    expect(h.api.memif_link_dump() == [], "it is still listed")
    refused("INVALID_SW_IF_INDEX", lambda: h.api.memif_counters_get(sw_if_index=memif))
    lab.run(["ip", "link", "add", "py0", "mtu", "4000", "type", "veth", "peer", "name", "py1"])
    try:
        packet = h.api.af_packet_create_v3(host_if_name="py0", use_random_hw_addr=True).sw_if_index
        host, = h.api.af_packet_host_dump(sw_if_index=packet)
        # Its carrier goes when the kernel has seen to it that the other end is down.
        expect((host.made_for, host.host_mtu, host.is_there, host.is_up, host.is_qdisc_bypassed) ==
               ("py0", 4000, True, True, False), f"{host}")
        expect(h.api.af_packet_counters_get(sw_if_index=packet).socket_full == 0, "nothing was sent")
        refused("INVALID_SW_IF_INDEX", lambda: h.api.af_packet_counters_get(sw_if_index=memif + 100))
        h.api.af_packet_delete(host_if_name="py0")
    finally:
        lab.run(["ip", "link", "del", "py0"])


def plugins(h, path):
    states = {p.name: p.state for p in h.api.plugin_dump()}
    expect(states.get("tcp") == h.types.PluginState.RUNNING, f"{states}")
    memo = BUILD / "tests/unit/core/plugin/api_plugins/memo.so"
    name = h.api.plugin_load(plugin=str(memo)).name
    with hostloom.connect(path) as later:  # its messages are there for who connects now
        later.api.memo_set(index=1, text="loaded")
        expect([m.text for m in later.api.memo_dump()] == ["loaded"], f"{name}'s messages")
    refused("VALUE_EXIST", lambda: h.api.plugin_load(plugin=str(memo)))


def packets(h, lab, tap):
    """What a ping leaves: a trace, a capture, counters."""
    rx = h.stats["/if/rx"].sum(tap)
    h.api.packet_trace_add(node="ip4-input", packets=10)
    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="hostloom-", suffix=".pcap") as capture:
        h.api.pcap_trace_on(capture_rx=True, max_packets=100, sw_if_index=tap, filename=os.path.basename(capture.name))
        lab.run(["ping", "-c", "3", "-i", "0.2", STACK_IP4])
        h.api.pcap_trace_off()
        expect(os.stat(capture.name).st_size > 3 * 98, "the capture is empty")
    visits = h.api.packet_trace_dump()
    expect({"ip4-input", "ip4-lookup"} <= {v.node for v in visits}, f"{ {v.node for v in visits} }")
    h.api.packet_trace_clear()
    expect(h.api.packet_trace_dump() == [], "the trace is still there")
    wait_until(lambda: h.stats["/if/rx"].sum(tap).packets >= rx.packets + 3, "the packets are counted")


def sessions(h, lab):
    h.api.session_enable_disable(is_enable=False)
    h.api.session_enable_disable()
    before = {c.name for c in h.api.cc_dump() if c.is_default}
    h.api.cc_set_default(name="newreno")
    expect({c.name for c in h.api.cc_dump() if c.is_default} == {"newreno"} and before, f"{before}")
    refused("NO_SUCH_ENTRY", lambda: h.api.cc_set_default(name="nonsense"))
    server = lab.spawn([sys.executable, str(HERE / "one_connection.py"), STACK_IP4, "5555"], env=lab.preload())
    lab.wait_listening(server, STACK_IP4, 5555)
    client = socket.create_connection((STACK_IP4, 5555), timeout=120)
    client.sendall(b"x" * 1000)
    expect(client.recv(1) == b"y", "no answer")
    port = client.getsockname()[1]
    (one,) = h.api.session_dump(kind=h.types.SessionKind.CONNECTION, remote_port=port)
    expect(one.local == ipaddress.ip_address(STACK_IP4) and one.remote == ipaddress.ip_address(HOST_IP4), f"{one}")
    expect(one.state == h.types.SessionState.OPEN and one.bytes_received == 1000, f"{one}")
    (tcp,) = h.api.tcp_connection_dump(remote_port=port)
    expect(tcp.session_handle == one.handle and tcp.congestion == "newreno", f"{tcp}")
    h.api.cc_set_connection(session_handle=one.handle, name="cubic")
    expect(h.api.tcp_connection_dump(remote_port=port)[0].congestion == "cubic", "it was not switched")
    expect(os.path.basename(one.app) and any(a.app == one.app and server.pid in a.pids for a in h.api.app_dump()),
           f"{h.api.app_dump()}")
    return client, one


def log(h):
    level = h.api.log_level_get().level
    h.api.log_level_set(level=h.types.LogLevel.DEBUG)
    expect(h.api.log_level_get().level == h.types.LogLevel.DEBUG, "the level is not set")
    h.api.log_level_set(level=level)


def drain(h, client, session):
    """The last connection is reset; then the daemon is empty, and says so."""
    with h.events.drain() as events:
        expect(h.api.daemon_drain().sessions >= 1, "nothing is open")
        expect(events.get(timeout=120).state == h.types.DrainState.DRAINING, "it does not drain")
        h.api.session_disconnect(handle=session.handle)
        try:
            client.settimeout(120)
            client.recv(1)
            raise Failure("the connection was not reset")
        except ConnectionResetError:
            pass
        expect(events.get(timeout=120).state == h.types.DrainState.DRAINED, "it is not empty")
    expect(h.api.daemon_drain_status().sessions == 0, "sessions are left")
    h.api.daemon_drain(enable=False)


def main():
    laboratory.enter()
    try:
        with Lab(startup=["# nothing"]) as lab:
            path = str(lab.dir / "run/api.sock")
            with hostloom.connect(path) as h:
                expect(not [i for i in h.api.sw_interface_dump() if i.interface_name.startswith("tap")], "there is a TAP")
                tap = interfaces(h)
                routes_and_neighbours(h, tap)
                drivers(h, lab)
                plugins(h, path)
                packets(h, lab, tap)
                client, session = sessions(h, lab)
                with client:
                    log(h)
                    drain(h, client, session)
                h.api.tap_delete_v2(sw_if_index=tap)
                expect(not h.api.sw_interface_tap_v2_dump(), "the TAP is still there")
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
    print("ok")


if __name__ == "__main__":
    main()
