"""A daemon for tests, written from the protocol's description: it says what messages it has, and answers them as a test
wants. Shares no code with the package.

Frames: u64 0, u32 length, u32 0; then u16 id and the message. All big-endian.
"""

import json
import os
import socket
import struct
import tempfile
import threading

CREATE, CREATE_REPLY = 15, 16
FIRST_ID = 100
CLIENT_INDEX = 0x42

MEMCLNT = {
    "messages": [
        ["control_ping", ["u16", "_vl_msg_id"], ["u32", "client_index"], ["u32", "context"], {"crc": "0x51077d14"}],
        ["control_ping_reply", ["u16", "_vl_msg_id"], ["u32", "context"], ["i32", "retval"], ["u32", "client_index"],
         ["u32", "vpe_pid"], {"crc": "0xf6b0b8ca"}],
        ["get_api_json", ["u16", "_vl_msg_id"], ["u32", "client_index"], ["u32", "context"], {"crc": "0x51077d14"}],
        ["get_api_json_reply", ["u16", "_vl_msg_id"], ["u32", "context"], ["i32", "retval"], ["string", "json", 0],
         {"crc": "0xea715b59"}],
    ],
    "services": {"control_ping": {"reply": "control_ping_reply"}, "get_api_json": {"reply": "get_api_json_reply"}},
}


def text(value):
    return struct.pack(">I", len(value)) + value.encode()


class FakeDaemon:
    """Serves connections until it is left. `handlers` maps a message's name to handler(self, context, fields), where
    fields are the bytes behind client_index and context."""

    def __init__(self, modules, handlers):
        self.modules = [MEMCLNT, *modules]
        names = [(m[0], m[-1]["crc"]) for module in self.modules for m in module["messages"]]
        self.ids = {name: FIRST_ID + i for i, (name, _) in enumerate(names)}
        self.table = [f"{name}_{crc[2:]}" for name, crc in names]
        self.handlers = {"control_ping": FakeDaemon.pong, "get_api_json": FakeDaemon.describe, **handlers}
        self.seen = []
        self.folder = tempfile.TemporaryDirectory(prefix="hostloom-python-")
        self.path = os.path.join(self.folder.name, "api.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.peer, self.peers, self.threads = None, [], []
        self.start(self.accept)

    def start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        for peer in self.peers:
            self.hang_up(peer)
        for thread in self.threads:
            thread.join()
        self.listener.close()
        self.folder.cleanup()

    def hang_up(self, peer=None):
        try:
            (peer or self.peer).shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has gone already

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.peer = peer
            self.peers.append(peer)
            self.start(self.serve, peer)

    def serve(self, peer):
        with peer, peer.makefile("rb") as stream:
            self.answer(stream)

    def answer(self, stream):
        names = {number: name for name, number in self.ids.items()}
        while len(header := stream.read(16)) == 16:
            message = stream.read(struct.unpack_from(">I", header, 8)[0])
            number = struct.unpack_from(">H", message)[0]
            if number == CREATE:
                context = message[2:6]
                table = b"".join(struct.pack(">H64s", FIRST_ID + i, e.encode()) for i, e in enumerate(self.table))
                self.raw(struct.pack(">HI", CREATE_REPLY, CLIENT_INDEX) + context +
                         struct.pack(">iIH", 0, CLIENT_INDEX, len(self.table)) + table)
                continue
            client_index, context = struct.unpack_from(">II", message, 2)
            assert client_index == CLIENT_INDEX
            self.seen.append(names[number])
            handler = self.handlers.get(names[number])
            if handler:
                handler(self, context, message[10:])

    def raw(self, message):
        try:
            self.peer.sendall(struct.pack(">QII", 0, len(message), 0) + message)
        except OSError:
            pass

    def send(self, name, first, fields=b""):
        """first: the context, or an event's client_index."""
        self.raw(struct.pack(">HI", self.ids[name], first) + fields)

    def pong(self, context, _fields):
        self.send("control_ping_reply", context, struct.pack(">iII", 0, CLIENT_INDEX, os.getpid()))

    def describe(self, context, _fields):
        self.send("get_api_json_reply", context, struct.pack(">i", 0) + text(json.dumps(self.modules)))
