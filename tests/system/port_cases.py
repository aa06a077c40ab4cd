#!/usr/bin/python3
"""System tests of ports: whose they are, and which are chosen, against what the kernel does. usage: port_cases.py CASE"""

import difflib
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


def main():
    laboratory.run_case(streams, stream_workers)


if __name__ == "__main__":
    main()
