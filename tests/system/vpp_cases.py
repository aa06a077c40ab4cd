#!/usr/bin/python3
"""System tests of the binary API: a client that is written as one for VPP, against a running daemon.
usage: vpp_cases.py CASE"""

import os
import pathlib
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Failure, Lab, wait_until  # noqa: E402
from vpp_client import (ANY, CRCS, DROP, IP4, IP6, LOCAL, NORMAL, Closed, VppClient, api_address, prefix, text,  # noqa: E402
                        unpacked)

UP = 1


def expect(condition, message):
    if not condition:
        raise Failure(message)


def same(got, wanted, what):
    expect(got == wanted, f"{what}: {got!r}, not {wanted!r}")


def path_of(lab):
    return str(lab.dir / "run/api.sock")


def connect():
    """The table has VPP's names with VPP's CRCs; the daemon says who it is; its commands can be run."""
    with Lab() as lab, VppClient(path_of(lab)) as c:
        for name, crc in CRCS.items():
            expect(f"{name}_{crc}" in c.table, f"no {name}_{crc} in the table")
        numbers = list(c.table.values())
        same(len(set(numbers)), len(numbers), "different numbers")
        same((c.table["sockclnt_create_455fb9c4"], c.table["sockclnt_create_reply_35166268"]), (15, 16), "fixed numbers")
        same(c.version()[0], "hostloom", "show_version")
        same(c.ping(), lab.daemon.pid, "the pid in control_ping's reply")
        retval, said = c.cli("show version")
        expect(retval == 0 and "ostloom" in said, f"show version: {retval} {said}")
        retval, said = c.cli("shew version")
        expect(retval != 0 and "shew" in said, f"a bad command: {retval} {said}")
        with VppClient(path_of(lab)) as other:
            expect(other.client_index != c.client_index, "two clients have one index")
            same(other.ping(), c.ping(), "pid")
        same(c.call("control_ping")[0], 0, "after the other left")
        # sockclnt_delete: answered, then the end.
        c.send(struct.pack(">HIII", c.table["sockclnt_delete_8ac76db6"], c.client_index, 9, c.client_index))
        name, rest = c.next()
        same((name, struct.unpack(">Ii", rest)), ("sockclnt_delete_reply", (9, 0)), "sockclnt_delete")
        try:
            c.receive()
            raise Failure("still connected after sockclnt_delete")
        except Closed:
            pass


def net():
    """Interfaces, addresses, routes, neighbours and events do what they say, seen from the kernel and the commands."""
    with Lab() as lab, VppClient(path_of(lab)) as c, VppClient(path_of(lab)) as watcher:
        tap = c.interfaces()["tap0"]
        index = tap["index"]
        same((tap["flags"] & UP, tap["type"], tap["mtu"][0]), (UP, "tap", 1500), "tap0")
        same(list(c.interfaces(name_filter="TAP")), ["tap0"], "name filter")
        same(c.interfaces(sw_if_index=99), {}, "an interface that there is not")

        want = struct.pack(">II", 1, os.getpid())
        same(watcher.call("want_interface_events", want)[0], 0, "want_interface_events")
        flags = ">II"
        same(c.call("sw_interface_set_flags", struct.pack(flags, index, 0))[0], 0, "down")
        name, body = watcher.event()
        same((name, struct.unpack(">IIII?", body)[:3]),
             ("sw_interface_event", (watcher.client_index, os.getpid(), index)), "event")
        same(struct.unpack(">IIII?", body)[3] & UP, 0, "flags of the event")
        gone = lab.run(["ping", "-c", "1", "-W", "1", STACK_IP4], check=False)
        expect(gone.returncode != 0, "a ping is answered by an interface that is down")
        same(c.call("sw_interface_set_flags", struct.pack(flags, index, UP))[0], 0, "up")
        watcher.event()
        lab.run(["ping", "-c", "3", "-i", "0.1", STACK_IP4])
        same(c.call("sw_interface_set_flags", struct.pack(flags, 99, UP))[0], -2, "no such interface")

        def address(is_add, network):
            return c.call("sw_interface_add_del_address", struct.pack(">I??", index, is_add, False) + prefix(network))[0]

        same(address(True, "10.88.0.77/24"), 0, "another address")
        lab.run(["ping", "-c", "1", "10.88.0.77"])
        same(address(True, "10.88.0.77/24"), -105, "the same again")
        found = [unpacked(IP4, rest[5:21]) for rest in
                 c.dump("ip_address_dump", "ip_address_details", struct.pack(">I?", index, False))]
        same(found, [STACK_IP4, "10.88.0.77"], "ip_address_dump")
        same(address(False, "10.88.0.77/24"), 0, "address removed")
        same(address(False, "10.88.0.77/24"), -60, "removed twice")

        same(c.route(True, "192.0.2.0/24", HOST_IP4), 0, "ip_route_add_del")
        same(c.route(True, "198.51.100.0/24", kind=DROP), 0, "a route that drops")
        same(c.route(True, "2001:db8::/32", HOST_IP6), 0, "an IPv6 route")
        routes = c.routes()
        same(routes["192.0.2.0/24"], (NORMAL, HOST_IP4, index), "192.0.2.0/24")
        same(routes["198.51.100.0/24"][0], DROP, "198.51.100.0/24")
        same(routes[STACK_IP4 + "/32"][0], LOCAL, "the own address")
        same(c.routes(family=IP6)["2001:db8::/32"], (NORMAL, HOST_IP6, index), "2001:db8::/32")
        expect(any(r["Prefix"] == "192.0.2.0/24" for r in lab.cli("show", "ip", "fib", as_json=True)["routes"]),
               "show ip fib does not have the route")
        same(c.route(False, "192.0.2.0/24"), 0, "removed")
        same(c.route(False, "192.0.2.0/24"), -6, "removed twice")
        same(c.route(True, "192.0.2.0/24", "172.16.9.9"), -50, "a gateway that is nowhere")
        same(c.route(True, "192.0.2.0/24", HOST_IP4, table=9), -3, "a table that there is not")
        expect("192.0.2.0/24" not in c.routes(), "a refused route is there")

        neighbors = c.dump("ip_neighbor_dump", "ip_neighbor_details", struct.pack(">IB", ANY, IP4))
        expect(HOST_IP4 in [unpacked(rest[19], rest[20:36]) for rest in neighbors], "the kernel is no neighbour")

        # ping, from the stack to the kernel: this client goes on meanwhile.
        def answered():
            same(c.call("want_ping_finished_events", api_address(HOST_IP4) + struct.pack(">Id", 3, 0.2))[0], 0, "ping")
            same(c.ping(), lab.daemon.pid, "while a ping runs")
            name, body = c.event()
            client_index, sent, received = struct.unpack(">III", body)
            same((name, client_index, sent), ("ping_finished_event", c.client_index, 3), "the end of the ping")
            return received == 3  # one that comes more than a second late is lost
        wait_until(answered, "three answers of three")

        retval, rest = c.call("create_loopback", bytes(6))
        same(retval, 0, "create_loopback")
        loop = struct.unpack(">I", rest)[0]
        same(c.interfaces()["loop0"]["index"], loop, "loop0")
        same(c.call("delete_loopback", struct.pack(">I", loop))[0], 0, "delete_loopback")
        same(c.call("delete_loopback", struct.pack(">I", index))[0], -2, "a tap is no loopback")
        same(sorted(c.interfaces()), ["tap0"], "what is left")


def tables():
    """Routing tables come and go; a dump of many routes does not keep another client waiting."""
    with Lab() as lab, VppClient(path_of(lab)) as c, VppClient(path_of(lab)) as other:
        def table(is_add, number, is_ip6=False, name=b""):
            return c.call("ip_table_add_del", struct.pack(">?I?64s", is_add, number, is_ip6, name))[0]

        same(table(True, 7, name=b"blue"), 0, "table 7")
        found = {(number, is_ip6): text(name) for number, is_ip6, name in
                 (struct.unpack(">I?64s", rest) for rest in c.dump("ip_table_dump", "ip_table_details"))}
        same((found[7, False], (7, True) in found, (0, True) in found), ("blue", False, True), "ip_table_dump")
        many = 5000
        for i in range(many):
            same(c.route(True, f"20.{i >> 8}.{i & 255}.0/24", kind=DROP, table=7), 0, f"route {i}")
        # Asked for, and not read: the daemon waits for this client and for nobody else.
        for _ in range(20):
            c.request("ip_route_dump", struct.pack(">I?64s", 7, False, b""))
        last = c.request("control_ping")
        for _ in range(20):
            same(other.ping(), lab.daemon.pid, "another client's ping")
        seen = 0
        while True:
            name, rest = c.next()
            if name == "control_ping_reply" and struct.unpack_from(">I", rest)[0] == last:
                break
            same(name, "ip_route_details", "what a dump sends")
            seen += 1
        same(seen, 20 * many, "routes of twenty dumps")
        same(table(False, 7), 0, "table 7 goes with its routes")
        same(c.routes(table=7), {}, "routes of a table that is gone")
        same(table(False, 7), -3, "removed twice")


def sources():
    """Connections of a program that names no source take the configured addresses in turn, and are answered there."""
    with Lab() as lab, VppClient(path_of(lab)) as c:
        def configure(first, last, vrf=0):
            return c.call("tcp_configure_src_addresses", struct.pack(">I", vrf) + api_address(first) + api_address(last))[0]

        base, _, host = STACK_IP4.rpartition(".")
        first, last = f"{base}.{int(host) + 20}", f"{base}.{int(host) + 22}"
        same(configure(first, last), 0, "three addresses")
        same(configure(first, last, vrf=9), -3, "a table that is not there")
        same(configure("192.0.2.1", "192.0.2.2"), -54, "of no interface's subnet")
        same(configure(last, first), -7, "backwards")
        with socket.create_server((HOST_IP4, 0)) as server:
            program = ("import socket, sys\n"
                       "for _ in range(6):\n"
                       "    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:\n"
                       "        assert s.recv(2) == b'ok'\n")
            client = lab.spawn(["/usr/bin/python3", "-c", program, HOST_IP4, str(server.getsockname()[1])], env=lab.preload())
            seen = []
            for _ in range(6):
                connection, (address, _) = server.accept()
                seen.append(address)
                connection.sendall(b"ok")
                connection.close()
            same(client.wait(60), 0, f"the program's end ({lab.output(client)})")
        same(seen, [f"{base}.{int(host) + 20 + i % 3}" for i in range(6)], "sources")
        expect(last in c.cli("show tcp src-address")[1], "show tcp src-address")
        same(c.cli("tcp src-address none")[0], 0, "none")
        expect(last not in c.cli("show tcp src-address")[1], "they are forgotten")


def hostile():
    """Messages that are short, long, unknown or garbage: the connection survives what can be survived."""
    with Lab() as lab, VppClient(path_of(lab)) as c:
        def alive(what):
            same(c.ping(), lab.daemon.pid, what)

        c.send(struct.pack(">HII", 60000, c.client_index, 1))
        alive("after an unknown message")
        c.send(b"\0")
        alive("after half an id")
        c.send(struct.pack(">H", c.number("show_version")))
        alive("after a request without context")
        # Answered, where there is a context to answer to.
        c.send(struct.pack(">HII", c.number("ip_route_add_del"), c.client_index, 77))
        name, rest = c.next()
        same((name, struct.unpack_from(">Ii", rest)), ("ip_route_add_del_reply", (77, -7)), "a route cut short")
        # 255 paths are promised and none is there.
        body = struct.pack(">??II", True, False, 0, 0) + prefix("192.0.2.0/24") + b"\xff"
        same(c.call("ip_route_add_del", body)[0], -7, "255 paths that are not there")
        same(c.call("cli_inband", struct.pack(">I", 0xFFFFFFFF) + b"show")[0], -7, "a string beyond the end")
        for name in ("sw_interface_set_flags", "create_loopback", "ip_table_add_del", "ip_neighbor_add_del",
                     "want_ping_finished_events", "sw_interface_add_del_address"):
            for size in range(0, 200, 7):
                c.call(name, os.urandom(size) if size % 2 else b"\xff" * size)
            alive(f"after garbage in {name}")
        # A message of the daemon's, and trailing bytes.
        c.send(struct.pack(">HIIi", c.number("control_ping_reply"), c.client_index, 3, 0))
        alive("after a reply")
        same(c.call("show_version", b"more than it has")[0], 0, "bytes behind the end")
        # A frame that is too long, or of no length, cannot be followed: the end of that connection only.
        for header in (struct.pack(">QII", 0, 0xFFFFFFFF, 0), struct.pack(">QII", 0, 0, 0), b"GET / HTTP/1.1\r\n"):
            with VppClient(path_of(lab)) as bad:
                try:
                    bad.socket.sendall(header + bytes(100))
                    while True:
                        bad.receive()
                except (Closed, ConnectionError):
                    pass
            alive("after a bad frame of another client")
        # Before sockclnt_create, nothing is answered.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.connect(path_of(lab))
            message = struct.pack(">HII", c.number("show_version"), 0, 1)
            raw.sendall(struct.pack(">QII", 0, len(message), 0) + message)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(120)
            same(raw.recv(100), b"", "the answer to a stranger")
        alive("after a stranger")
        expect(lab.daemon.poll() is None, "the daemon has ended")
        lab.run(["ping", "-c", "1", STACK_IP4])
        lab.run(["ping", "-c", "1", STACK_IP6])


if __name__ == "__main__":
    laboratory.run_case(connect, net, tables, sources, hostile)
