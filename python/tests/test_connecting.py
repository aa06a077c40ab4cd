#!/usr/bin/python3
"""Connections' beginnings and ends: refusals, signals, threads, the end of the program and of the daemon."""

import asyncio
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
import unittest
import weakref

import hostloom
from fake_daemon import FakeDaemon, text
from things import HANDLERS, THINGS, thing_set


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
            asked.wait(120)
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
            may_go_on.wait(120)

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
            closing.wait(120)
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
            self.assertIsNone(done.get(timeout=120))

    def test_ctrl_c_ends_waiting(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d, hostloom.connect(d.path) as h:
            threading.Thread(target=lambda: (asked.wait(120), os.kill(os.getpid(), signal.SIGINT))).start()
            with self.assertRaises(KeyboardInterrupt):
                h.api.silence(_timeout=60)

    def test_a_signal_that_another_thread_got_ends_waiting(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d, hostloom.connect(d.path) as h:
            threading.Thread(target=lambda: (asked.wait(120), signal.pthread_kill(threading.get_ident(), signal.SIGINT))).start()
            with self.assertRaises(KeyboardInterrupt):
                h.api.silence(_timeout=60)

    def test_an_event_loop_is_told_of_signals_that_came_while_a_call_waited(self):
        asked = threading.Event()
        with FakeDaemon([THINGS], {"silence": lambda *_: asked.set()}) as d, hostloom.connect(d.path) as h:
            threading.Thread(target=lambda: (asked.wait(120), os.kill(os.getpid(), signal.SIGUSR1))).start()

            async def main():
                told = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
                with self.assertRaises(hostloom.TimeoutError):
                    h.api.silence(_timeout=0.5)
                await asyncio.wait_for(told.wait(), 120)
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
            done = subprocess.run([sys.executable, "-c", program, d.path], capture_output=True, text=True, timeout=120)
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
                       "gone.wait(120)\n")
            done = subprocess.run([sys.executable, "-c", program, d.path], capture_output=True, text=True, timeout=120)
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
                                  timeout=120)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
