#!/usr/bin/python3
"""System tests of programs that are killed at each step of what they do. usage: death_cases.py CASE

The daemon has two workers, and others' transfers go on through all of it: bytes over the network and between two
programs, datagrams, each compared with what was sent. After each death the daemon has what it had before: applications,
sessions, segments, descriptors, and the very same memory files.
"""

import os
import pathlib
import re
import signal
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "lab"), str(pathlib.Path(__file__).resolve().parent / "programs")]
import dies_at  # noqa: E402
import lab as laboratory  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, Lab, wait_until  # noqa: E402

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
PYTHON = "/usr/bin/python3"
PEER, DATAGRAMS, DIES, PAIR = ([PYTHON, str(PROGRAMS / f"{name}.py")]
                               for name in ("through_peer", "datagram_peer", "dies_at", "pair"))
NOBODY = "10.88.0.77"


def expect(condition, message):
    if not condition:
        raise Failure(message)


def memory_files(lab):
    """{inode: bytes that are really there} of the daemon's memfds; of two descriptors of one it is counted once."""
    files = {}
    for entry in pathlib.Path(f"/proc/{lab.daemon.pid}/fd").iterdir():
        try:
            if os.readlink(entry).startswith("/memfd:"):
                st = os.stat(entry)
                files[st.st_ino] = st.st_blocks * 512
        except FileNotFoundError:
            pass  # closed meanwhile
    return files


def held(lab):
    """What the daemon has of applications. Neither what waits in fifos nor what idle memory it has not yet given back."""
    segments = lab.cli("show", "segment-manager", as_json=True)
    return {
        "applications": sorted((a["index"], a["name"], a["workers"], a["sessions"]) for a in lab.applications()),
        "sessions": lab.cli("show", "session", as_json=True),
        "segments": sorted((s["application"], s["segments"], s["app arenas"], s["segment bytes"]) for s in segments["segments"]),
        "pairs": sorted((p["application"], p["peer"], p["worker"], p["connections"], p["segments"], p["app arenas"])
                        for p in segments.get("cut-through", [])),
        "memory files": sorted(memory_files(lab)),
        "descriptors": len(os.listdir(f"/proc/{lab.daemon.pid}/fd")),
    }


def settled(lab):
    """held(), once that is the same twice: of what asks for it a connection may still be closing."""
    last = {}

    def same():
        before = dict(last)
        last.update(held(lab))
        return last == before
    wait_until(same, "the daemon comes to rest")
    return last


class Bystanders:
    """Servers and clients that do nothing but transfer, and have to get on after each death."""

    def __init__(self, lab):
        self.lab = lab
        self.server = serve(lab, PEER, STACK_IP4, 7000)
        self.datagrams = lab.spawn([PYTHON, str(PROGRAMS / "datagram_echo.py"), STACK_IP4, "7001"], name="echo", env=lab.preload())
        lab.port_of(self.datagrams)
        self.clients = [lab.spawn(command, name=name, env=env) for command, name, env in (
            (PEER + ["stream", STACK_IP4, "7000"], "stream-by-network", None),
            (PEER + ["stream", STACK_IP4, "7000"], "stream-within", lab.preload()),
            (DATAGRAMS + ["ask", STACK_IP4, "7001"], "datagrams-within", lab.preload()))]
        self.get_on()

    def said(self, client):
        return int((self.lab.output(client).rpartition("\n")[0].split() or ["0"])[-1])

    def get_on(self):
        before = [self.said(c) for c in self.clients]

        def moved():
            for c in (self.server, self.datagrams, *self.clients):
                expect(c.poll() is None, f"{c.label} ended:\n{self.lab.output(c)}{self.lab.daemon_tail()}")
            return all(self.said(c) > b for c, b in zip(self.clients, before))
        wait_until(moved, "all transfers get on")

    def end(self):
        for c in (*self.clients, self.server, self.datagrams):
            self.lab.stop(c)


def serve(lab, program, address, port, preload=True):
    child = lab.spawn(program + ["serve", address, str(port)], name="serve", env=lab.preload() if preload else None)
    wait_until(lambda: "listening" in lab.output(child) or child.poll() is not None, "a server listens")
    expect(child.poll() is None, f"a server ended:\n{lab.output(child)}")
    return child


# What the end of its connection is to each peer, for steps at which all have been accepted. Unread bytes make a reset of it
# (RFC 2525 section 2.17).
HEARD = {
    "serves-accepted": "reset",
    "serves-read": "reset",
    "serves-read-all": "end of file",
    "serves-forked": "reset",
    "serves-half-closed-by-peer": "end of file",
    "serves-closed-unread": "reset",
    "serves-half-closed": "end of file",
}


def kill_at(lab, step, within, preload=True):
    """Runs a program to the step, its peers on the network's side or `within` this host, and waits for its death."""
    whom = step.split("-")[0]
    peers, peer = [], STACK_IP4 if within else HOST_IP4
    if whom in ("asks", "datagrams"):
        peers.append(serve(lab, PEER if whom == "asks" else DATAGRAMS, peer, 7100, preload=within))
    victim = lab.spawn(DIES + [step, STACK_IP4, "7101", peer, "7100", str(lab.dir / "run/app_ns_sockets/default"), NOBODY],
                       name=step, env=lab.preload() if preload else None)
    if whom == "serves":
        wait_until(lambda: "listening" in lab.output(victim) or victim.poll() is not None, f"{step}: it listens")
        how = "half" if step == "serves-half-closed-by-peer" else "hold"
        peers += [lab.spawn(PEER + [how, STACK_IP4, "7101"], name=how, env=lab.preload() if within else None)
                  for _ in range(dies_at.CONNECTIONS)]
    wait_until(lambda: victim.poll() is not None, f"{step}: it dies")
    expect(victim.returncode == -signal.SIGKILL, f"{step}: ended by {victim.returncode}:\n{lab.output(victim)}{lab.daemon_tail()}")
    if whom == "serves":  # each hears how it ended, by itself
        for p in peers:
            wait_until(lambda p=p: p.poll() is not None, f"{step}: a peer hears of its death")
            said = (lab.output(p).splitlines() or [""])[-1]
            expect(step not in HEARD or (p.returncode, said) == (0, HEARD[step]),
                   f"{step}: a peer ended by {p.returncode}, not hearing '{HEARD.get(step)}':\n{lab.output(p)}{lab.daemon_tail()}")
    else:  # its death is not theirs
        for p in peers:
            expect(p.poll() is None, f"{step}: the server ended by {p.returncode}:\n{lab.output(p)}{lab.daemon_tail()}")
    for p in peers:
        lab.stop(p, signal.SIGKILL)


def everything_back(lab, before, what):
    last = {}

    def same():
        last.update(held(lab))
        # Fewer descriptors, when one of loomctl's connections was among them before.
        return last["descriptors"] <= before["descriptors"] and last == {**before, "descriptors": last["descriptors"]}
    try:
        wait_until(same, f"{what}: the daemon has what it had", 240)
    except Failure as late:
        raise Failure(f"{late}\n" + "\n".join(f"{k}: {before[k]} -> {last.get(k)}" for k in before if before[k] != last.get(k))
                      + f"\n{lab.daemon_tail()}") from None


def die_at_all(steps, ways, **how):
    with Lab(workers=2, config_extra="tcp { timewait-time 0 }") as lab:
        lab.cli("show", "version")
        at_first = settled(lab)
        others = Bystanders(lab)
        before = settled(lab)
        for step in steps:
            for within in ways(step):
                print(f"{step}{', within the host' if within else ''}", flush=True)
                kill_at(lab, step, within, **how)
                others.get_on()
                everything_back(lab, before, step)
        others.end()
        everything_back(lab, at_first, "when all have gone")
        log = (lab.dir / "hostloom.log").read_text()
        expect(not re.search(r"ended: ", log), f"an application was ended:\n{log}")


def both_ways(step):
    return (False,) if step.startswith("alone-") else (False, True)


def attach():
    """In the middle of an attach: nothing said, half of it, before the descriptors are received and after."""
    die_at_all(dies_at.ATTACH, lambda step: (False,), preload=False)


def streams():
    """Listening, connecting, accepting, in a transfer, half closed, closing; by the network, and within the host."""
    die_at_all(dies_at.STREAM, both_ways)


def datagrams():
    """Bound, asking, with answers unread, shut down, closed; by the network, and within the host, where they are linked."""
    die_at_all(dies_at.DATAGRAMS, both_ways)


# What the one who lives says, by what the other had done with what was sent to it. All that arrived can be read either way.
# Unread bytes make a reset of the end (RFC 2525 section 2.17); the first write into an orderly end is taken, as TCP takes it.
OUTCOMES = {
    "read": ("30000 bytes; end of file; end of file; writes: 1 EPIPE", "without an error"),
    "unread": ("30000 bytes; ECONNRESET; end of file; writes: EPIPE EPIPE", "with an error"),
    "full": ("30000 bytes; end of file; end of file; writes: EPIPE EPIPE", "without an error"),  # the write had the error
}


def pairs():
    """Either end of a cut-through pair dies with data unread at the other: native and under preload, by each way of waiting."""
    with Lab() as lab:
        lab.cli("show", "version")
        before = settled(lab)
        library = str(lab.build / "lib/libvppcom.so")
        for api in (library, "sockets"):
            for dying, living in (("listen", "connect"), ("connect", "listen")):
                for how, (said, error) in OUTCOMES.items():
                    for way in ("blocking", "poll", "epoll-level", "epoll-edge"):
                        what = f"{pathlib.Path(api).stem}, {living} lives, {way}, {how}"
                        got = one_dies(lab, api, dying, living, way, how)
                        wanted = (["blocked write: ECONNRESET"] if how == "full" else []) + ([] if way == "blocking" else [error])
                        wanted = "; ".join(wanted + [said])
                        expect(got == wanted, f"{what}: '{got}', not '{wanted}'")
                        everything_back(lab, before, what)


def one_dies(lab, api, dying, living, way, how):
    """What the one who lives says."""
    env = lab.preload() if api == "sockets" else lab.native()
    commands = {dying: ["dies", dying, STACK_IP4, "7000", "read" if how == "read" else "unread"],
                living: ["lives", living, STACK_IP4, "7000", way, how]}
    children = {}
    for side in ("listen", "connect"):
        c = children[side] = lab.spawn(PAIR + [api] + commands[side], name=side, env=env)
        if side == "listen":
            wait_until(lambda c=c: "listening" in lab.output(c) or c.poll() is not None, "one listens")
    for c in children.values():
        wait_until(lambda c=c: c.poll() is not None, "both end")
    expect(children[dying].returncode == -signal.SIGKILL, f"who dies ended otherwise:\n{lab.output(children[dying])}")
    expect(children[living].returncode == 0, f"who lives ended:\n{lab.output(children[living])}")
    return lab.output(children[living]).removeprefix("listening\n").strip()


if __name__ == "__main__":
    laboratory.run_case(attach, streams, datagrams, pairs)
