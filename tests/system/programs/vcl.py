"""libvppcom for programs of Python, as its header has it. First load(PATH), then call("app_create", b"NAME")."""

import ctypes
import errno
import socket

PROTO_TCP, SET_FLAGS = 0, 3
POLLIN, NONBLOCK = 1, 0o4000


class Endpoint(ctypes.Structure):
    _fields_ = [("unused", ctypes.c_uint8), ("is_ip4", ctypes.c_uint8), ("ip", ctypes.POINTER(ctypes.c_uint8)),
                ("port", ctypes.c_uint16), ("unused2", ctypes.c_uint64), ("tlv_len", ctypes.c_uint32),
                ("tlvs", ctypes.c_void_p)]


class Poll(ctypes.Structure):
    _fields_ = [("fds_ndx", ctypes.c_uint32), ("session", ctypes.c_uint32), ("events", ctypes.c_short),
                ("revents", ctypes.c_short)]


class EpollEvent(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]


class VclError(OSError):
    def __init__(self, name, number):
        super().__init__(number, f"{name}: {errno.errorcode.get(number, number)}")

    def __str__(self):
        return self.strerror


_library = None


def load(path):
    global _library
    _library = ctypes.CDLL(path)


def call(name, *args):
    n = getattr(_library, "vppcom_" + name)(*args)
    if n < 0:
        raise VclError(name, -n)
    return n


def destroy():
    _library.vppcom_app_destroy()


def endpoint(address, port):
    raw = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    ip = (ctypes.c_uint8 * 16)(*raw)
    e = Endpoint(is_ip4=":" not in address, ip=ctypes.cast(ip, ctypes.POINTER(ctypes.c_uint8)), port=socket.htons(port))
    e.keep = ip
    return e


def read(session, size):
    buffer = ctypes.create_string_buffer(size)
    n = call("session_read", session, buffer, size)
    return buffer.raw[:n]
