#!/usr/bin/python3
"""ADDRESS PORT CA N: so many TLS connections one after the other, every other one with the last one's session."""

import socket
import ssl
import sys

address, port, ca, n = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
session = None
for i in range(int(n)):
    with socket.create_connection((address, int(port)), timeout=240) as raw:
        s = context.wrap_socket(raw, server_hostname=address, session=session if i % 2 else None)
        s.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        while s.recv(4096):
            pass
        session = s.session
        s.close()
