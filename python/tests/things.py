"""Messages of things, shapes and news, and a daemon that answers them, for the tests of the package."""

import json
import pathlib
import struct
import unittest

import hostloom
from fake_daemon import FakeDaemon, text

SHAPES = json.loads((pathlib.Path(__file__).parents[2] / "tests/unit/sdk/client/shapes.api.json").read_text())
# Each of these messages gets a reply that repeats it.
ECHOED = [m for m in SHAPES["messages"]]
for m in list(ECHOED):
    SHAPES["messages"].append([m[0] + "_reply", ["u16", "_vl_msg_id"], ["u32", "context"], ["i32", "retval"], *m[4:-1],
                               {"crc": "0x1" + m[-1]["crc"][3:], "comment": f"What {m[0]} said."}])
    SHAPES["services"][m[0]] = {"reply": m[0] + "_reply"}

MSG, CLIENT, CONTEXT = ["u16", "_vl_msg_id"], ["u32", "client_index"], ["u32", "context"]
THINGS = {
    "messages": [
        ["thing_set", MSG, CLIENT, CONTEXT, ["i32", "answer"], ["string", "from", 0],
         {"crc": "0x00000001", "comment": "Sets a thing. answer: what to answer."}],
        ["thing_set_reply", MSG, CONTEXT, ["i32", "retval"], ["u32", "index"], {"crc": "0x00000002"}],
        ["thing_dump", MSG, CLIENT, CONTEXT, {"crc": "0x00000003", "comment": "Asks for all things."}],
        ["thing_details", MSG, CONTEXT, ["u32", "index"], ["string", "name", 0], {"crc": "0x00000004", "comment": "One."}],
        ["thing_get", MSG, CLIENT, CONTEXT, ["u32", "cursor"], {"crc": "0x00000005"}],
        ["thing_get_reply", MSG, CONTEXT, ["i32", "retval"], ["u32", "cursor"], {"crc": "0x00000006"}],
        ["want_thing_events", MSG, CLIENT, CONTEXT, ["u32", "enable_disable"], ["u32", "pid"], {"crc": "0x00000007"}],
        ["want_thing_events_reply", MSG, CONTEXT, ["i32", "retval"], {"crc": "0x00000008"}],
        ["thing_event", MSG, CLIENT, ["u32", "pid"], ["string", "name", 0], {"crc": "0x00000009", "comment": "News."}],
        ["want_part_events", MSG, CLIENT, CONTEXT, ["bool", "enable"], ["u32", "pid"], ["u32", "part", {"default": 1}],
         {"crc": "0x0000000c"}],
        ["want_part_events_reply", MSG, CONTEXT, ["i32", "retval"], {"crc": "0x0000000d"}],
        ["part_event", MSG, CLIENT, ["u32", "pid"], ["u32", "part"], {"crc": "0x0000000e"}],
        ["silence", MSG, CLIENT, CONTEXT, {"crc": "0x0000000a"}],
        ["silence_reply", MSG, CONTEXT, ["i32", "retval"], {"crc": "0x0000000b"}],
        ["cli_inband", MSG, CLIENT, CONTEXT, ["string", "cmd", 0], {"crc": "0xf8377302"}],
        ["cli_inband_reply", MSG, CONTEXT, ["i32", "retval"], ["string", "reply", 0], {"crc": "0x05879051"}],
    ],
    "services": {
        "thing_set": {"reply": "thing_set_reply"}, "thing_dump": {"reply": "thing_details", "stream": True},
        "thing_get": {"reply": "thing_get_reply", "stream_msg": "thing_details"},
        "want_thing_events": {"reply": "want_thing_events_reply", "events": ["thing_event"]},
        "want_part_events": {"reply": "want_part_events_reply", "events": ["part_event"]},
        "silence": {"reply": "silence_reply"}, "cli_inband": {"reply": "cli_inband_reply"},
    },
}


def echo(name):
    return lambda d, context, fields: d.send(name + "_reply", context, struct.pack(">i", 0) + fields)


def thing_set(d, context, fields):
    d.send("thing_set_reply", context, fields[:4] + struct.pack(">I", 7))


def thing_dump(d, context, _fields):
    for i, name in enumerate(("one", "two")):
        d.send("thing_details", context, struct.pack(">I", i) + text(name))


def thing_get(d, context, fields):
    cursor, = struct.unpack(">I", fields)
    index = 0 if cursor == 0xffffffff else cursor
    d.send("thing_details", context, struct.pack(">I", index) + text("got"))
    last = index == 2
    d.send("thing_get_reply", context, struct.pack(">iI", 0 if last else -165, 0xffffffff if last else index + 1))


def want_thing_events(d, context, fields):
    enable, pid = struct.unpack(">II", fields)
    d.wanted.append((enable,))
    d.send("want_thing_events_reply", context, struct.pack(">i", 0))
    if enable:
        for name in ("first", "second"):
            d.send("thing_event", 0x42, struct.pack(">I", pid) + text(name))


def want_part_events(d, context, fields):
    enable, pid, part = struct.unpack(">?II", fields)
    d.wanted.append((int(enable), part))
    d.send("want_part_events_reply", context, struct.pack(">i", 0))
    if enable:
        d.send("part_event", 0x42, struct.pack(">II", pid, part))


def cli(d, context, fields):
    line = fields[4:].decode()
    failed = "bad" in line
    out = "unknown command: bad\n" if failed else '{"sessions": 3}' if line.startswith("json ") else f"ran {line}\n"
    d.send("cli_inband_reply", context, struct.pack(">i", -7 if failed else 0) + text(out))


HANDLERS = {"thing_set": thing_set, "thing_dump": thing_dump, "thing_get": thing_get, "cli_inband": cli,
            "want_thing_events": want_thing_events, "want_part_events": want_part_events} | {m[0]: echo(m[0]) for m in ECHOED}


class WithDaemon(unittest.TestCase):
    def setUp(self):
        self.daemon = self.enterContext(FakeDaemon([SHAPES, THINGS], HANDLERS))
        self.daemon.wanted = []  # what want_X_events said

    def connect(self, **kw):
        return self.enterContext(hostloom.connect(self.daemon.path, timeout=kw.pop("timeout", 120.0), **kw))
