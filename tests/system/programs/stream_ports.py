#!/usr/bin/python3
"""Who may listen on a port beside another: what the system says, over whatever network the process has, as lines that are the
same on the kernel and over Hostloom. Somebody listens at PEER. usage: stream_ports.py OWN OWN6 PEER PORT"""

import errno
import itertools
import os
import socket
import struct
import sys

from checks import failure

REUSE = {"": (), "a": (socket.SO_REUSEADDR,), "p": (socket.SO_REUSEPORT,), "ap": (socket.SO_REUSEADDR, socket.SO_REUSEPORT)}
PORT = 5000
own, own6, peer, peer_port = *sys.argv[1:4], int(sys.argv[4])
# name: family, address, IPV6_V6ONLY
ENDS = {
    "any4": (socket.AF_INET, "0.0.0.0", None),
    "own4": (socket.AF_INET, own, None),
    "any": (socket.AF_INET6, "::", 0),
    "any6": (socket.AF_INET6, "::", 1),
    "own6": (socket.AF_INET6, own6, None),
    "mapped": (socket.AF_INET6, f"::ffff:{own}", 0),
    "mapped any": (socket.AF_INET6, "::ffff:0.0.0.0", 0),
}


def new(end, share):
    family, _, only6 = ENDS[end]
    s = socket.socket(family, socket.SOCK_STREAM)
    for option in REUSE[share]:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    if only6 is not None:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
    return s


def attempt(s, end, listens=True):
    """Which call says what."""
    for name, call in (("bind", lambda: s.bind((ENDS[end][1], PORT))), ("listen", s.listen))[:1 + listens]:
        try:
            call()
        except OSError as e:
            return f"{name} {errno.errorcode[e.errno]}"
    return "ok"


def one_process():
    """Of two sockets, each bound alone or listening."""
    for first, second, x, y, listens, then in itertools.product(ENDS, ENDS, REUSE, REUSE, (False, True), (False, True)):
        with new(first, x) as s, new(second, y) as t:
            said = [attempt(s, first, listens), attempt(t, second, then)]
            if said == ["ok", "ok"] and not listens:  # it listens after all, beside whatever the other does
                said.append(f"late {failure(s.listen)}")
        with new(second, y) as t:
            said.append(attempt(t, second))  # both have gone
        print(f"{first} '{x}' {listens}, {second} '{y}' {then}: {said}")


def two_processes():
    """The second one is a child's."""
    for first, second, x, listens in itertools.product(ENDS, ENDS, ("", "p", "a"), (False, True)):
        with new(first, x) as s:
            print(f"{first} '{x}' {listens}: {attempt(s, first, listens)}", flush=True)
            child = os.fork()
            if child == 0:
                s.close()
                with new(second, x) as t:
                    print(f"another's {second}: {attempt(t, second)}", flush=True)
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                sys.exit("FAILED: the child")
            with new(second, "") as t:
                print(f"beside the first: {attempt(t, second)}", flush=True)


def again():
    """What bind() has refused may be asked for once more, of another port or of this one when it is free."""
    with new("any4", "") as s, new("own4", "") as t:
        print(attempt(s, "any4"), attempt(t, "own4"))
        t.bind((own, PORT + 1))
        t.listen()
        print(t.getsockname()[1])
    with new("own4", "") as s, new("own4", "") as t:
        print(attempt(s, "own4"), attempt(t, "own4"))
        s.close()
        print(attempt(t, "own4"))


def copies():
    """A copy is the same socket: the port is free when the last one has gone."""
    with new("own4", "") as t:
        s = new("own4", "")
        print(attempt(s, "own4", False))
        copy = s.dup()
        s.close()
        print(attempt(t, "own4"))
        copy.listen()
        more = copy.dup()
        copy.close()
        print(attempt(t, "own4"))
        more.close()
        print(attempt(t, "own4"))
    with new("own4", "") as s, s.dup() as copy, new("own4", "") as t:  # whichever is bound
        print(attempt(s, "own4", False), failure(lambda: copy.bind((own, PORT + 1))))
        print(failure(copy.listen), copy.getsockname()[1], s.getsockname()[1], attempt(t, "own4"))
        s.close()
        print(attempt(t, "own4"))


def inherited():
    """What a parent has bound its child may listen on."""
    with new("any4", "") as s:
        print(attempt(s, "any4", False), flush=True)
        child = os.fork()
        if child == 0:
            print(f"the child: {failure(s.listen)}", flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit("FAILED: the child")
    with new("any4", "") as s:
        print(attempt(s, "any4"))


def connected():
    """A socket that is bound, or has chosen a port that its name tells, and is connected then has it still."""
    for port in (PORT, 0):
        with new("own4", "") as s, new("any4", "") as t, new("own4", "") as u:
            s.bind((own, port))
            chosen = s.getsockname()[1]
            print("the port is", "chosen" if port == 0 and chosen != 0 else chosen)
            for other, address in ((t, "0.0.0.0"), (u, own)):
                print("before", failure(other.bind, (address, chosen)))
            s.connect((peer, peer_port))
            print("the name stays", s.getsockname() == (own, chosen))
            for other, address in ((t, "0.0.0.0"), (u, own)):
                print("then", failure(other.bind, (address, chosen)))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME-WAIT
        with new("any4", "") as t:
            print("and when it has gone", failure(t.bind, ("0.0.0.0", chosen)))


for part in (one_process, two_processes, again, copies, inherited, connected):
    part()
