"""A server that says its name and echoes, and a client that asks for the name.

usage: named_server.py serve ADDRESS PORT NAME | ask ADDRESS PORT"""

import socket
import sys
import threading


def serve(address, port, name):
    def talk(s):
        with s:
            s.sendall(name.encode())
            while data := s.recv(1 << 16):
                s.sendall(data)

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(64)
        print("listening", flush=True)
        while True:
            s, _ = listener.accept()
            threading.Thread(target=talk, args=(s,), daemon=True).start()


def ask(address, port):
    with socket.create_connection((address, port), timeout=120) as s:
        s.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while data := s.recv(4096):
            answer += data
        print(answer.decode())


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        ask(sys.argv[2], int(sys.argv[3]))
