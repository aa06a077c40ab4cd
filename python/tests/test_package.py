#!/usr/bin/python3
"""The package against a daemon that answers as a test wants. What goes over the wire is checked in C++
(tests/unit/sdk/client); here, what a Python program sees."""

import asyncio
import enum
import gc
import inspect
import ipaddress
import json
import os
import pathlib
import pickle
import pydoc
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock
import weakref

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
        return self.enterContext(hostloom.connect(self.daemon.path, timeout=kw.pop("timeout", 20.0), **kw))


class Requests(WithDaemon):
    def setUp(self):
        super().setUp()
        self.h = self.connect()

    def test_reply_is_a_typed_object(self):
        reply = self.h.api.thing_set(answer=0, from_="me")  # `from` is a keyword in Python
        self.assertEqual((type(reply).__name__, reply.index, reply.retval), ("ThingSetReply", 7, 0))
        self.assertEqual(repr(reply), "ThingSetReply(retval=0, index=7)")

    def test_dump_and_get_are_lists(self):
        self.assertEqual([t.name for t in self.h.api.thing_dump()], ["one", "two"])
        self.assertEqual([t.index for t in self.h.api.thing_get()], [0, 1, 2])

    def test_the_daemons_refusal_is_an_exception_with_its_reason(self):
        with self.assertRaises(hostloom.ApiError) as caught:
            self.h.api.thing_set(answer=-6)
        e = caught.exception
        self.assertEqual((e.retval, e.reason, e.reply.index), (-6, "NO_SUCH_ENTRY", 7))
        self.assertEqual(str(e), "thing_set: NO_SUCH_ENTRY (-6)")
        with self.assertRaises(hostloom.ApiError) as caught:
            self.h.api.thing_set(answer=-9999)
        self.assertEqual(caught.exception.reason, "retval -9999")

    def test_arguments_are_checked_by_name_and_value(self):
        with self.assertRaisesRegex(TypeError, r"thing_set\(\) has no argument 'anser'; it takes answer, from_"):
            self.h.api.thing_set(anser=1)
        with self.assertRaisesRegex(hostloom.InvalidValueError, "thing_set: answer: 4294967296 is outside of"):
            self.h.api.thing_set(answer=1 << 32)
        with self.assertRaises(OverflowError):
            self.h.api.thing_set(answer=1 << 64)
        with self.assertRaisesRegex(TypeError, "no value of the API"):
            self.h.api.thing_set(answer=object())
        with self.assertRaisesRegex(AttributeError, "no message 'thing_sett'; did you mean 'thing_set'"):
            self.h.api.thing_sett()

    def test_timeouts_are_seconds(self):
        start = time.monotonic()
        with self.assertRaisesRegex(TimeoutError, "no answer to silence within 50 ms"):
            self.h.api.silence(_timeout=0.05)
        self.assertGreaterEqual(time.monotonic() - start, 0.05)
        self.assertEqual(self.h.api.thing_set().index, 7)  # the connection stays
        with hostloom.connect(self.daemon.path, timeout=0.05) as h, self.assertRaises(hostloom.TimeoutError):
            h.api.silence()

    def test_cli(self):
        self.assertEqual(self.h.cli("show session"), "ran show session\n")
        self.assertEqual(self.h.cli("show session", json=True), {"sessions": 3})
        with self.assertRaises(hostloom.CommandError) as caught:
            self.h.cli("bad")
        self.assertEqual(str(caught.exception), "unknown command: bad")
        self.assertEqual(caught.exception.reason, "INVALID_VALUE")
        self.assertEqual(pickle.loads(pickle.dumps(caught.exception)).text, "unknown command: bad\n")

    def test_threads_share_a_connection(self):
        asked = queue.Queue()
        self.daemon.handlers["silence"] = lambda d, context, _fields: asked.put(context)
        results, late = [], []
        waiting = threading.Thread(target=lambda: late.append(self.h.api.silence().retval))
        waiting.start()
        context = asked.get(timeout=20)
        threads = [threading.Thread(target=lambda: results.append(len(self.h.api.thing_dump()))) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual((results, late), ([2] * 8, []))  # the GIL was free meanwhile
        self.daemon.send("silence_reply", context, struct.pack(">i", 0))
        waiting.join()
        self.assertEqual(late, [0])

    def test_help_is_useful(self):
        shown = pydoc.plain(pydoc.render_doc(self.h.api.thing_set))
        for part in ("thing_set(*, answer: int = 0, from_: str = '', _timeout: float | None = None) -> ThingSetReply",
                     "Sets a thing. answer: what to answer.", "Returns ThingSetReply:", "index: int", "ApiError"):
            self.assertIn(part, shown)
        self.assertIn("thing_dump", dir(self.h.api))
        self.assertIn("index: int", self.h.model.messages["thing_details"].__doc__)
        self.assertEqual(str(inspect.signature(self.h.api.thing_dump).return_annotation), "list[ThingDetails]")

    def test_only_what_the_daemon_speaks_is_there(self):
        self.daemon.table.remove("thing_dump_00000003")
        self.daemon.table.insert(self.daemon.ids["thing_dump"] - 100, "thing_dump_deadbeef")
        h = self.connect()
        self.assertNotIn("thing_dump", h.api)
        self.assertIn("thing_get", h.api)

    def test_a_connection_does_not_survive_fork(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.h.api.thing_set()
            except hostloom.ClosedError:
                os._exit(17)
            os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 17)
        self.assertEqual(self.h.api.thing_set().index, 7)


class Values(WithDaemon):
    def setUp(self):
        super().setUp()
        self.h = self.connect()

    def test_numbers_and_strings(self):
        r = self.h.api.numbers(a=255, d=(1 << 64) - 1, h=-(1 << 63), i=0.5, j=True)
        self.assertEqual((r.a, r.b, r.d, r.h, r.i, r.j), (255, 0, (1 << 64) - 1, -(1 << 63), 0.5, True))
        r = self.h.api.strings(fixed="seven77", open="grüße")
        self.assertEqual((r.fixed, r.open), ("seven77", "grüße"))

    def test_addresses_are_ipaddress_objects_and_text(self):
        for given in ({"ip4": "10.0.0.1", "ip6": "fd00::1", "any": "::1", "prefix": "10.0.0.0/8", "interface": "10.0.0.1/24",
                       "net4": "10.0.0.9/30", "net6": "fd00::/8", "mac": "02:FE:00:00:00:01"},
                      {"ip4": ipaddress.ip_address("10.0.0.1"), "ip6": ipaddress.ip_address("fd00::1"),
                       "any": ipaddress.ip_address("::1"), "prefix": ipaddress.ip_network("10.0.0.0/8"),
                       "interface": ipaddress.ip_interface("10.0.0.1/24"), "net4": ipaddress.ip_interface("10.0.0.9/30"),
                       "net6": ipaddress.ip_network("fd00::/8"), "mac": "02-fe-0-0-0-1"}):
            r = self.h.api.addresses(**given)
            self.assertEqual(r.ip4, ipaddress.IPv4Address("10.0.0.1"))
            self.assertEqual(r.ip6, ipaddress.IPv6Address("fd00::1"))
            self.assertEqual(r.any, ipaddress.ip_address("::1"))
            self.assertEqual(r.prefix, ipaddress.ip_network("10.0.0.0/8"))
            self.assertEqual(r.interface, ipaddress.ip_interface("10.0.0.1/24"))
            self.assertEqual(r.net4, ipaddress.ip_interface("10.0.0.9/30"))
            self.assertEqual(r.net6, ipaddress.ip_network("fd00::/8"))
            self.assertEqual(r.mac, "02:fe:00:00:00:01")
        with self.assertRaisesRegex(ValueError, 'ip4: "::1" is not an IPv4 address'):
            self.h.api.addresses(ip4="::1")

    def test_enums_and_flags(self):
        t = self.h.types
        self.assertTrue(issubclass(t.Color, enum.IntEnum) and issubclass(t.StatusFlags, enum.IntFlag))
        for color, status in ((t.Color.BLUE, t.StatusFlags.UP | t.StatusFlags.LINK), ("BLUE", 3), ("COLOR_BLUE", 3), (7, 3)):
            r = self.h.api.choices(color=color, status=status, options=t.Option.A)
            self.assertIs(r.color, t.Color.BLUE)
            self.assertEqual(r.status, t.StatusFlags.UP | t.StatusFlags.LINK)
            self.assertIn(t.StatusFlags.LINK, r.status)
        self.assertIs(t.Color.COLOR_RED, t.Color.RED)
        r = self.h.api.choices(color=99, status=128)  # what a newer daemon might say
        self.assertEqual((r.color, int(r.status)), (99, 128))
        with self.assertRaisesRegex(ValueError, "is none of color: COLOR_RED, COLOR_BLUE"):
            self.h.api.choices(color="PINK")

    def test_structs_unions_and_arrays(self):
        t = self.h.types
        tree = t.Tree(pairs=[t.Pair(a=1, b=-1), {"a": 2}], label="x")
        r = self.h.api.arrays(mtu=[9000], key=b"\x01\x02", raw=bytes(300), trees=[tree, {"label": "y"}])
        self.assertEqual((r.mtu, r.key, r.raw), ([9000, 0, 0, 0], b"\x01\x02\x00", bytes(300)))
        self.assertEqual(r.trees[0], t.Tree(pairs=[t.Pair(a=1, b=-1), t.Pair(a=2, b=0)], label="x"))
        self.assertEqual(r.trees[1].pairs, [])
        r = self.h.api.unions(either=t.Either(pair=t.Pair(a=1)), bare=ipaddress.ip_address("10.0.0.1"),
                              chosen={"af": "IP4", "un": "10.1.1.1"})
        self.assertEqual((r.either.pair, r.either.small), (t.Pair(a=1, b=0), 1))
        self.assertEqual(r.bare.ip4, ipaddress.ip_address("10.0.0.1"))
        self.assertEqual((r.chosen.un.ip4, r.chosen.un.ip6), (ipaddress.ip_address("10.1.1.1"), None))
        with self.assertRaisesRegex(ValueError, r"trees\[0\].pairs\[0\].c: there is no such field"):
            self.h.api.arrays(trees=[{"pairs": [{"c": 1}]}])

    def test_defaults_are_the_apis(self):
        signature = inspect.signature(self.h.api.defaults)
        self.assertEqual({n: p.default for n, p in signature.parameters.items() if n != "_timeout"},
                         {"is_add": True, "sw_if_index": 0xffffffff, "interval": 1.5, "color": self.h.types.Color.BLUE,
                          "port": 31, "zero": 0})
        r = self.h.api.defaults()
        self.assertEqual((r.is_add, r.sw_if_index, r.interval, r.color), (True, 0xffffffff, 1.5, self.h.types.Color.BLUE))
        self.assertIs(self.h.api.defaults(is_add=False).is_add, False)


class Events(WithDaemon):
    def test_iterating(self):
        h = self.connect()
        with h.events.thing() as events:
            got = []
            for e in events:
                got.append(e)
                if len(got) == 2:
                    break
            self.assertEqual([e.name for e in got], ["first", "second"])
            self.assertEqual(got[0].pid, os.getpid())
            with self.assertRaisesRegex(TimeoutError, "no event within 0.05 s"):
                events.get(timeout=0.05)
            with h.events.thing():
                pass
            self.assertEqual(self.daemon.seen.count("want_thing_events"), 2)  # the first is still open: no disabling
        self.assertEqual(self.daemon.seen.count("want_thing_events"), 3)
        self.assertEqual(list(events), [])  # over

    def test_the_end_of_the_connection_ends_the_stream(self):
        h = self.connect()
        with h.events.thing() as events:
            events.get(), events.get()
            self.daemon.hang_up()
            with self.assertRaises(hostloom.ClosedError):
                next(events)
            with self.assertRaises(hostloom.ClosedError):
                next(events)

    def test_closing_wakes_who_waits(self):
        h = self.connect()
        with h.events.thing() as events:
            events.get(), events.get()
            left = []
            waiting = threading.Thread(target=lambda: left.extend(events))
            waiting.start()
            events.close()
            waiting.join(20)
            self.assertFalse(waiting.is_alive())
            self.assertEqual(left, [])

    def test_what_nobody_takes_is_bounded_and_the_end_is_not_lost(self):
        h = self.connect()
        most = hostloom.events.MOST_WAITING
        hostloom.events.MOST_WAITING = 1
        self.addCleanup(setattr, hostloom.events, "MOST_WAITING", most)
        with h.events.thing() as events:
            h.api.control_ping()  # behind both events
            self.assertEqual(events.lost, 1)
            self.daemon.hang_up()
            with self.assertRaises(hostloom.ClosedError):
                h.api.control_ping()
            with self.assertRaises(hostloom.ClosedError):
                list(events)

    def test_help(self):
        shown = pydoc.plain(pydoc.render_doc(self.connect().events.thing))
        self.assertIn("thing() -> EventStream[ThingEvent]", shown)
        self.assertIn("News.", shown)


    def test_one_is_left_while_another_is_entered(self):
        h = self.connect()
        first, second = h.events.thing(), h.events.thing()
        entering = threading.Thread(target=second.__enter__, daemon=True)
        send = first._send

        def slowly(request, values):
            if not values["enable_disable"]:
                entering.start()
                entering.join(0.2)
            return send(request, values)
        first._send = slowly
        with first:
            pass
        entering.join(20)
        self.assertEqual(self.daemon.wanted, [(1,), (0,), (1,)])  # and not ended by the first behind the second's beginning
        second.close()
        self.assertEqual(self.daemon.wanted[3:], [(0,)])

    def test_streams_with_different_filters(self):
        h = self.connect()
        with h.events.part() as one:
            with h.events.part(part=1) as same, h.events.part(part=2) as other:
                h.api.control_ping()  # behind all events
                came = [[events.get(timeout=0) for _ in range(n)] for events, n in ((one, 2), (same, 1), (other, 1))]
                self.assertEqual([[e.part for e in events] for events in came], [[1, 1], [1], [2]])
                self.assertEqual({e.pid for events in came for e in events}, {os.getpid()})
                for events in (one, same, other):
                    with self.assertRaises(TimeoutError):
                        events.get(timeout=0)
            self.assertEqual(self.daemon.wanted, [(1, 1), (1, 1), (1, 2), (0, 2)])
            with h.events.part(part=2, pid=17) as own:
                self.assertEqual(own.get(timeout=20).pid, 17)
        self.assertEqual(self.daemon.wanted[4:], [(1, 2), (0, 2), (0, 1)])

    def test_a_number_is_anothers_only_when_the_daemon_has_ended_it(self):
        h = self.connect()
        left, entered = h.events.part(part=2), h.events.part(part=3)
        pids = []
        send = left._send

        def meanwhile(request, values):
            if not values["enable"]:
                number = h.events.part(part=3)._kind.added("another")
                pids.append(number)
            return send(request, values)
        left._send = meanwhile
        with left:
            pass
        self.assertEqual(pids, [1])  # 0 was not free yet
        with entered:
            pass

    def test_a_subscription_may_have_ended_by_itself(self):
        self.daemon.handlers["want_part_events"] = (lambda d, context, fields: d.send(
            "want_part_events_reply", context, struct.pack(">i", 0 if fields[0] else -6)))
        with self.connect().events.part():
            pass
        self.daemon.handlers["want_part_events"] = (lambda d, context, fields: d.send(
            "want_part_events_reply", context, struct.pack(">i", 0 if fields[0] else -7)))
        with self.assertRaisesRegex(hostloom.ApiError, "INVALID_VALUE"), self.connect().events.part():
            pass


class Connecting(unittest.TestCase):
    def test_nobody_listens(self):
        with self.assertRaisesRegex(hostloom.ConnectError, "nothing listens at /tmp/hostloom-none"):
            hostloom.connect("/tmp/hostloom-none/api.sock")
        self.assertTrue(issubclass(hostloom.ConnectError, ConnectionError))

    def test_a_description_that_is_none(self):
        broken = {"messages": [["m", ["u16", "_vl_msg_id"], ["u99", "a"], {"crc": "0x00000001"}]]}
        with FakeDaemon([broken], {}) as d, self.assertRaisesRegex(hostloom.ProtocolError, "message m, field a"):
            hostloom.connect(d.path)

    def test_the_daemon_goes_away(self):
        with FakeDaemon([THINGS], {"silence": lambda d, *_: d.hang_up()}) as d:
            with hostloom.connect(d.path) as h:
                with self.assertRaises(hostloom.ClosedError):
                    h.api.silence()
                with self.assertRaises(hostloom.ClosedError):
                    h.api.silence()

    def test_closing_ends_what_is_in_flight(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d:
            h = hostloom.connect(d.path)
            outcome = []

            def ask():
                try:
                    h.api.silence()
                except Exception as e:
                    outcome.append(type(e))
            t = threading.Thread(target=ask)
            t.start()
            asked.wait(20)
            h.close()
            t.join(20)
            self.assertEqual(outcome, [hostloom.ClosedError])
            with self.assertRaises(hostloom.ClosedError):
                h.api.silence()
            h.close()

    def test_two_threads_close(self):
        closing, may_go_on = threading.Event(), threading.Event()

        def done(_outcome):  # on the connection's thread, which close() waits for
            closing.set()
            may_go_on.wait(20)

        with FakeDaemon([THINGS], {}) as d:
            h = hostloom.connect(d.path)
            h._core.start("silence", {}, 60.0, done)
            outcome = []

            def close():
                try:
                    outcome.append(h.close())
                except Exception as e:
                    outcome.append(e)
            threads = [threading.Thread(target=close, daemon=True) for _ in range(2)]
            for t in threads:
                t.start()
            closing.wait(20)
            threads[1].join(0.2)
            self.assertEqual(outcome, [])
            may_go_on.set()
            for t in threads:
                t.join(20)
            self.assertEqual(outcome, [None, None])

    def test_the_garbage_collector_ends_a_connection_on_its_own_thread(self):
        with FakeDaemon([THINGS], HANDLERS) as d:
            connections = [hostloom.connect(d.path)]
            gone = weakref.ref(connections[0])
            done = queue.Queue()
            connections[0]._core.start("thing_set", {}, 20.0, lambda _: (connections.clear(), gc.collect(), done.put(gone())))
            self.assertIsNone(done.get(timeout=20))

    def test_ctrl_c_ends_waiting(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d, hostloom.connect(d.path) as h:
            threading.Thread(target=lambda: (asked.wait(20), os.kill(os.getpid(), signal.SIGINT))).start()
            with self.assertRaises(KeyboardInterrupt):
                h.api.silence(_timeout=60)

    def test_a_signal_that_another_thread_got_ends_waiting(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d, hostloom.connect(d.path) as h:
            threading.Thread(target=lambda: (asked.wait(20), signal.pthread_kill(threading.get_ident(), signal.SIGINT))).start()
            with self.assertRaises(KeyboardInterrupt):
                h.api.silence(_timeout=60)

    def test_an_event_loop_is_told_of_signals_that_came_while_a_call_waited(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d, hostloom.connect(d.path) as h:
            threading.Thread(target=lambda: (asked.wait(20), os.kill(os.getpid(), signal.SIGUSR1))).start()

            async def main():
                told = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
                with self.assertRaises(hostloom.TimeoutError):
                    h.api.silence(_timeout=0.5)
                await asyncio.wait_for(told.wait(), 20)
            asyncio.run(main())

    def test_the_main_thread_need_not_be_the_first_that_imported_threading(self):
        with FakeDaemon([THINGS], {}) as d:
            program = ("import _thread, sys\n"
                       "lock = _thread.allocate_lock()\n"
                       "lock.acquire()\n"
                       "def first():\n"
                       "    import threading\n"
                       "    lock.release()\n"
                       "_thread.start_new_thread(first, ())\n"
                       "lock.acquire()\n"
                       "import hostloom\n"
                       "hostloom.connect(sys.argv[1]).api.control_ping()\n"
                       "print(0)\n")
            done = subprocess.run([sys.executable, "-c", program, d.path], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.stdout, "0\n", done.stderr)

    def test_a_program_may_end_while_a_collected_connection_does(self):
        with FakeDaemon([THINGS], {"thing_set": thing_set}) as d:
            program = ("import gc, sys, threading, time, hostloom\n"
                       "gone = threading.Event()\n"
                       "connections = [hostloom.connect(sys.argv[1])]\n"
                       "core = connections[0]._core\n"
                       "for _ in range(200):\n"  # each is told that the connection is closed
                       "    core.start('silence', {}, 20.0, lambda _: time.sleep(0.001))\n"
                       "core.start('thing_set', {}, 20.0, lambda _: (connections.clear(), gc.collect(), gone.set()))\n"
                       "del core\n"
                       "gone.wait(20)\n")
            done = subprocess.run([sys.executable, "-c", program, d.path], capture_output=True, text=True, timeout=30)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_program_may_end_with_connections_open(self):
        with FakeDaemon([THINGS], {}) as d:
            program = ("import asyncio, sys, hostloom\n"
                       "h = hostloom.connect(sys.argv[1])\n"
                       "async def main():\n"
                       "    a = await hostloom.aio.connect(sys.argv[1])\n"
                       "    asyncio.ensure_future(a.api.silence())\n"
                       "    await asyncio.sleep(0)\n"
                       "asyncio.run(main())\n")
            done = subprocess.run([sys.executable, "-X", "dev", "-c", program, d.path], capture_output=True, text=True,
                                  timeout=30)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


class Asyncio(WithDaemon):
    def run_with(self, body):
        async def main():
            async with hostloom.aio.connect(self.daemon.path, timeout=20.0) as h:
                await body(h)
        asyncio.run(main())

    def test_what_is_refused_may_be_long_and_not_ascii(self):
        async def body(h):
            with self.assertRaisesRegex(hostloom.InvalidValueError, r'ip4: "€+\.\.\. is not an IPv4 address'):
                await asyncio.wait_for(h.api.addresses(ip4="€" * 100), 20)
        self.run_with(body)

    def test_an_outcome_that_cannot_be_made_is_a_failure(self):
        async def body(h):
            with unittest.mock.patch("hostloom.errors.from_status", side_effect=ZeroDivisionError):
                with self.assertRaises(ZeroDivisionError):
                    await asyncio.wait_for(h.api.silence(_timeout=0.05), 20)
        self.run_with(body)

    def test_requests_side_by_side(self):
        async def body(h):
            replies = await asyncio.gather(*(h.api.thing_set() for _ in range(50)), h.api.thing_dump())
            self.assertEqual([r.index for r in replies[:50]], [7] * 50)
            self.assertEqual(len(replies[50]), 2)
            self.assertEqual(await h.cli("show x", json=True), {"sessions": 3})
            with self.assertRaises(hostloom.ApiError):
                await h.api.thing_set(answer=-1)
            with self.assertRaises(hostloom.CommandError):
                await h.cli("bad")
            self.assertTrue(inspect.iscoroutinefunction(h.api.thing_set))
        self.run_with(body)

    def test_timeouts_and_cancelling(self):
        async def body(h):
            with self.assertRaises(TimeoutError):
                await h.api.silence(_timeout=0.05)
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(h.api.silence(), 0.05)
            self.assertEqual((await h.api.thing_set()).index, 7)
        self.run_with(body)

    def test_events(self):
        async def body(h):
            async with h.events.thing() as events:
                names = []
                async for e in events:
                    names.append(e.name)
                    if len(names) == 2:
                        break
                self.assertEqual(names, ["first", "second"])
                with self.assertRaises(TimeoutError):
                    await events.get(timeout=0.05)
            self.assertEqual([e async for e in events], [])
        self.run_with(body)

    def test_an_event_that_is_there_needs_no_time(self):
        async def body(h):
            async with h.events.thing() as events:
                await h.api.control_ping()  # behind both events
                self.assertEqual([(await events.get(timeout=0)).name for _ in range(2)], ["first", "second"])
                with self.assertRaisesRegex(TimeoutError, "no event within 0 s"):
                    await events.get(timeout=0)
        self.run_with(body)

    def test_the_daemon_goes_away(self):
        self.daemon.handlers["silence"] = lambda d, *_: d.hang_up()

        async def body(h):
            with self.assertRaises(hostloom.ClosedError):
                await h.api.silence()
        self.run_with(body)

    def test_connect_can_be_awaited(self):
        async def main():
            h = await hostloom.aio.connect(self.daemon.path)
            self.assertEqual((await h.api.thing_set()).index, 7)
            await h.close()
            with self.assertRaises(hostloom.ClosedError):
                await h.api.thing_set()
        asyncio.run(main())


if __name__ == "__main__":
    unittest.main()
