#!/usr/bin/python3
"""Accepts connections at ADDRESS PORT and answers a kilobyte with one byte, until it is stopped."""

import socket
import sys
import threading


def serve(peer):
    with peer:
        n = 0
        while data := peer.recv(4096):
            n += len(data)
            if n >= 1000:
                peer.sendall(b"y")
                n -= 1000


with socket.create_server((sys.argv[1], int(sys.argv[2]))) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
