#!/usr/bin/python3
"""System tests of ports: whose they are, and which are chosen, against what the kernel does. usage: port_cases.py CASE"""

import difflib
import errno
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from cases import PYTHON, expect, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Lab  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent / "programs"
STREAMS = [PYTHON, str(HERE / "stream_ports.py")]
SERVER = """
import socket, sys
s = socket.create_server((sys.argv[1], 0))
print("port", s.getsockname()[1], flush=True)
while True:
    try:
        s.accept()[0].recv(1)
    except ConnectionResetError:
        pass
"""


def said_by(lab, own, own6, peer, env, peer_env):
    """Lines of a program that has a server to connect to."""
    with lab.program([PYTHON, "-c", SERVER, peer], name="server", env=peer_env) as server:
        done = lab.run([*STREAMS, own, own6, peer, lab.port_of(server)], env=env, timeout=240)
    return done.stdout.decode().splitlines()


def streams(n_workers=1):
    """Who may bind, and listen, where others do."""
    with Lab(workers=n_workers) as lab:
        linux = said_by(lab, HOST_IP4, HOST_IP6, STACK_IP4, None, lab.preload())
        ours = said_by(lab, STACK_IP4, STACK_IP6, HOST_IP4, lab.preload(), None)
        differences = list(difflib.unified_diff(linux, ours, "the kernel", "Hostloom", lineterm="", n=0))
        expect(len(linux) > 4000 and not differences,
               f"{len(linux)} lines, {len(differences)} of the difference:\n" + "\n".join(differences[:60]))
        expect_reclaimed(lab)


def stream_workers():
    streams(2)


CHOSEN = """
import errno, socket, sys
own, peer, port, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
held, found = [], {}
def note(how, s, call, *arguments):
    held.append(s)
    try:
        call(*arguments)
    except OSError as e:
        return found.setdefault(how, []).append(-e.errno)
    found.setdefault(how, []).append(s.getsockname()[1])
for _ in range(n):
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        s = socket.socket(socket.AF_INET, kind)
        note(f"bind {kind.name}", s, s.bind, (own, 0))
        s = socket.socket(socket.AF_INET, kind)
        note(f"connect {kind.name}", s, s.connect, (peer, port))
    s = socket.socket()
    note("listen", s, s.listen)
for how, ports in found.items():
    print(f"{how}:", *ports)
"""


def chosen():
    """Ports that nobody has named: Linux's, or those that startup.conf says, and none beyond."""
    def ports_of(lab, n):
        """What each way to get one has got: ports, and of calls that failed the negative errno."""
        with lab.program([PYTHON, "-c", SERVER, HOST_IP4], name="server") as server:
            done = lab.run([PYTHON, "-c", CHOSEN, STACK_IP4, HOST_IP4, lab.port_of(server), str(n)], env=lab.preload())
        found = {}
        for line in done.stdout.decode().splitlines():
            how, ports = line.split(":")
            found[how] = [int(p) for p in ports.split()]
        return found

    with Lab() as lab:
        found = ports_of(lab, 100)
        expect(len(found) == 5, f"{found.keys()}")
        for how, ports in found.items():
            expect(len(ports) == 100 and all(32768 <= p <= 60999 for p in ports), f"{how}: {ports}")
        expect_reclaimed(lab)
    with Lab(config_extra="session { min-src-port 2000 max-src-port 2009 }") as lab:
        found = ports_of(lab, 12)
        for how, ports in found.items():
            expect(all(p < 0 or 2000 <= p <= 2009 for p in ports), f"{how}: {ports}")
        expect(found["connect SOCK_STREAM"][10:] == [-errno.EADDRNOTAVAIL] * 2, f"{found}")
        expect(len(set(found["connect SOCK_STREAM"])) == 11, f"{found}")
        alone = found["bind SOCK_STREAM"] + found["listen"]  # nobody else's at that address
        expect(len([p for p in alone if p > 0]) == 10 and len(set(alone)) == 11, f"{found}")
        expect(min(alone) == -errno.EADDRINUSE, f"{found}")
        expect_reclaimed(lab)


def main():
    laboratory.run_case(streams, stream_workers, chosen)


if __name__ == "__main__":
    main()
