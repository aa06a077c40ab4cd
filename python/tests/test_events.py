#!/usr/bin/python3
"""Streams of events, against a daemon that answers as a test wants."""

import os
import pydoc
import struct
import threading
import unittest

import hostloom
from things import WithDaemon


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
            h.api.control_ping()  # the event for its beginning has come: the next stream does not get it
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
                self.assertEqual(own.get(timeout=120).pid, 17)
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


if __name__ == "__main__":
    unittest.main()
