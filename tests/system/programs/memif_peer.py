"""A memif client that is played by a test: it does what it is told to, and leaves when it is told to. memif 2.0 as
plugins/memif/wire.h has it, one ring each way, all in one region."""

import array
import mmap
import os
import socket
import struct

ACK, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT = range(1, 9)
VERSION, COOKIE = 2 << 8, 0x03e31f20
LOG2_SLOTS = 10
SLOTS, BUFFER = 1 << LOG2_SLOTS, 2048
RING = 128 + 16 * SLOTS
BUFFERS_AT = 2 * RING
REGION = BUFFERS_AT + 2 * SLOTS * BUFFER


class Peer:
    """Connected to the socket, no more. Every other step waits for the server's answer to it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))
        self.socket.settimeout(60)
        self.memory = self.region = None

    def close(self):
        self.socket.close()
        if self.memory:
            self.memory.close()
            os.close(self.region)
            self.memory = None

    def hear(self, kind):
        message = self.socket.recv(128)
        if len(message) != 128 or message[0] != kind:
            raise ConnectionError(f"message {kind} expected, not {message[:40]!r}")

    def say(self, kind, body, fd=None):
        message = struct.pack("<H", kind) + body.ljust(126, b"\0")
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.socket.sendmsg([message], rights)

    def begin(self, device_id=0):
        """Until it has said which device it wants."""
        self.hear(HELLO)
        self.say(INIT, struct.pack("<HIB24s32s", VERSION, device_id, 0, b"", b"played"))
        self.hear(ACK)

    def add_ring(self, ring, bell):
        """The first is to the server, the second from it."""
        self.say(ADD_RING, struct.pack("<HHHIBH", 1 - ring, 0, 0, ring * RING, LOG2_SLOTS, 0), bell)

    def shake_hands(self, device_id=0):
        """Until the link is up."""
        self.begin(device_id)
        self.region = os.memfd_create("peer", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.region, REGION)
        self.memory = mmap.mmap(self.region, REGION)
        for ring in range(2):
            struct.pack_into("<I", self.memory, ring * RING, COOKIE)
        self.say(ADD_REGION, struct.pack("<HQ", 0, REGION), self.region)
        self.hear(ACK)
        for ring in range(2):
            bell = os.eventfd(0, os.EFD_NONBLOCK)
            self.add_ring(ring, bell)
            os.close(bell)
            self.hear(ACK)
        self.say(CONNECT, b"played")
        self.hear(CONNECTED)

    def offer(self):
        """All buffers for what the server sends."""
        self._fill(1, [b""] * SLOTS)

    def send(self, frames):
        """At most as many as there are slots, once a connection."""
        self._fill(0, frames)

    def is_being_read(self):
        """Whether the server has taken any of what was sent."""
        return struct.unpack_from("<H", self.memory, 64)[0] != 0

    def answers(self):
        """How many packets the server has sent."""
        return struct.unpack_from("<H", self.memory, RING + 64)[0]

    def _fill(self, ring, frames):
        for slot, frame in enumerate(frames):
            at = BUFFERS_AT + (ring * SLOTS + slot) * BUFFER
            self.memory[at:at + len(frame)] = frame
            struct.pack_into("<HHII", self.memory, ring * RING + 128 + 16 * slot, 0, 0, len(frame) or BUFFER, at)
        struct.pack_into("<H", self.memory, ring * RING + 6, len(frames))  # head: written last
