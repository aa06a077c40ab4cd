"""A client of the binary API as one for VPP is written: from the description of the protocol, and with the fields and
CRCs of VPP's messages typed in by hand. It knows nothing of this project's files, and uses the standard library only."""

import socket
import struct

# Of each message, the name that VPP's message table has for it.
CRCS = {
    "show_version": "51077d14", "show_version_reply": "c919bde1",
    "control_ping": "51077d14", "control_ping_reply": "f6b0b8ca",
    "tcp_configure_src_addresses": "67eede0d", "tcp_configure_src_addresses_reply": "e8d4e804",
    "cli_inband": "f8377302", "cli_inband_reply": "05879051",
    "sw_interface_dump": "aa610c27", "sw_interface_details": "6c221fc7",
    "sw_interface_set_flags": "f5aec1b8", "sw_interface_set_flags_reply": "e8d4e804",
    "sw_interface_add_del_address": "5463d73b", "sw_interface_add_del_address_reply": "e8d4e804",
    "create_loopback": "42bb5d22", "create_loopback_reply": "5383d31f",
    "delete_loopback": "f9e6675e", "delete_loopback_reply": "e8d4e804",
    "want_interface_events": "476f5a08", "want_interface_events_reply": "e8d4e804",
    "sw_interface_event": "2d3d95a7",
    "ip_table_add_del": "0ffdaec0", "ip_table_add_del_reply": "e8d4e804",
    "ip_table_dump": "51077d14", "ip_table_details": "c79fca0f",
    "ip_route_add_del": "b8ecfe0d", "ip_route_add_del_reply": "1992deab",
    "ip_route_dump": "b9d2e09e", "ip_route_details": "bda8f315",
    "ip_address_dump": "2d033de4", "ip_address_details": "ee29b797",
    "ip_neighbor_add_del": "0607c257", "ip_neighbor_add_del_reply": "1992deab",
    "ip_neighbor_dump": "d817a484", "ip_neighbor_details": "e29d79f0",
    "want_ping_finished_events": "e79ee58b", "want_ping_finished_events_reply": "e8d4e804",
    "ping_finished_event": "397ccf72",
}
IP4, IP6 = 0, 1
NORMAL, LOCAL, DROP = 0, 1, 2  # types of paths
ANY = 0xFFFFFFFF


class Closed(Exception):
    """The other side has closed the connection."""


class VppClient:
    def __init__(self, path, name=b"vpp-client"):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(str(path))
        self.context = 0
        self.events = []  # (name, body behind the id)
        self.send(struct.pack(">HI64s", 15, 0x1234, name))  # sockclnt_create
        message = self.receive()
        number, self.client_index, context, response, index, count = struct.unpack_from(">HIIiIH", message)
        assert (number, context, response) == (16, 0x1234, 0), message[:20]
        assert index == self.client_index
        assert len(message) == 20 + 66 * count
        self.table = {}  # NAME_CRC -> the number of this run
        for i in range(count):
            number, full = struct.unpack_from(">H64s", message, 20 + 66 * i)
            self.table[full.rstrip(b"\0").decode()] = number
        self.names = {number: full.rsplit("_", 1)[0] for full, number in self.table.items()}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    # --- Frames.

    def send(self, message):
        self.socket.sendall(struct.pack(">QII", 0, len(message), 0) + message)

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise Closed
            data += part
        return data

    def receive(self):
        _, length, _ = struct.unpack(">QII", self.read(16))
        return self.read(length)

    # --- Conversations.

    def number(self, name):
        return self.table[f"{name}_{CRCS[name]}"]

    def request(self, name, body=b""):
        self.context += 1
        self.send(struct.pack(">HII", self.number(name), self.client_index, self.context) + body)
        return self.context

    def next(self):
        """(name, what follows the id) of the next message that is no event; those are kept."""
        while True:
            message = self.receive()
            name = self.names[struct.unpack_from(">H", message)[0]]
            if not name.endswith("_event"):
                return name, message[2:]
            self.events.append((name, message[2:]))

    def event(self):
        while not self.events:
            message = self.receive()
            name = self.names[struct.unpack_from(">H", message)[0]]
            assert name.endswith("_event"), name
            self.events.append((name, message[2:]))
        return self.events.pop(0)

    def call(self, name, body=b""):
        """(retval, what follows it)"""
        context = self.request(name, body)
        reply, rest = self.next()
        assert reply == name + "_reply", reply
        got, retval = struct.unpack_from(">Ii", rest)
        assert got == context, (got, context)
        return retval, rest[8:]

    def dump(self, name, details, body=b""):
        """What follows the context of each details message; a control_ping ends them."""
        context = self.request(name, body)
        ping = self.request("control_ping")
        found = []
        while True:
            answer, rest = self.next()
            got = struct.unpack_from(">I", rest)[0]
            if answer == "control_ping_reply":
                assert got == ping, (got, ping)
                return found
            assert (answer, got) == (details, context), (answer, got)
            found.append(rest[4:])

    # --- Messages. Text is cut at the first zero.

    def version(self):
        retval, rest = self.call("show_version")
        assert retval == 0
        return [text(x) for x in struct.unpack(">32s32s32s256s", rest)]

    def ping(self):
        retval, rest = self.call("control_ping")
        assert retval == 0
        client_index, pid = struct.unpack(">II", rest)
        assert client_index == self.client_index
        return pid

    def cli(self, line):
        line = line.encode()
        retval, rest = self.call("cli_inband", struct.pack(">I", len(line)) + line)
        assert struct.unpack_from(">I", rest)[0] == len(rest) - 4
        return retval, rest[4:].decode()

    def interfaces(self, sw_if_index=ANY, name_filter=None):
        wanted = (name_filter or "").encode()
        body = struct.pack(">I?I", sw_if_index, name_filter is not None, len(wanted)) + wanted
        found = {}
        for rest in self.dump("sw_interface_dump", "sw_interface_details", body):
            layout = ">II6sIIII H4I I BHH I IIII H 6s6s H I 64s64s64s".replace(" ", "")
            assert len(rest) == struct.calcsize(layout), (len(rest), struct.calcsize(layout))
            f = struct.unpack(layout, rest)
            found[text(f[-3])] = {"index": f[0], "mac": f[2], "flags": f[3], "link_mtu": f[7], "mtu": f[8:12],
                                  "type": text(f[-2]), "tag": text(f[-1])}
        return found

    def route(self, is_add, network, gateway=None, sw_if_index=ANY, table=0, kind=NORMAL):
        body = struct.pack(">??II", is_add, False, table, 0) + prefix(network)
        if not is_add:
            return self.call("ip_route_add_del", body + b"\0")[0]
        family = IP6 if ":" in network else IP4
        path = struct.pack(">IIIBBIII", sw_if_index, 0, 0, 1, 0, kind, 0, family)
        path += (packed(gateway) if gateway else b"").ljust(16, b"\0") + struct.pack(">III", 0, 0, 0)
        path += b"\0" + bytes(16 * 7)  # labels
        return self.call("ip_route_add_del", body + b"\1" + path)[0]

    def routes(self, table=0, family=IP4):
        """{prefix: (type, next hop, interface)}"""
        found = {}
        body = struct.pack(">I?64s", table, family == IP6, b"")
        for rest in self.dump("ip_route_dump", "ip_route_details", body):
            number, _, af, address, length, n_paths = struct.unpack_from(">IIB16sBB", rest)
            assert (number, n_paths) == (table, 1)
            sw_if_index, _, _, _, _, kind, _, proto = struct.unpack_from(">IIIBBIII", rest, 27)
            nh = rest[53:69]
            assert len(rest) == 27 + 26 + 16 + 12 + 1 + 16 * 7, len(rest)
            assert proto == af
            found[f"{unpacked(af, address)}/{length}"] = (kind, unpacked(af, nh), sw_if_index)
        return found


def text(field):
    return field.split(b"\0")[0].decode()


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def unpacked(family, field):
    return socket.inet_ntop(socket.AF_INET6, field) if family == IP6 else socket.inet_ntop(socket.AF_INET, field[:4])


def api_address(address):
    return struct.pack(">B16s", IP6 if ":" in address else IP4, packed(address))


def prefix(network):
    address, length = network.split("/")
    return api_address(address) + struct.pack(">B", int(length))
