#!/usr/bin/python3
"""The package against a daemon that answers as a test wants. What goes over the wire is checked in C++
(tests/unit/sdk/client); here, what a Python program sees."""

import asyncio
import enum
import inspect
import ipaddress
import os
import pickle
import pydoc
import queue
import struct
import threading
import time
import unittest
import unittest.mock

import hostloom
from things import WithDaemon


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
        with hostloom.connect(self.daemon.path, timeout=5) as h, self.assertRaises(hostloom.TimeoutError):
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
        context = asked.get(timeout=120)
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


class Asyncio(WithDaemon):
    def run_with(self, body):
        async def main():
            async with hostloom.aio.connect(self.daemon.path, timeout=120.0) as h:
                await body(h)
        asyncio.run(main())

    def test_what_is_refused_may_be_long_and_not_ascii(self):
        async def body(h):
            with self.assertRaisesRegex(hostloom.InvalidValueError, r'ip4: "€+\.\.\. is not an IPv4 address'):
                await asyncio.wait_for(h.api.addresses(ip4="€" * 100), 120)
        self.run_with(body)

    def test_an_outcome_that_cannot_be_made_is_a_failure(self):
        async def body(h):
            with unittest.mock.patch("hostloom.errors.from_status", side_effect=ZeroDivisionError):
                with self.assertRaises(ZeroDivisionError):
                    await asyncio.wait_for(h.api.silence(_timeout=0.05), 120)
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
