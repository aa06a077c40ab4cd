"""A client of the binary API, as small as one can be: messages by name, bodies by the caller."""

import socket
import struct


class ApiClient:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(str(path))
        self._send(struct.pack("!HI64s", 15, 1, b"test"))  # sockclnt_create
        body = self._receive()
        _, self.index, _, _, _, count = struct.unpack_from("!HIIiIH", body)
        at = struct.calcsize("!HIIiIH")
        self.ids, self.crcs = {}, {}  # by name without the CRC
        for i in range(count):
            number, name = struct.unpack_from("!H64s", body, at + i * 66)
            name, crc = name.rstrip(b"\0").decode().rsplit("_", 1)
            self.ids[name], self.crcs[name] = number, crc

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def _send(self, message):
        self.socket.sendall(struct.pack("!QII", 0, len(message), 0) + message)

    def _read(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError("the daemon has closed the API connection")
            data += part
        return data

    def _receive(self):
        _, length, _ = struct.unpack("!QII", self._read(16))
        return self._read(length)

    def request(self, name, body=b"", context=7):
        self._send(struct.pack("!HII", self.ids[name], self.index, context) + body)

    def call(self, name, body=b""):
        """What follows the reply's context."""
        self.request(name, body)
        reply = self._receive()
        number, context = struct.unpack_from("!HI", reply)
        assert (number, context) == (self.ids[name + "_reply"], 7), (number, context)
        return reply[6:]

    def dump(self, name, details):
        """What follows the context of each details message."""
        self.request(name)
        self.request("control_ping", context=8)
        found = []
        while True:
            message = self._receive()
            number, context = struct.unpack_from("!HI", message)
            if context == 8:
                return found
            assert (number, context) == (self.ids[details], 7), (number, context)
            found.append(message[6:])
