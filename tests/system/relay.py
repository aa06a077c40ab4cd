#!/usr/bin/python3
"""A packet relay that loses: joins a packet socket on one interface (the kernel's end of the daemon's TAP) with a TAP
of its own, and drops every Nth frame of a pseudo-random sequence with a fixed seed.

usage: relay.py INTERFACE NEW-TAP LOSS-PERCENT

Frames carry a virtio-net header on both sides, so that checksums still to be filled in and segments still to be cut
stay as they are. Towards the kernel the new TAP offers no offload, so each frame is one packet on the wire.
"""

import fcntl
import random
import select
import socket
import struct
import sys

TUNSETIFF, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL = 263, 15, 3
PACKET_OUTGOING, SO_RCVBUFFORCE = 4, 33


def main():
    interface, tap_name, percent = sys.argv[1], sys.argv[2], float(sys.argv[3])
    rng = random.Random(1)
    tap = open("/dev/net/tun", "r+b", buffering=0)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", tap_name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", 10))
    packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packet.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packet.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    packet.bind((interface, ETH_P_ALL))
    print("ready", flush=True)
    dropped = passed = 0
    while True:
        for ready in select.select([tap, packet], [], [])[0]:
            if ready is packet:
                frame, address = packet.recvfrom(1 << 17)
                if address[2] == PACKET_OUTGOING:  # our own
                    continue
            else:
                frame = tap.read(1 << 17)
            if rng.random() * 100 < percent:
                dropped += 1
                continue
            passed += 1
            try:
                if ready is packet:
                    tap.write(frame)
                else:
                    packet.send(frame)
            except OSError:
                dropped += 1  # an interface that is down, or full: a loss like any other
            if (passed + dropped) % 1000 == 0:
                print(f"passed {passed} dropped {dropped}", flush=True)


if __name__ == "__main__":
    main()
