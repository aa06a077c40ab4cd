#!/usr/bin/python3
"""A TLS echo server of the kernel: ADDRESS PORT CERT KEY VERSION. Says its port; ends with its parent's signal."""

import socket
import ssl
import sys
import threading

address, port, cert, key, version = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
context.load_cert_chain(cert, key)


def echo(raw):
    try:
        with context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False) as s:
            while data := s.recv(1 << 16):
                s.sendall(data)
            s.unwrap()
    except (OSError, ssl.SSLError) as e:
        print("error", e, flush=True)


with socket.create_server((address, int(port))) as listener:
    print("port", listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
