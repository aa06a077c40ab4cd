"""TCP connections that a test steers: one command a line, answered by "ok ..." or what went wrong.

    open NAME ADDRESS PORT CONTROLLER   CONTROLLER "-": the default; answers what getsockopt says
    send NAME BYTES                     answers when the peer has all that was ever sent
    port NAME                           answers the local port
    close NAME
"""

import socket
import struct
import sys

sockets, sent = {}, {}


def do(command, name, *args):
    if command == "open":
        address, port, controller = args
        s = sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.settimeout(120)
        if controller != "-":
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, controller.encode())
        s.connect((address, int(port)))
        sent[name] = 0
        return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
    s = sockets[name]
    if command == "send":
        s.sendall(b"." * (int(args[0]) - 1) + b"?")
        sent[name] += int(args[0])
        got = 0
        while got != sent[name]:
            got = struct.unpack("!Q", s.recv(8, socket.MSG_WAITALL))[0]
        return str(got)
    if command == "port":
        return str(s.getsockname()[1])
    if command == "close":
        sockets.pop(name).close()
        return name
    raise ValueError(command)


for line in sys.stdin:
    try:
        print("ok", do(*line.split()), flush=True)
    except Exception as e:  # the test is told
        print(f"{type(e).__name__}: {e}", flush=True)
