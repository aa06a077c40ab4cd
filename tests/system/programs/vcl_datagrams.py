"""What a program of libvppcom says and hears of datagrams by its endpoints' TLVs (vppcom.h).
usage: vcl_datagrams.py LIBRARY SECOND PEER PORT    SECOND: another address of its own; the peer sends back what comes"""

import ctypes
import socket
import struct
import sys

import vcl
from checks import expect

PROTO_UDP, GET_LOCAL, SET_PKTINFO, SET_TLVS = 1, 4, 41, 86
UDP_SEGMENT, IP_PKTINFO = 1 << 16, (127 << 16) + 1
WANT_SEGMENT, WANT_PKTINFO = 1, 2


def tlv(kind, data):
    return struct.pack("=II", kind, len(data)) + data


def with_tlvs(endpoint, tlvs):
    endpoint.room = ctypes.create_string_buffer(tlvs, len(tlvs))
    endpoint.tlvs, endpoint.tlv_len = ctypes.cast(endpoint.room, ctypes.c_void_p), len(tlvs)
    return endpoint


def send(session, data, to, tlvs=b""):
    expect(vcl.call("session_sendto", session, data, len(data), 0, ctypes.byref(with_tlvs(to, tlvs))) == len(data), "cut")


def receive(session, room=22):
    """The bytes, and the TLVs."""
    buffer, e = ctypes.create_string_buffer(70000), with_tlvs(vcl.endpoint("0.0.0.0", 0), bytes(room))
    n = vcl.call("session_recvfrom", session, buffer, 70000, 0, ctypes.byref(e))
    return buffer.raw[:n], e.room.raw[:e.tlv_len]


def attribute(session, op, value):
    size = ctypes.c_uint32(ctypes.sizeof(value))
    vcl.call("session_attr", session, op, ctypes.byref(value), ctypes.byref(size))


def main(library, second, peer, port):
    vcl.load(library)
    vcl.call("app_create", b"datagrams")
    to, raw = vcl.endpoint(peer, port), socket.inet_aton(second)
    s = vcl.call("session_create", PROTO_UDP, 0)
    vcl.call("session_bind", s, ctypes.byref(vcl.endpoint("0.0.0.0", 7100)))
    send(s, bytes(14000), to, tlv(UDP_SEGMENT, struct.pack("=H", 1400)))
    answers = [receive(s)[0] for _ in range(10)]
    expect(all(len(a) == 1400 for a in answers), f"not ten of 1400 bytes: {[len(a) for a in answers]}")
    attribute(s, SET_PKTINFO, ctypes.c_uint32(1))
    attribute(s, SET_TLVS, ctypes.c_uint32(WANT_PKTINFO))
    send(s, b"from there", to, tlv(IP_PKTINFO, raw))
    expect(receive(s) == (b"from there", tlv(IP_PKTINFO, raw)), "its source is another, or it came elsewhere")
    local = vcl.endpoint("0.0.0.0", 0)
    attribute(s, GET_LOCAL, local)
    expect(bytes(local.keep)[:4] == raw, f"GET_LCL_ADDR: {bytes(local.keep)}")
    send(s, b"plain", to)
    expect(receive(s)[1] != tlv(IP_PKTINFO, raw), "what one says is the next one's")
    attribute(s, SET_TLVS, ctypes.c_uint32(WANT_PKTINFO | WANT_SEGMENT))
    send(s, b"one", to, tlv(IP_PKTINFO, raw) + tlv(UDP_SEGMENT, struct.pack("=H", 1)))
    got = b""
    while len(got) < 3:  # alone, or several at once
        data, tlvs = receive(s)
        got += data
        expect((tlv(UDP_SEGMENT, struct.pack("=H", 1)) in tlvs) == (len(data) > 1), f"{data}: {tlvs}")
        expect(tlv(IP_PKTINFO, raw) in tlvs, f"{tlvs}")
    expect(got == b"one", f"{got}")
    vcl.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
