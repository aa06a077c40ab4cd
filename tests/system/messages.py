"""A client of the binary API that knows a message's fields from what the daemon says of itself (get_api_json)."""

import json
import struct

from api_client import ApiClient

SCALARS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "f64": "d",
           "bool": "?"}
HEADER = ("_vl_msg_id", "client_index", "context")


class Messages(ApiClient):
    def __init__(self, path):
        super().__init__(path)
        self.names = {number: name for name, number in self.ids.items()}
        self.fields, self.types, self.services = {}, {}, {}
        self._send(struct.pack("!HII", self.ids["get_api_json"], self.index, 2))
        reply = self._receive()
        for module in json.loads(reply[14:14 + struct.unpack_from("!I", reply, 10)[0]]):
            for m in module.get("messages", []):
                self.fields[m[0]] = [f for f in m[1:] if isinstance(f, list)]
            self.services.update(module.get("services", {}))
            for t in module.get("types", []) + module.get("unions", []):
                self.types[t[0]] = [f for f in t[1:] if isinstance(f, list)]
            for e in module.get("enums", []) + module.get("enumflags", []):
                self.types[e[0]] = e[-1]["enumtype"]
            self.types.update(module.get("aliases", {}))
            # A union is as long as its longest member; here they are all addresses.
            for u in module.get("unions", []):
                self.types[u[0]] = {"type": "u8", "length": 16}

    # --- Fields.

    def _pack(self, kind, value):
        if kind in SCALARS:
            return struct.pack("!" + SCALARS[kind], value or 0)
        definition = self.types[kind[7:-2]]
        if isinstance(definition, str):
            return self._pack(definition, value)
        if isinstance(definition, list):
            return b"".join(self._pack_field(f, (value or {}).get(f[1])) for f in definition)
        if "length" not in definition:
            return self._pack(definition["type"], value)
        return bytes(value or b"").ljust(definition["length"], b"\0")

    def _pack_field(self, field, value):
        options = field[-1] if isinstance(field[-1], dict) else {}
        if value is None:
            value = options.get("default")
        length = [x for x in field[2:] if not isinstance(x, dict)]
        if field[0] != "string" and len(length) == 1:  # a fixed array, of zeros behind what is given
            items = list(value or [])
            return b"".join(self._pack(field[0], x) for x in items + [None] * (length[0] - len(items)))
        if field[0] != "string" and len(length) == 2:  # as many as are given; the caller sets the count
            return b"".join(self._pack(field[0], x) for x in value or [])
        if field[0] != "string":
            return self._pack(field[0], value)
        text = (value or "").encode()
        return struct.pack("!I", len(text)) + text if field[2] == 0 else text.ljust(field[2], b"\0")

    def _unpack(self, kind, data):
        """The value and what is behind it."""
        if kind in SCALARS:
            size = struct.calcsize(SCALARS[kind])
            return struct.unpack("!" + SCALARS[kind], data[:size])[0], data[size:]
        definition = self.types[kind[7:-2]]
        if isinstance(definition, str):
            return self._unpack(definition, data)
        if isinstance(definition, list):
            return self._unpack_fields(definition, data)
        if "length" not in definition:
            return self._unpack(definition["type"], data)
        return data[:definition["length"]], data[definition["length"]:]

    def _unpack_fields(self, fields, data):
        values = {}
        for f in fields:
            kind, name = f[0], f[1]
            length = [x for x in f[2:] if not isinstance(x, dict)]
            if kind == "string":
                n = length[0]
                if n == 0:
                    n, data = struct.unpack_from("!I", data)[0], data[4:]
                values[name], data = data[:n].split(b"\0")[0].decode(), data[n:]
            elif length:
                values[name] = []
                for _ in range(values[length[1]] if len(length) == 2 else length[0]):
                    value, data = self._unpack(kind, data)
                    values[name].append(value)
            else:
                values[name], data = self._unpack(kind, data)
        return values, data

    # --- Messages.

    def request(self, message, context=7, /, **fields):
        unknown = set(fields) - {f[1] for f in self.fields[message]}
        assert not unknown, f"{message} has no field {unknown}"
        body = b"".join(self._pack_field(f, fields.get(f[1])) for f in self.fields[message] if f[1] not in HEADER)
        self._send(struct.pack("!HII", self.ids[message], self.index, context) + body)

    def request_body(self, message, context, body=b""):
        super().request(message, body, context)

    def receive_body(self):
        """The next message: its name and what follows its id."""
        data = self._receive()
        return self.names[struct.unpack_from("!H", data)[0]], data[2:]

    def receive(self):
        """The next message: its name and its fields."""
        data = self._receive()
        name = self.names[struct.unpack_from("!H", data)[0]]
        values, rest = self._unpack_fields(self.fields[name], data)
        assert not rest, f"{len(rest)} bytes behind {name}"
        return name, values

    def call(self, request, /, **fields):
        self.request(request, **fields)
        name, reply = self.receive()
        assert name == request + "_reply" and reply["context"] == 7, (name, reply)
        return reply

    def dump(self, request, /, **fields):
        self.request(request, **fields)
        self.request("control_ping", 8)
        found = []
        while True:
            name, values = self.receive()
            if name == "control_ping_reply":
                return found
            assert name.endswith("_details") and values["context"] == 7, (name, values)
            found.append(values)
