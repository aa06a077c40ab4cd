#!/usr/bin/python3
"""A TLS client of the kernel: ADDRESS PORT CA NAME VERSION BYTES. Sends, expects the same back and close_notify."""

import hashlib
import socket
import ssl
import sys

address, port, ca, name, version, size = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
context.set_alpn_protocols(["nothing", "echo"])
data = hashlib.shake_128(b"client").digest(int(size))
with socket.create_connection((address, int(port)), timeout=240) as raw:
    s = context.wrap_socket(raw, server_hostname=name, suppress_ragged_eofs=False)
    got = bytearray()
    for at in range(0, len(data), 1 << 16):
        s.sendall(data[at:at + (1 << 16)])
        while len(got) + (1 << 17) < at:
            got += s.recv(1 << 16)
    while len(got) < len(data):
        got += s.recv(1 << 16)
    words = (s.version(), s.selected_alpn_protocol())
    s.unwrap()  # close_notify there and back
print(*words, "same" if got == data else f"{len(got)} other bytes")
