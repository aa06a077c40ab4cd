#!/usr/bin/python3
"""TLS by libvppcom, as a C program would use it.

usage: vcl_tls.py LIBVPPCOM server ADDRESS PORT CERT,KEY|INDEX[+CERT,KEY...] [ALPN]
       vcl_tls.py LIBVPPCOM client ADDRESS PORT NAME BYTES [CERT,KEY]

INDEX: of a pair that the operator has added. The server says "listening", then echoes one connection after the other.
The client sends BYTES bytes, closes its sending side, expects the same bytes and an orderly end, and says "same", or
names the error of connect or read.
"""

import ctypes
import errno
import hashlib
import socket
import struct
import sys

PROTO_TLS = 3
SET_CKPAIR, SET_SERVER_NAME, SET_ALPN = 35, 70, 71


class Pair(ctypes.Structure):
    _fields_ = [("cert", ctypes.c_char_p), ("key", ctypes.c_char_p), ("cert_len", ctypes.c_uint32),
                ("key_len", ctypes.c_uint32)]


class Endpoint(ctypes.Structure):
    _fields_ = [("unused", ctypes.c_uint8), ("is_ip4", ctypes.c_uint8), ("ip", ctypes.POINTER(ctypes.c_uint8)),
                ("port", ctypes.c_uint16), ("unused2", ctypes.c_uint64), ("tlv_len", ctypes.c_uint32),
                ("tlvs", ctypes.c_void_p)]


vcl = ctypes.CDLL(sys.argv[1])


class VclError(Exception):
    pass


def call(name, *args):
    n = getattr(vcl, "vppcom_" + name)(*args)
    if n < 0:
        raise VclError(f"{name}: {errno.errorcode.get(-n, n)}")
    return n


def endpoint(address, port):
    raw = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    ip = (ctypes.c_uint8 * 16)(*raw)
    e = Endpoint(is_ip4=":" not in address, ip=ctypes.cast(ip, ctypes.POINTER(ctypes.c_uint8)), port=socket.htons(port))
    e.keep = ip
    return e


def set_attr(session, op, value):
    length = ctypes.c_uint32(len(value))
    call("session_attr", session, op, value, ctypes.byref(length))


def use_pair(session, files):
    if files.isdigit():
        set_attr(session, SET_CKPAIR, struct.pack("=I", int(files)))
        return None
    cert, key = (open(f, "rb").read() for f in files.split(","))
    number = call("add_cert_key_pair", ctypes.byref(Pair(cert, key, len(cert), len(key))))
    set_attr(session, SET_CKPAIR, struct.pack("=I", number))
    return number


def read(session):
    buffer = ctypes.create_string_buffer(1 << 16)
    n = call("session_read", session, buffer, len(buffer))
    return buffer.raw[:n]


def write(session, data):
    while data:
        data = data[call("session_write", session, data, len(data)):]


def serve(address, port, pairs, alpn=""):
    listener = call("session_create", PROTO_TLS, 0)
    numbers = [use_pair(listener, p) for p in pairs.split("+")]
    if alpn:
        set_attr(listener, SET_ALPN, b"".join(bytes([len(p)]) + p.encode() for p in alpn.split(",")))
    call("session_bind", listener, ctypes.byref(endpoint(address, int(port))))
    call("session_listen", listener, 64)
    for n in filter(None, numbers):  # what listens keeps them
        call("del_cert_key_pair", n)
    print("listening", flush=True)
    while True:
        s = call("session_accept", listener, None, 0)
        try:
            while data := read(s):
                write(s, data)
        except VclError as e:
            print(e, flush=True)
        call("session_close", s)


def ask(address, port, name, size, pair=""):
    data = hashlib.shake_128(b"tls").digest(int(size))
    s = call("session_create", PROTO_TLS, 0)
    if name:
        set_attr(s, SET_SERVER_NAME, name.encode())
    if pair:
        use_pair(s, pair)
    call("session_connect", s, ctypes.byref(endpoint(address, int(port))))
    got = b""
    for at in range(0, len(data), 1 << 16):  # what a peer echoes has to fit into the fifos meanwhile
        write(s, data[at:at + (1 << 16)])
        while len(got) + (1 << 20) < at:
            got += read(s)
    call("session_shutdown", s, socket.SHUT_WR)
    while more := read(s):
        got += more
    print("same" if got == data else f"{len(got)} bytes of {len(data)}", flush=True)
    call("session_close", s)


call("app_create", b"vcl-tls")
try:
    {"server": serve, "client": ask}[sys.argv[2]](*sys.argv[3:])
except VclError as e:
    print(e, flush=True)
vcl.vppcom_app_destroy()
