#!/usr/bin/python3
"""A VLAN device for kernels that have none: an interface of its own, whose frames cross another one with an 802.1Q tag.

usage: vlan_device.py INTERFACE VLAN NEW-TAP

What the kernel sends by the new TAP gets the tag and leaves by INTERFACE; what arrives there with the tag comes in by
the TAP without it. Frames carry a virtio-net header on both sides, so that checksums still to be filled in and segments
still to be cut stay as they are: packets of up to 64 KB cross in one piece.
"""

import fcntl
import select
import socket
import struct
import sys

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 1, 2, 4, 8
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR, ETH_P_ALL = 263, 8, 15, 3
PACKET_OUTGOING, SO_RCVBUFFORCE = 4, 33
TP_STATUS_VLAN_VALID = 16
VNET = 10  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
NEEDS_CSUM = 1


def vlan_of(ancillary):
    """The kernel takes the tag off before packet sockets see the frame, and says what it was."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", data)
            if status & TP_STATUS_VLAN_VALID and tpid == 0x8100:
                return tci & 0xFFF
    return None


def with_tag(frame, vlan):
    flags, gso_type, header, gso_size, start, offset = struct.unpack_from("=BBHHHH", frame)
    if flags & NEEDS_CSUM:
        start += 4
    if header:
        header += 4
    return (struct.pack("=BBHHHH", flags, gso_type, header, gso_size, start, offset) + frame[VNET:VNET + 12]
            + struct.pack("!HH", 0x8100, vlan) + frame[VNET + 12:])


def main():
    interface, vlan, tap_name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    tap = open("/dev/net/tun", "r+b", buffering=0)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", tap_name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", VNET))
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
    packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packet.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packet.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    packet.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    packet.bind((interface, ETH_P_ALL))
    print("ready", flush=True)
    while True:
        for ready in select.select([tap, packet], [], [])[0]:
            try:
                if ready is tap:
                    packet.send(with_tag(tap.read(1 << 17), vlan))
                    continue
                frame, ancillary, _, address = packet.recvmsg(1 << 17, 256)
                if address[2] != PACKET_OUTGOING and vlan_of(ancillary) == vlan:
                    tap.write(frame)
            except OSError as e:
                print(f"a frame is lost: {e}", flush=True)  # an interface that is down, or full


if __name__ == "__main__":
    main()
