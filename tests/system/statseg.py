"""Reads a statistics segment from the table in core/stats/README.md alone: no code of Hostloom, none of VPP's. Small on
purpose; it checks what it reads and raises Bad."""

import array
import mmap
import os
import socket
import struct

SCALAR, SIMPLE, COMBINED, NAMES, EMPTY, SYMLINK = 1, 2, 3, 4, 5, 6


class Bad(Exception):
    """The segment is not what the table says."""


class Segment:
    def __init__(self, path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(120)
            s.connect(path)
            _, control, _, _ = s.recvmsg(1, socket.CMSG_LEN(4))
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[:4])
        if len(fds) != 1:
            raise Bad(f"{len(fds)} descriptors came")
        self.fd = fds[0]
        self.bytes = mmap.mmap(self.fd, os.fstat(self.fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ)

    def close(self):
        self.bytes.close()
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def header(self):
        return dict(zip(("version", "base", "epoch", "in_progress", "directory", "errors"),
                        struct.unpack_from("<6Q", self.bytes, 0)))

    def vector(self, pointer, element):
        """The elements of a vector, each as struct.unpack gives it."""
        start = pointer - self.header()["base"]
        if start < 48 + 8 or start % 8:
            raise Bad(f"pointer {pointer:#x} leads to {start}")
        length, header_size = struct.unpack_from("<IB", self.bytes, start - 8)
        size = struct.calcsize("<" + element)
        if header_size != 1:
            raise Bad(f"vector at {start}: header of {8 * header_size} bytes")
        if start + length * size >= len(self.bytes):
            raise Bad(f"vector at {start}: {length} elements of {size} bytes pass the end")
        return [struct.unpack_from("<" + element, self.bytes, start + i * size) for i in range(length)]

    def consistent(self, fn):
        """fn's answer from a moment in which the directory did not change."""
        while True:
            before = self.header()
            if before["in_progress"]:
                continue
            try:
                answer = fn()
            except Bad:
                if self.header()["epoch"] == before["epoch"]:
                    raise
                continue
            after = self.header()
            if not after["in_progress"] and after["epoch"] == before["epoch"]:
                return answer

    def entries(self):
        """[(type, value, name)], by index."""
        found = []
        for kind, value, name in self.vector(self.header()["directory"], "I4xQ128s"):
            if b"\0" not in name:
                raise Bad(f"a name without end: {name}")
            found.append((kind, value, name[:name.index(b"\0")].decode()))
        return found

    def names(self):
        return self.consistent(lambda: [n for kind, _, n in self.entries() if kind != EMPTY])

    def get(self, name):
        return self.consistent(lambda: self._get(name))

    def _get(self, name):
        entries = self.entries()
        for kind, value, found in entries:
            if found == name and kind != EMPTY:
                if kind == SYMLINK:
                    target, column = value & 0xffffffff, value >> 32
                    return [row[column] for row in self._value(*entries[target][:2])]
                return self._value(kind, value)
        raise KeyError(name)

    def _value(self, kind, value):
        if kind == SCALAR:
            return value
        rows = [pointer for (pointer,) in self.vector(value, "Q")]
        if kind == SIMPLE:
            return [[v for (v,) in self.vector(row, "Q")] for row in rows]
        if kind == COMBINED:
            return [self.vector(row, "QQ") for row in rows]
        if kind == NAMES:
            texts = [b"".join(c for (c,) in self.vector(row, "c")) if row else b"\0" for row in rows]
            if any(not t.endswith(b"\0") for t in texts):
                raise Bad(f"a name without its zero: {texts}")
            return [t[:-1].decode() for t in texts]
        raise Bad(f"type {kind}")
