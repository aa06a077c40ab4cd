#!/usr/bin/python3
"""Options of datagram sockets, as man 7 ip and 7 udp have them, over whatever network the process has.
usage: datagram_options.py path|path6|errors|errors6|asyncio PEER_ADDRESS
       datagram_options.py asyncio_server OWN_ADDRESS PORT    answers what comes to the port, to any address of its family
       datagram_options.py asyncio_client PEER_ADDRESS PORT OWN_ADDRESS [BROADCAST]   of that server
       datagram_options.py hear OWN_ADDRESS PORT GROUP|-      says what comes, once, from whom
       datagram_options.py cork PEER_ADDRESS PORT             of who sends back what comes
       datagram_options.py gro OWN_ADDRESS PORT               until several came at once"""

import asyncio
import errno
import select
import socket
import struct
import sys

from checks import expect, failure

IP_MTU_DISCOVER, IP_MTU, IP_RECVERR = 10, 14, 11
DO, PROBE = 2, 3
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, IPV6_DONTFRAG = 23, 24, 25, 62
UDP_CORK, UDP_SEGMENT, UDP_GRO = 1, 103, 104


def path(peer):
    """What is bigger than the path takes is split, or refused, as the socket wants."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    expect(failure(s.getsockopt, 0, IP_MTU) == errno.ENOTCONN, "IP_MTU without a peer")
    s.connect((peer, 9))
    expect(s.getsockopt(0, IP_MTU) == 1500, f"IP_MTU {s.getsockopt(0, IP_MTU)}")
    expect(s.getsockopt(0, IP_MTU_DISCOVER) == 1, "IP_PMTUDISC_WANT is the default")
    expect(s.send(bytes(3000)) == 3000, "split by default")
    for mode in (DO, PROBE):
        s.setsockopt(0, IP_MTU_DISCOVER, mode)
        expect(failure(s.send, bytes(1473)) == errno.EMSGSIZE, f"too big in mode {mode}")
    expect(failure(s.setsockopt, 0, IP_MTU_DISCOVER, 6) == errno.EINVAL, "a mode that does not exist")
    t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    t.setsockopt(0, IP_MTU_DISCOVER, DO)
    expect(t.sendto(bytes(1472), (peer, 9)) == 1472, "what fits")
    expect(failure(t.sendto, bytes(1473), (peer, 9)) == errno.EMSGSIZE, "too big without a peer")


def queued_errors(s, level, option, peer, most, unreachable):
    """What is too long for the path, and what comes back from where nobody listens: (origin, type, code). The last error's
    bytes."""
    expect(failure(s.recvmsg, 100, 1000, socket.MSG_ERRQUEUE) == errno.EAGAIN, "an empty queue")
    expect(failure(s.sendto, bytes(most + 1), (peer, 9)) == errno.EMSGSIZE, "too big")
    _, control, _, _ = s.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
    expect(struct.unpack_from("IBBBBI", control[0][2]) == (errno.EMSGSIZE, 1, 0, 0, 0, 1500), f"{control}")
    s.sendto(b"probe", (peer, 9))  # where nobody listens
    poll = select.poll()
    poll.register(s, select.POLLIN)
    expect(poll.poll(60000) == [(s.fileno(), select.POLLERR)], "the error is announced")
    expect(failure(s.recv, 100) == errno.ECONNREFUSED, "a call fails of it")
    data, control, flags, name = s.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
    expect(data == b"probe" and name[:2] == (peer, 9), f"{data} to {name}")
    expect(flags & socket.MSG_ERRQUEUE, f"flags {flags}")
    expect(control[0][:2] == (level, option), f"{control}")
    error, *what, _, _ = struct.unpack_from("IBBBBI", control[0][2])
    expect((error, *what) == (errno.ECONNREFUSED, *unreachable), f"{error} {what}")
    expect(poll.poll(0) == [], "nothing is left")
    return control[0][2]


def errors(peer):
    """The error queue, of a socket without a peer, of this host and of the network."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(0, IP_RECVERR, 1)
    s.setsockopt(0, IP_MTU_DISCOVER, DO)
    last = queued_errors(s, 0, IP_RECVERR, peer, 1472, (2, 3, 3))
    expect(socket.inet_ntoa(last[20:24]) == peer, f"the offender: {last}")


def path6(peer):
    """The same of IPv6, and IPV6_DONTFRAG."""
    v6 = socket.IPPROTO_IPV6
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    expect(failure(s.getsockopt, v6, IPV6_MTU) == errno.ENOTCONN, "IPV6_MTU without a peer")
    s.connect((peer, 9))
    expect(s.getsockopt(v6, IPV6_MTU) == 1500, f"IPV6_MTU {s.getsockopt(v6, IPV6_MTU)}")
    expect(s.getsockopt(v6, IPV6_MTU_DISCOVER) == 1, "IPV6_PMTUDISC_WANT is the default")
    expect(s.send(bytes(3000)) == 3000, "split by default")
    for mode in (DO, PROBE):
        s.setsockopt(v6, IPV6_MTU_DISCOVER, mode)
        expect(s.getsockopt(v6, IPV6_MTU_DISCOVER) == mode, f"mode {mode} is not what was set")
        expect(failure(s.send, bytes(1453)) == errno.EMSGSIZE, f"too big in mode {mode}")
    expect(failure(s.setsockopt, v6, IPV6_MTU_DISCOVER, 6) == errno.EINVAL, "a mode that does not exist")
    t = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    expect(t.getsockopt(v6, IPV6_DONTFRAG) == 0, "IPV6_DONTFRAG is off by default")
    t.setsockopt(v6, IPV6_DONTFRAG, 1)
    expect(t.getsockopt(v6, IPV6_DONTFRAG) == 1, "IPV6_DONTFRAG is on")
    expect(t.sendto(bytes(1452), (peer, 9)) == 1452, "what fits")
    expect(failure(t.sendto, bytes(1453), (peer, 9)) == errno.EMSGSIZE, "too big without a peer")
    t.setsockopt(v6, IPV6_DONTFRAG, 0)
    expect(t.sendto(bytes(1453), (peer, 9)) == 1453, "split again")


def errors6(peer):
    """The error queue of IPv6."""
    v6 = socket.IPPROTO_IPV6
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(v6, IPV6_RECVERR, 1)
    expect(s.getsockopt(v6, IPV6_RECVERR) == 1, "IPV6_RECVERR is on")
    s.setsockopt(v6, IPV6_MTU_DISCOVER, DO)
    last = queued_errors(s, v6, IPV6_RECVERR, peer, 1452, (3, 1, 4))
    offender = socket.inet_ntop(socket.AF_INET6, last[24:40])  # behind family, port and flow
    expect(offender == peer, f"the offender: {offender}")


class AsyncServer(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(b"answer to " + data, address)


class AsyncClient(asyncio.DatagramProtocol):
    def __init__(self):
        self.answers = asyncio.Queue()

    def datagram_received(self, data, address):
        self.answers.put_nowait((data, address[0]))

    def error_received(self, error):
        self.answers.put_nowait(error)


async def answered(transport, protocol, to, data):
    """Sends until it is answered, as the first packets of a link may be lost: by whom."""
    for _ in range(60):
        transport.sendto(data, to)
        try:
            while True:  # past the answers to what was sent again
                answer, peer = await asyncio.wait_for(protocol.answers.get(), 1)
                if answer == b"answer to " + data:
                    return peer
        except asyncio.TimeoutError:
            pass
    sys.exit("FAILED: no answer")


def asyncio_server(own, port):
    async def run():
        await asyncio.get_running_loop().create_datagram_endpoint(
            AsyncServer, local_addr=("::" if ":" in own else "0.0.0.0", port), allow_broadcast=True)
        print("port", port, flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def asyncio_client(peer, port, own, broadcast=None):
    """With a peer and without one; by a broadcast, which the peer answers; and of what nobody hears, error_received."""
    async def run():
        loop = asyncio.get_running_loop()
        for connected in (True, False):
            client, protocol = await loop.create_datagram_endpoint(
                AsyncClient, remote_addr=(peer, port) if connected else None, local_addr=None if connected else (own, 0))
            for i in range(100):
                by = await answered(client, protocol, None if connected else (peer, port), b"%d" % i)
                expect(by == peer, f"answered by {by}")
            client.close()
        if broadcast:
            client, protocol = await loop.create_datagram_endpoint(AsyncClient, local_addr=(own, 0), allow_broadcast=True)
            by = await answered(client, protocol, (broadcast, port), b"to all")
            expect(by == peer, f"a broadcast is answered by {by}")
            client.close()
        client, protocol = await loop.create_datagram_endpoint(AsyncClient, remote_addr=(peer, 9))
        client.sendto(b"hello")  # where nobody listens
        error = await asyncio.wait_for(protocol.answers.get(), 60)
        expect(isinstance(error, ConnectionRefusedError), f"{error} instead of an error")
        client.close()

    asyncio.run(run())


def over_asyncio(peer):
    """A client and a server in one event loop."""

    async def run():
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(AsyncServer, local_addr=(peer, 0))
        to = server.get_extra_info("sockname")
        for connected in (True, False):
            client, protocol = await loop.create_datagram_endpoint(
                AsyncClient, remote_addr=to if connected else None, local_addr=None if connected else (peer, 0))
            for i in range(100):
                client.sendto(b"%d" % i, None if connected else to)
                answer = await asyncio.wait_for(protocol.answers.get(), 60)
                expect(answer == (b"answer to %d" % i, peer), f"{answer}")
            client.close()
        server.close()

    asyncio.run(run())


def hear(own, port, group):
    """Says what comes to the port, to a group's address or a broadcast one, and answers it."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if group != "-":
        s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(own))
    s.bind(("", port))
    print("port", port, flush=True)
    data, peer = s.recvfrom(100)
    print("got", data.decode(), "from", peer[0], flush=True)
    s.sendto(b"heard " + data, peer)


def gro(own, port):
    """Reads until one call brings several datagrams."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    s.bind((own, port))
    print("port", port, flush=True)
    while True:
        data, control, _, _ = s.recvmsg(65535, 100)
        sizes = [struct.unpack("i", c[2])[0] for c in control if c[:2] == (socket.IPPROTO_UDP, UDP_GRO)]
        if sizes:
            expect(sizes == [1000], f"segments of {sizes}")
            break
        expect(len(data) == 1000, f"one of {len(data)}")
    expect(len(data) > 1000 and len(data) % 1000 == 0, f"{len(data)} bytes")
    print("several", flush=True)


def cork(peer, port):
    """One datagram of several calls: MSG_MORE, UDP_CORK."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    fresh = socket.socket(family, socket.SOCK_DGRAM)
    expect(fresh.getsockopt(socket.IPPROTO_UDP, UDP_CORK) == 0, "corked from the start")
    expect(failure(fresh.send, b"x", socket.MSG_MORE) == errno.EDESTADDRREQ, "to nobody")
    fresh.setsockopt(socket.IPPROTO_UDP, UDP_CORK, 1)  # of a socket that is nobody's yet
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.connect((peer, port))
    for each, to in ((fresh, ((peer, port),)), (s, ())):
        each.settimeout(120)
        send = each.sendto if to else each.send

        def came(what):
            got = each.recv(70000)
            expect(got == what, f"{got[:100]} instead of {what[:100]}")

        if each is fresh:
            expect((send(b"ab", *to), send(b"cd", *to)) == (2, 2), "corked")
            expect(each.getsockopt(socket.IPPROTO_UDP, UDP_CORK) == 1, "not corked")
            each.setsockopt(socket.IPPROTO_UDP, UDP_CORK, 0)
            came(b"abcd")
        expect(send(b"ab", socket.MSG_MORE, *to) == 2, "the first part")
        expect(each.sendmsg([b"c", b"d"], [], socket.MSG_MORE, *to) == 2, "the second")
        expect(send(b"ef", *to) == 2, "the third")
        came(b"abcdef")
        # An error drops what there was.
        expect(send(bytes(60000), socket.MSG_MORE, *to) == 60000, "much")
        expect(failure(send, bytes(60000), 0, *to) == errno.EMSGSIZE, "too much")
        send(b"after", *to)
        came(b"after")
        each.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 3)
        send(b"abcd", socket.MSG_MORE, *to)
        send(b"efgh", *to)
        for part in (b"abc", b"def", b"gh"):
            came(part)
        each.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        send(b"1", socket.MSG_MORE, *to)
        each.setsockopt(socket.IPPROTO_UDP, UDP_CORK, 0)
        came(b"1")


if __name__ == "__main__":
    what, address = sys.argv[1:3]
    if what == "hear":
        hear(address, int(sys.argv[3]), sys.argv[4])
    elif what == "asyncio_client":
        asyncio_client(address, int(sys.argv[3]), *sys.argv[4:])
    elif what in ("gro", "cork", "asyncio_server"):
        {"gro": gro, "cork": cork, "asyncio_server": asyncio_server}[what](address, int(sys.argv[3]))
    else:
        {"path": path, "path6": path6, "errors": errors, "errors6": errors6, "asyncio": over_asyncio}[what](address)
    print("passed")
