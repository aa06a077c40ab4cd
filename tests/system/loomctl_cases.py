#!/usr/bin/python3
"""System tests of loomctl over a running daemon, some of them on a terminal. usage: loomctl_cases.py CASE"""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from lab import Failure, Lab  # noqa: E402

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][0-9A-Za-z]|[=>])")
PROMPT = "hostloom# "


def expect(condition, message):
    if not condition:
        raise Failure(message)


def loomctl(lab, *words, input=None):
    done = subprocess.run([str(lab.build / "bin/loomctl"), "-s", str(lab.dir / "run/api.sock"), *words], text=True,
                          capture_output=True, timeout=240, **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}))
    return done.returncode, done.stdout, done.stderr


def objects(text):
    """JSON objects that stand behind each other."""
    found = []
    while text.strip():
        one, end = json.JSONDecoder().raw_decode(text.lstrip())
        found.append(one)
        text = text.lstrip()[end:]
    return found


class Terminal:
    """loomctl on a pseudo-terminal, and what has appeared there."""

    def __init__(self, lab, *words, rows=24, columns=100, **env):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            environment = dict({k: v for k, v in os.environ.items() if k not in ("PAGER", "LOOMCTL_PAGER", "LESS", "NO_COLOR")},
                               TERM="xterm", HOME=str(lab.dir), **env)
            os.execve(str(lab.build / "bin/loomctl"), ["loomctl", "-s", str(lab.dir / "run/api.sock"), *words], environment)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the program has gone
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def plain(self):
        """What a reader would see, without colours and movements."""
        return ESCAPES.sub("", self.seen).replace("\r", "")

    def until(self, text, seconds=120):
        """Reads until `text` has appeared, and returns all that came before it and with it."""
        deadline = time.monotonic() + seconds
        while text not in self.plain():
            expect(self.read(max(0.0, deadline - time.monotonic())) or time.monotonic() < deadline,
                   f"{text!r} did not appear: {self.seen!r}")
        plain = self.plain()
        self.seen = plain[plain.index(text) + len(text):]
        return plain[:plain.index(text) + len(text)]

    def type(self, text):
        os.write(self.fd, text.encode())

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def status(self, seconds=120):
        while self.read(seconds):
            pass
        with os.fdopen(os.pidfd_open(self.pid)) as ended:
            expect(select.select([ended], [], [], seconds)[0], f"it goes on: {self.seen!r}")
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


def interactive():
    with Lab() as lab:
        with Terminal(lab) as t:
            t.until(PROMPT)
            t.type("sho\t")  # what is unique is finished, with a space
            t.until("show ")
            t.type("ver\t\r")
            t.until("version ")
            shown = t.until(PROMPT)
            expect("program" in shown and "hostloom" in shown, shown)
            t.type("show s\t")  # more than one: they are listed with their help, and the line stands again
            shown = t.until("show s")  # echoed
            shown = t.until(PROMPT + "show s")
            for word in ("segment-manager", "session", "statistics"):
                expect(word in shown, f"{word}: {shown}")
            expect("Sessions, listeners and their queues" in shown, shown)
            t.type("ession ?")  # help, without a return, for what may follow
            shown = t.until(PROMPT + "show session ")
            expect("verbose" in shown and "<Enter>" in shown and "show session [verbose" in shown, shown)
            t.type("\x03")  # Ctrl-C: another line, and this one is not run
            shown = t.until(PROMPT)
            expect("listeners" not in shown and shown.endswith("\n" + PROMPT), shown)
            t.type("\x03")  # nor does it end the conversation where nothing was typed
            shown = t.until(PROMPT)
            expect(shown.endswith("\n" + PROMPT), shown)
            t.type("trace add ip4-inp\t")  # names of what is there
            t.until("ip4-input")
            t.type("\x03")
            t.until(PROMPT)
            t.type("show nothing ?")
            shown = t.until(PROMPT + "show nothing ")
            expect("unknown word 'nothing' at position 2" in shown, shown)
            t.type("\x03")
            t.until(PROMPT)
            t.type("show nonsense\r")  # a failure is red, and the conversation goes on
            t.until("unknown word 'nonsense'")
            t.until(PROMPT)
            t.type("quit\r")
            expect(t.status() == 1, "the last line failed")
        with Terminal(lab) as t:
            t.until(PROMPT)
            t.type("\x1b[A")  # arrow up: the history is there the next time
            t.until("show nonsense")
            t.type("\x1b[A")
            t.until("version")  # only what differs is drawn
            t.type("\r")
            t.until("program")
            t.until(PROMPT)
            t.type("\x04")
            expect(t.status() == 0, "Ctrl-D is a good end")
        with Terminal(lab) as t:
            t.until(PROMPT)
            expect(not t.echoes(), "the line editor echoes")
            os.kill(t.pid, signal.SIGTERM)
            expect(t.status() == -signal.SIGTERM and t.echoes(), "the terminal is left as the line editor had it")
        expect((lab.dir / ".loomctl_history").stat().st_mode & 0o077 == 0, "others can read the history")
        with Terminal(lab) as t:
            t.until(PROMPT)
            lab.stop(lab.daemon)
            t.type("show version\r")
            t.until("loomctl: ")
            expect(t.status() == 3, "the daemon has gone")


@contextlib.contextmanager
def stopped(daemon):
    daemon.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.send_signal(signal.SIGCONT)


def hung():
    """A daemon that is there and does not answer."""
    with Lab() as lab:
        with Terminal(lab, "--timeout", "300") as t:
            t.until(PROMPT)
            with stopped(lab.daemon):
                t.type("sho\t")  # completion gives up long before a command would
                t.type("?")
                t.until("no answer to cli_complete within")
            t.type("\x03")
            t.until("\n" + PROMPT)
            t.type("sho\t")
            t.until("show ")
        with Terminal(lab, "--timeout", "3") as t:
            t.until(PROMPT)
            with stopped(lab.daemon):
                t.type("show version\r")  # late, but the daemon has not gone, nor has the conversation ended
                t.until("no answer to cli_inband within")
                t.until(PROMPT)
            t.type("\x04")
            expect(t.status() == 1, "a command that failed")


def terminal():
    """Colours and pager on a terminal, and only there."""
    with Lab() as lab:
        pager = lab.dir / "pager"
        pager.write_text('#!/bin/sh\necho "paged by $0"\ncat >/dev/null\n')
        pager.chmod(0o755)
        with Terminal(lab, "help", rows=10, LOOMCTL_PAGER=str(pager)) as t:
            t.until("paged by")
            expect(t.status() == 0, "status")
            expect("show version" not in t.plain(), "it was shown as well as paged")
        for words, env, rows in ((("help",), {"LOOMCTL_PAGER": str(pager)}, 5000),         # it fits
                                 (("--no-pager", "help"), {"LOOMCTL_PAGER": str(pager)}, 10),
                                 (("help",), {"LOOMCTL_PAGER": "/no/such/pager 2>/dev/null"}, 10)):  # shown all the same
            with Terminal(lab, *words, rows=rows, **env) as t:
                expect(t.status() == 0, f"{words}")
                expect("show version" in t.plain() and "paged by" not in t.plain(), f"{words} {env}: {t.plain()}")
        for env, red in (({}, True), ({"NO_COLOR": "1"}, False)):
            with Terminal(lab, "show", "nonsense", **env) as t:
                expect(t.status() == 1, "status")
                expect(("\x1b[31m" in t.seen) == red, f"{env}: {t.seen!r}")
        status, out, err = loomctl(lab, "show", "nonsense")
        expect(status == 1 and "\x1b" not in out + err, f"{out!r} {err!r}")
        expect("\x1b[31m" in loomctl(lab, "--color", "always", "show", "nonsense")[2], "--color always")
        expect(loomctl(lab, "--color", "pink", "show", "version")[0] == 2, "--color pink")


def scripts():
    with Lab() as lab:
        script = lab.dir / "three.cli"
        script.write_text("# comment\n\n  show version  # and another\nshow nothing\nshow threads\n")
        status, out, err = loomctl(lab, "-f", str(script))
        expect(status == 1 and "program" in out and "loom" not in out.replace("hostloom", ""), f"{status} {out}")
        expect(err.startswith(f"{script}:4: unknown word 'nothing' at position 2"), err)
        status, out, err = loomctl(lab, "--continue", "-f", str(script))
        expect(status == 1 and "program" in out and "loom-w0" in out, f"{status} {out}")
        expect(err.count("\n") == 1 and ":4: " in err, err)
        status, out, err = loomctl(lab, input=script.read_text())
        expect(status == 1 and err.startswith("line 4: "), err)
        status, out, err = loomctl(lab, "-f", "-", input="show version\nshow version")  # no newline at the end
        expect(status == 0 and out.count("program") == 2 and err == "", f"{status} {out} {err}")
        status, out, err = loomctl(lab, "--json", input="show version\nshow threads\n")
        expect(status == 0 and [{"pid", "threads"} & set(o) for o in objects(out)] == [{"pid"}, {"threads"}], out)
        expect(loomctl(lab, "-f", str(lab.dir / "none.cli"))[0] == 2, "a file that is not there")
        expect(loomctl(lab, "-f", str(script), "show", "version")[0] == 2, "a file and a command")
        expect(loomctl(lab, input="show version" + " " * 70_000 + "\n")[0] == 1, "a line that is too long")
        lab.stop(lab.daemon)
        expect(loomctl(lab, "-f", str(script))[0] == 3, "no daemon")


def shows():
    """Every `show` answers as JSON, with names for what it says."""
    with Lab() as lab:
        lab.cli("trace", "add", "ip4-input", "5")
        lab.run(["ping", "-c", "1", laboratory.STACK_IP4])
        lab.cli("api", "trace", "on")
        commands = [row for row in lab.cli("help", as_json=True)["commands"] if row["command"].startswith("show ")]
        expect(len(commands) > 25, f"{commands}")
        for row in commands:
            for words in {row["command"], row["command"] + (" verbose" if "verbose" in row["arguments"] else "")}:
                answer = lab.cli(*words.split(), as_json=True)
                expect(isinstance(answer, dict) and answer, f"{words}: {answer}")
                expect(set(answer) != {"lines"} and "table" not in answer, f"{words}: no names: {answer}")


if __name__ == "__main__":
    laboratory.run_case(interactive, hung, terminal, scripts, shows)
