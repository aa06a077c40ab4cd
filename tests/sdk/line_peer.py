"""The other end of the line protocol: a raw socket and sdk/examples/line-echo/wire.h, sharing no code with the
transport. Can lose what it is told to lose."""

import socket
import struct

OPEN, DATA, CLOSE, ACK, BUSY, RESET = 1, 2, 3, 4, 5, 6
HEADER = struct.Struct("!HHBBH")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Peer:
    """One connection at a time, on one local port."""

    def __init__(self, local, remote, port, protocol=253, timeout=120):
        self.local, self.remote, self.port, self.protocol = local, remote, port, protocol
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        self.socket.bind((local, 0))
        self.socket.settimeout(timeout)
        self.remote_port = None
        self.sequence = self.expected = 0
        self.lose = 0            # so many of the packets that come next are taken for lost
        self.retransmitted = 0   # packets that came again

    def close_socket(self):
        self.socket.close()

    def raw(self, kind, sequence, text=b"", sum_error=0):
        head = HEADER.pack(self.port, self.remote_port, kind, sequence, 0)
        pseudo = (socket.inet_aton(self.local) + socket.inet_aton(self.remote) +
                  struct.pack("!BBH", 0, self.protocol, len(head) + len(text)))
        total = checksum(pseudo + head + text) ^ sum_error
        self.socket.sendto(HEADER.pack(self.port, self.remote_port, kind, sequence, total) + text, (self.remote, 0))

    def receive(self):
        """(kind, sequence, text) of the next packet for our port that is not taken for lost."""
        while True:
            packet, _ = self.socket.recvfrom(65535)
            body = packet[(packet[0] & 15) * 4:]
            source, port, kind, sequence, _ = HEADER.unpack_from(body)
            pseudo = packet[12:20] + struct.pack("!BBH", 0, self.protocol, len(body))
            if checksum(pseudo + body) != 0:
                raise AssertionError("a packet came with a wrong checksum")
            if port != self.port or self.remote_port not in (None, source):
                continue
            if self.lose:
                self.lose -= 1
                continue
            self.remote_port = source
            return kind, sequence, body[HEADER.size:]

    def numbered(self, kind, text=b""):
        """Sends a numbered packet and waits for its acknowledgement; returns the text that came meanwhile."""
        self.raw(kind, self.sequence, text)
        received = b""
        while True:
            kind, sequence, text = self.receive()
            if kind == ACK and sequence == self.sequence:
                self.sequence = (self.sequence + 1) % 256
                return received
            if kind == RESET:
                raise ConnectionResetError
            received += self.take(kind, sequence, text)

    def take(self, kind, sequence, text):
        """A packet of the peer's that is no acknowledgement: acknowledged, and its text if it is new."""
        if kind not in (OPEN, DATA, CLOSE):
            return b""
        self.raw(ACK, sequence)
        if sequence != self.expected:
            self.retransmitted += 1
            return b""
        self.expected = (self.expected + 1) % 256
        if kind == CLOSE:
            raise EOFError
        return text

    def connect(self, port):
        self.remote_port, self.sequence, self.expected = port, 0, 1
        self.numbered(OPEN)

    def accept(self):
        self.remote_port, self.sequence, self.expected = None, 1, 0
        kind, sequence, text = self.receive()
        assert kind == OPEN, kind
        self.take(kind, sequence, text)

    def send(self, text):
        """Returns what came meanwhile."""
        return b"".join([self.numbered(DATA, text[at:at + 1000]) for at in range(0, len(text), 1000)])

    def read(self, length, already=b""):
        received = already
        while len(received) < length:
            received += self.take(*self.receive())
        return received

    def close(self):
        """Closes and waits until the peer has closed too; returns the text that came meanwhile."""
        received = b""
        try:
            received += self.numbered(CLOSE)
            while True:
                received += self.take(*self.receive())
        except EOFError:
            return received
