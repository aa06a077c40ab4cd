"""What the SDK's examples can do, asked of one that runs in a daemon, by whatever name it was built."""

import os
import re
import socket
import struct
import subprocess
import threading

from outsider import HERE, counter, expect  # first: it knows where lab.py is
import lab as laboratory
import line_peer as peer_module
from api_client import ApiClient
from lab import HOST_IP4, STACK_IP4, Failure, wait_until
from line_peer import Peer

PYTHON = "/usr/bin/python3"


def exercise_feature(lab, name):
    def seen(what):
        return counter(lab, name, what)

    def traffic():
        lab.run(["ping", "-c", "2", "-i", "0.2", STACK_IP4])
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            expect(s.connect_ex((STACK_IP4, 9)) != 0, "port 9 is open")

    traffic()
    expect(seen("other") == 0, "packets were counted before the feature was enabled")
    lab.cli(name, "enable", "tap0")
    traffic()
    expect(seen("other") >= 2 and seen("tcp") >= 1, f"counted {seen('other')} and {seen('tcp')}")
    lab.cli(name, "disable", "tap0")
    before = seen("other")
    traffic()
    expect(seen("other") == before, "packets were counted after the feature was disabled")
    try:
        lab.cli(name, "enable", "tap9")
        raise Failure("an interface that does not exist was taken")
    except Failure as refused:
        expect("tap9" in str(refused), str(refused))


def exercise_app(lab, name):
    """Connections of the kernel's to the application inside the daemon."""
    uri = f"tcp://{STACK_IP4}/7"

    def shown(what):
        return int(lab.cli("show", name, as_json=True)[what])

    def connect():
        return socket.create_connection((STACK_IP4, 7), timeout=120)

    def refused(text, *words):
        try:
            lab.cli(*words)
        except Failure as failure:
            return expect(text in str(failure), f"{words}: {failure}")
        raise Failure(f"{words} succeeded")

    lab.cli(name, "listen", uri)
    refused("in use", name, "listen", uri)
    refused("no transport 'smoke'", name, "listen", f"smoke://{STACK_IP4}/8")
    refused("is not TRANSPORT://ADDRESS/PORT", name, "listen", STACK_IP4)
    with connect() as s:
        s.sendall(b"hello, World\n")
        expect(s.recv(100) == b"HELLO, WORLD\n", "something else came back")
        # Who does not read is not read from, and holds nobody up.
        s.settimeout(1)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += s.send(b"x" * 65536)
            raise Failure("64 MB went to a server whose answers nobody reads")
        except TimeoutError:
            pass
        with connect() as other:
            other.sendall(b"meanwhile")
            expect(other.recv(100) == b"MEANWHILE", "one that does not read holds up another")
            expect(shown("open") == 2, "two connections are open")
        s.settimeout(120)
        s.shutdown(socket.SHUT_WR)
        left = sent
        while data := s.recv(1 << 16):
            expect(data.strip(b"X") == b"", "other bytes came back")
            left -= len(data)
        expect(left == 0, f"{left} of {sent} bytes did not come back")
    wait_until(lambda: shown("open") == 0, "the connections end")
    expect(shown("connections") == 2 and shown("bytes") == sent + 13 + 9, lab.cli("show", name))
    # Resets, while bytes are on their way.
    for _ in range(20):
        with connect() as s:
            s.sendall(b"y" * 100_000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: shown("open") == 0, "connections that were reset end")
    with connect() as s:
        s.sendall(b"before")
        expect(s.recv(100) == b"BEFORE", "no answer")
        lab.cli(name, "unlisten", uri)
        expect(not laboratory.can_connect(STACK_IP4, 7), "the listener is still there")
        s.sendall(b"behind")
        expect(s.recv(100) == b"BEHIND", "an open connection ended with the listener")
    refused("nothing listens", name, "unlisten", uri)
    wait_until(lambda: shown("open") == 0, "the last connection ends")


class Sink:
    """A server of the kernel that reads what clients send, and says how much."""

    def __init__(self):
        self.socket = socket.create_server((HOST_IP4, 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.socket.accept()
            threading.Thread(target=self.read, args=(client,), daemon=True).start()

    @staticmethod
    def read(client):
        total = 0
        while data := client.recv(1 << 16):
            total += len(data)
            if data.endswith(b"?"):  # the client waits until all is there
                client.sendall(struct.pack("!Q", total))
        client.close()


class Client:
    """A program over Hostloom whose TCP connections a test steers line by line (client.py)."""

    def __init__(self, lab):
        self.process = subprocess.Popen([PYTHON, str(HERE / "client.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=lab.preload(), text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def do(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        expect(answer.startswith("ok"), f"client: {' '.join(map(str, words))}: {answer}")
        return answer[3:]


def connections(lab):
    """{local port: (controller, cwnd in segments)} of TCP's connections."""
    text = lab.cli("show", "session", "verbose", "2")
    ports = dict(re.findall(rf"^ *(0x[0-9a-f]+)  +tcp  +{re.escape(STACK_IP4)}:(\d+)", text, re.M))  # by handle
    found = {}
    for handle, described in re.findall(r"^(0x[0-9a-f]+)\n((?: .*\n)+)", text, re.M):
        mss, cc, cwnd = (re.search(what, described)[1] for what in (r"\bmss (\d+)", r"cc: (\S+)", r"cwnd (\d+)"))
        found[int(ports[handle])] = (cc, int(cwnd) / int(mss))
    return found


def exercise_cc(lab, name):
    sink = Sink()
    with Client(lab) as client:
        expect(client.do("open", "a", HOST_IP4, sink.port, name) == name, "getsockopt does not say so")
        client.do("send", "a", 3_000_000)
        port = int(client.do("port", "a"))
        expect(connections(lab)[port][0] == name, f"{name} is not the controller: {connections(lab)}")
        # Nobody asked for the default to change.
        client.do("open", "b", HOST_IP4, sink.port, "-")
        expect(connections(lab)[int(client.do("port", "b"))][0] != name, "the default has changed")


def pcap(frames):
    out = struct.pack("<IHHIIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1)
    for frame in frames:
        out += struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    return out


def frames_of(data):
    if len(data) < 24:
        return []
    found, at = [], 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        if at + 16 + length > len(data):
            break  # being written
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return found


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


PEER_MAC, PEER_IP, OUR_IP = bytes.fromhex("020000000009"), socket.inet_aton("192.0.2.9"), socket.inet_aton("192.0.2.1")


def arp_request():
    return (b"\xff" * 6 + PEER_MAC + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + PEER_MAC + PEER_IP +
            b"\0" * 6 + OUR_IP).ljust(60, b"\0")


def echo_request(mac, number, size):
    text = bytes(i % 251 for i in range(size))
    icmp = struct.pack("!BBHHH", 8, 0, 0, 77, number) + text
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0) + PEER_IP + OUR_IP
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return mac + PEER_MAC + b"\x08\x00" + ip + icmp


OUR_MAC = bytes.fromhex("020000000001")


def exercise_driver(lab, name):
    """The frames of one file in, the stack's answers out to another."""
    rx, tx = lab.dir / "in.pcap", lab.dir / "out.pcap"
    sizes = [8, 56, 1472] * 200  # more than one frame of the graph holds
    rx.write_bytes(pcap([arp_request()] + [echo_request(OUR_MAC, i, size) for i, size in enumerate(sizes)]))
    lab.cli("create", name, "replay0", "rx", str(rx), "tx", str(tx), "mac", "02:00:00:00:00:01")
    lab.cli("set", "interface", "ip", "address", "replay0", "192.0.2.1/24")
    lab.cli("set", "interface", "state", "replay0", "up")

    def replies():
        return [f for f in frames_of(tx.read_bytes()) if f[12:14] == b"\x08\x00" and f[23] == 1 and f[34] == 0]

    wait_until(lambda: len(replies()) == len(sizes), "all echo requests of the capture are answered in the other")
    arp = [f for f in frames_of(tx.read_bytes()) if f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2" and f[:6] == PEER_MAC]
    expect(len(arp) == 1 and arp[0][22:32] == OUR_MAC + OUR_IP, f"ARP answers: {arp}")
    for i, (size, reply) in enumerate(zip(sizes, replies())):
        asked = echo_request(OUR_MAC, i, size)
        expect(reply[:12] == PEER_MAC + OUR_MAC and reply[26:34] == OUR_IP + PEER_IP, f"reply {i} goes elsewhere")
        expect(reply[38:34 + 8 + size] == asked[38:], f"reply {i} has other bytes than the request")
        expect(checksum(reply[14:34]) == 0 and checksum(reply[34:34 + 8 + size]) == 0, f"reply {i}: a checksum is wrong")
    expect(counter(lab, f"{name}-input", "received") == len(sizes) + 1, "not all frames were counted")
    lab.cli("delete", name, "replay0")
    expect("replay0" not in lab.cli("show", "interface"), "the interface is still there")

    # Files that are none of ours.
    whole = rx.read_bytes()
    for what, content in (("no pcap file", b"x" * 100), ("cut off", whole[:-1]), ("shorter than", b""),
                          ("not Ethernet", whole[:20] + struct.pack("<I", 101) + whole[24:]),
                          ("4294967295 bytes", whole[:32] + b"\xff" * 4 + whole[36:])):
        rx.write_bytes(content)
        try:
            lab.cli("create", name, "replay1", "rx", str(rx))
            raise Failure(f"a capture was taken that is {what}")
        except Failure as refused:
            expect(what in str(refused), f"{what}: {refused}")


def exercise_messages(lab, name, peer):
    """The transport's own messages, while one connection is open."""
    prefix = name.replace("-", "_")
    with ApiClient(lab.dir / "run/api.sock") as api:
        for ms, retval in ((10_001, -7), (0, -7), (150, 0)):
            answer = struct.unpack("!i", api.call(f"{prefix}_set_retransmit", struct.pack("!I", ms)))[0]
            expect(answer == retval, f"{prefix}_set_retransmit {ms}: {answer}")

        def connection():
            details = api.dump(f"{prefix}_dump", f"{prefix}_details")
            expect(len(details) == 1, f"{len(details)} connections in the dump")
            return struct.unpack("!I4s4sHH??QQ", details[0])

        expect(connection()[0] < lab.workers, f"{connection()}")
        expect(connection()[1:7] == (socket.inet_aton(STACK_IP4), socket.inet_aton(HOST_IP4), 7, peer.port, True, False),
               f"{connection()}")
        # Our last acknowledgement is on its way.
        wait_until(lambda: connection()[7] == connection()[8] > 20_000, "both directions have the same number of bytes")


def program_environment(lab):
    return dict(os.environ, VCL_CONFIG=str(lab.dir / "vcl.conf"))


def line_connections(lab, name):
    return lab.cli("show", name, as_json=True)["connections"]


def ask_peer(lab, app, name, protocol):
    """The application connects and asks."""
    peer = Peer(HOST_IP4, STACK_IP4, 7, protocol)

    def answer():
        peer.accept()
        meanwhile = b""
        try:
            while True:
                meanwhile = peer.send(meanwhile or peer.take(*peer.receive()))
        except EOFError:
            peer.numbered(peer_module.CLOSE)

    echo = threading.Thread(target=answer, daemon=True)
    echo.start()
    asked = "".join(f"line {i}\n" for i in range(50)) + "y" * 3000 + "\n"
    done = subprocess.run([app, "connect", HOST_IP4, "7"], input=asked, env=program_environment(lab), capture_output=True,
                          text=True, timeout=120)
    expect(done.returncode == 0 and done.stdout == asked, f"{done.returncode}: {done.stdout!r} {done.stderr!r}")
    echo.join(120)
    expect(not echo.is_alive(), "the application did not close")
    wait_until(lambda: not line_connections(lab, name), "the connection ends")
    peer.close_socket()


def exercise_transport(lab, installed, name, protocol=253, has_messages=True):
    """Lines between an application of the transport and a peer that knows only what its packets look like."""
    app = str(installed / "bin" / f"{name}-app")
    env = program_environment(lab)
    node = f"{name}-input"

    def open_connections():
        return line_connections(lab, name)

    # The application listens and sends lines back.
    with lab.program([app, "listen", STACK_IP4, "7"], env=env) as server:
        wait_until(lambda: "listening" in lab.output(server), "the application listens")
        lab.cli(name, "retransmit", "10000")  # a slow peer is not a lost packet
        peer = Peer(HOST_IP4, STACK_IP4, 5000, protocol)
        for _ in range(2):
            peer.connect(7)
            lines = [b"one\n", b"two\n", b"x" * 20_000 + b"\n"]
            for line in lines:
                already = peer.send(line)
                expect(peer.read(len(line), already) == line, "another line came back")
            expect(len(open_connections()) == 1, "the connection is not listed")
            if has_messages:
                exercise_messages(lab, name, peer)
                lab.cli(name, "retransmit", "10000")
            # Lost on the way: an echoed line, and then an acknowledgement.
            retransmitted = peer.retransmitted
            lab.cli(name, "retransmit", "2000")  # if this program stands still for as long, more than one comes again
            peer.raw(peer_module.DATA, peer.sequence, b"again\n")
            kind, sequence, _ = peer.receive()
            expect((kind, sequence) == (peer_module.ACK, peer.sequence), "the line is not acknowledged")
            peer.sequence = (peer.sequence + 1) % 256
            peer.lose = 1
            expect(peer.read(6) == b"again\n", "a lost line did not come again")
            lab.cli(name, "retransmit", "10000")
            duplicates = counter(lab, node, "duplicate")
            peer.raw(peer_module.DATA, (peer.sequence - 1) % 256, b"again\n")  # as if its acknowledgement was lost
            kind, sequence, _ = peer.receive()
            expect(kind == peer_module.ACK and counter(lab, node, "duplicate") == duplicates + 1,
                   "a repeated packet was not taken for one")
            expect(peer.retransmitted == retransmitted, "something came twice")
            expect(peer.close() == b"", "text came that nobody sent")
            wait_until(lambda: not open_connections(), "the connection ends")
        expect(counter(lab, node, "opened") == 2, "opened")

        # Packets that make no sense: counted, and the daemon goes on.
        malformed = counter(lab, node, "malformed")
        peer.raw(peer_module.DATA, 1, b"text", sum_error=1)
        peer.raw(99, 0)
        peer.raw(peer_module.DATA, 1)
        peer.socket.sendto(b"abc", (STACK_IP4, 0))
        wait_until(lambda: counter(lab, node, "malformed") == malformed + 4, "malformed packets are counted")
        peer.raw(peer_module.DATA, 200, b"to nobody")
        expect(peer.receive()[0] == peer_module.RESET, "a packet to nobody was not answered by a reset")

        # Its peer goes away without a word: the application's line is given up.
        lab.cli(name, "retransmit", "10")
        peer.connect(7)
        peer.raw(peer_module.DATA, peer.sequence, b"are you there\n")
        peer.close_socket()
        wait_until(lambda: not open_connections(), "a connection without a peer ends")
        expect(int(lab.cli("show", name, as_json=True)["timed-out"]) == 1, "timed-out")
        lab.cli(name, "retransmit", "1000")

    ask_peer(lab, app, name, protocol)

    lab.cli(name, "retransmit", "10")
    # Nobody there: the kernel's end answers nothing at all, so the open is given up; a reset refuses at once.
    done = subprocess.run([app, "connect", HOST_IP4, "8"], input="x\n", env=env, capture_output=True, text=True, timeout=240)
    expect(done.returncode == 1 and "connect: " in done.stderr, f"{done.returncode}: {done.stderr!r}")
    lab.cli(name, "retransmit", "2000")  # it is not given up before it is refused
    refuser = Peer(HOST_IP4, STACK_IP4, 9, protocol)

    def refuse():
        refuser.receive()
        refuser.raw(peer_module.RESET, 0)

    threading.Thread(target=refuse, daemon=True).start()
    done = subprocess.run([app, "connect", HOST_IP4, "9"], input="x\n", env=env, capture_output=True, text=True, timeout=120)
    expect(done.returncode == 1 and "ECONNREFUSED" in done.stderr, f"{done.returncode}: {done.stderr!r}")
    wait_until(lambda: not lab.applications(), "applications go")
