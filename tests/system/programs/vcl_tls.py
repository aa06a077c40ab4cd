#!/usr/bin/python3
"""TLS and DTLS by libvppcom, as a C program would use it.

usage: vcl_tls.py LIBVPPCOM server ADDRESS PORT CERT,KEY|INDEX[+CERT,KEY...] [ALPN]
       vcl_tls.py LIBVPPCOM client ADDRESS PORT NAME BYTES [CERT,KEY]
       vcl_tls.py LIBVPPCOM dtls-server ADDRESS PORT CERT,KEY
       vcl_tls.py LIBVPPCOM dtls-client ADDRESS PORT NAME TEXT [CERT,KEY]

INDEX: of a pair that the operator has added. The server says "listening", then echoes one connection after the other.
The client sends BYTES bytes, closes its sending side, expects the same bytes and an orderly end, and says "same", or
names the error of connect or read.

The server of DTLS echoes the datagrams of all its connections, and says "closed" when one of them has. The client says
"refused" when one byte more than a record takes is EMSGSIZE, sends that many, then TEXT, says what comes as an answer
to TEXT, and closes.
"""

import ctypes
import errno
import hashlib
import socket
import struct
import sys

import vcl
from vcl import NONBLOCK, POLLIN, Poll, VclError, call, endpoint

PROTO_TLS, PROTO_DTLS = 3, 5
SET_CKPAIR, SET_SERVER_NAME, SET_ALPN, GET_MOST_PAYLOAD = 35, 70, 71, 81


class Pair(ctypes.Structure):
    _fields_ = [("cert", ctypes.c_char_p), ("key", ctypes.c_char_p), ("cert_len", ctypes.c_uint32),
                ("key_len", ctypes.c_uint32)]


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
    return vcl.read(session, 1 << 16)


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


def ready(sessions):
    polls = (Poll * len(sessions))(*(Poll(session=s, events=POLLIN) for s in sessions))
    call("poll", polls, len(sessions), ctypes.c_double(-1))
    return [p.session for p in polls if p.revents]


def serve_datagrams(address, port, pair):
    listener = call("session_create", PROTO_DTLS, 0)
    use_pair(listener, pair)
    call("session_bind", listener, ctypes.byref(endpoint(address, int(port))))
    call("session_listen", listener, 64)
    print("listening", flush=True)
    open_ones = set()
    while True:
        for s in ready([listener, *open_ones]):
            if s == listener:
                open_ones.add(call("session_accept", listener, None, NONBLOCK))
                continue
            try:
                if data := read(s):
                    call("session_write", s, data, len(data))
                    continue
            except VclError as e:
                if e.errno == errno.EAGAIN:
                    continue
                print(e, flush=True)
            open_ones.remove(s)
            call("session_close", s)
            print("closed", flush=True)


def ask_datagrams(address, port, name, text, pair=""):
    s = call("session_create", PROTO_DTLS, 0)
    if name:
        set_attr(s, SET_SERVER_NAME, name.encode())
    if pair:
        use_pair(s, pair)
    call("session_connect", s, ctypes.byref(endpoint(address, int(port))))
    most, length = ctypes.c_uint32(), ctypes.c_uint32(4)
    call("session_attr", s, GET_MOST_PAYLOAD, ctypes.byref(most), ctypes.byref(length))
    large = b"-" * (most.value + 1)
    try:
        call("session_write", s, large, len(large))
    except VclError as e:
        print("refused" if e.errno == errno.EMSGSIZE else e, flush=True)
    call("session_write", s, large, most.value)
    call("session_write", s, text.encode() + b"\n", len(text) + 1)
    while (got := read(s)).startswith(b"-"):  # of who echoes
        pass
    print("got", got.decode().strip(), flush=True)
    call("session_close", s)


vcl.load(sys.argv[1])
call("app_create", b"vcl-tls")
try:
    {"server": serve, "client": ask, "dtls-server": serve_datagrams, "dtls-client": ask_datagrams}[sys.argv[2]](*sys.argv[3:])
except VclError as e:
    print(e, flush=True)
vcl.destroy()
