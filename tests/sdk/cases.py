#!/usr/bin/python3
"""What an outsider does with the SDK, in a daemon and namespaces of its own. usage: cases.py CASE

Each case sees the installed tree (HOSTLOOM_PREFIX) and what the case builds against it."""

import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import outsider  # noqa: E402  (first: it knows where lab.py is)
import contract  # noqa: E402
import lab as laboratory  # noqa: E402
import line_peer as peer_module  # noqa: E402
from api_client import ApiClient  # noqa: E402
from lab import HOST_IP4, STACK_IP4, Failure, wait_until  # noqa: E402
from line_peer import Peer  # noqa: E402
from outsider import CXX, HERE, PREFIX, Lab, Workshop, counter, expect, load, plugin, run  # noqa: E402

PYTHON = "/usr/bin/python3"


# --- The package ----------------------------------------------------------------------------------------------------

def headers():
    """Nothing that an installed header includes was left behind. (That each compiles alone is the tree's own test.)"""
    flags = ["-std=c++23", *outsider.FLAGS.split(), "-fsyntax-only", "-I", PREFIX / "include"]
    found = sorted((PREFIX / "include/hostloom").glob("*.h"))
    expect(len(found) > 15, f"only {len(found)} headers are installed")
    with Workshop() as shop:
        source = shop.dir / "all.cc"
        source.write_text("".join(f"#include <hostloom/{header.name}>\n" for header in found))
        run([CXX, *flags, source])


def pkg_config():
    """Without CMake: flags and folders from pkg-config build a plugin and an application."""
    env = dict(os.environ, PKG_CONFIG_PATH=str(next(PREFIX.rglob("pkgconfig"))))

    def ask(*words):
        return run(["pkg-config", *words], env=env).split()

    expect(pathlib.Path(ask("--variable=plugindir", "hostloom")[0]).resolve() == PREFIX / "lib/hostloom/plugins", "plugindir")
    examples = PREFIX / "share/hostloom/examples"
    with Workshop() as shop, Lab() as lab:
        so = shop.dir / "cc-scalable.so"
        run([CXX, "-std=c++23", "-shared", "-fPIC", *ask("--cflags", "hostloom"), "-o", so,
             examples / "cc-scalable/cc_scalable.cc"])
        load(lab, so)
        run([outsider.CC, examples / "line-echo/line_echo_app.c", *ask("--cflags", "--libs", "vppcom"), "-o",
             shop.dir / "app"])


# --- Examples, exercised in a daemon --------------------------------------------------------------------------------

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


def feature():
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("hello-feature"))
        exercise_feature(lab, "hello-feature")


def exercise_app(lab, name):
    """Connections of the kernel's to the application inside the daemon."""
    uri = f"tcp://{STACK_IP4}/7"

    def shown(what):
        return int(lab.cli("show", name, as_json=True)[what])

    def connect():
        return socket.create_connection((STACK_IP4, 7), timeout=20)

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
        s.settimeout(20)
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


def app():
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("upper-echo"))
        exercise_app(lab, "upper-echo")


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
            self.process.wait(20)
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


def cc():
    source = (PREFIX / "share/hostloom/examples/cc-scalable/cc_scalable.cc").read_text()
    expect(source.count("\n") < 120, "the example has become long")
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("cc-scalable"))
        exercise_cc(lab, "cc-scalable")


def cc_replaced():
    """A controller is replaced while a connection is on it: that one finishes on the old code, new ones get the new."""
    with Workshop() as shop, Lab(config_extra="tcp { cc-algo cubic }") as lab:
        sink = Sink()
        installed = shop.build(HERE / "plugins")
        load(lab, plugin(installed, "cc-fixed-10"))
        with Client(lab) as client:
            def segments(which, wanted="fixed"):
                client.do("send", which, 500_000)
                controller, window = connections(lab)[int(client.do("port", which))]
                expect(controller == wanted, f"{which} is on {controller}")
                return window

            client.do("open", "old", HOST_IP4, sink.port, "fixed")
            expect(segments("old") == 10, "the first controller does not work")
            # One that is refused after it registered changes nothing.
            try:
                lab.cli("plugin", "load", str(plugin(installed, "cc-fixed-broken")))
                raise Failure("a plugin whose init fails was loaded")
            except Failure as refused:
                expect("on second thoughts, no" in str(refused), str(refused))
            client.do("open", "same", HOST_IP4, sink.port, "fixed")
            expect(segments("same") == 10, "a refused plugin's controller is in use")

            load(lab, plugin(installed, "cc-fixed-20"))
            client.do("open", "new", HOST_IP4, sink.port, "fixed")
            expect(segments("new") == 20, "a new connection is not on the new controller")
            expect(segments("old") == 10, "the live connection was taken from its controller")
            expect(segments("new") == 20 and segments("same") == 10, "controllers are mixed up")
            client.do("close", "old")
            client.do("open", "another", HOST_IP4, sink.port, "fixed")
            expect(segments("another") == 20, "a new connection is not on the new controller")

            # The default is a name, too: whoever did not choose gets what now has it.
            client.do("open", "before", HOST_IP4, sink.port, "-")
            load(lab, plugin(installed, "cc-cubic-40"))
            client.do("open", "after", HOST_IP4, sink.port, "-")
            expect(segments("after", "cubic") == 40, "the default controller was not replaced")
            expect(segments("before", "cubic") != 40, "the live connection was taken from its controller")


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


def driver():
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("pcap-file"))
        exercise_driver(lab, "pcap-file")


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

        expect(connection()[:7] == (0, socket.inet_aton(STACK_IP4), socket.inet_aton(HOST_IP4), 7, peer.port, True, False),
               f"{connection()}")
        # Our last acknowledgement is on its way.
        wait_until(lambda: connection()[7] == connection()[8] > 20_000, "both directions have the same number of bytes")


def exercise_transport(lab, installed, name, protocol=253, has_messages=True):
    """Lines between an application of the transport and a peer that knows only what its packets look like."""
    app = str(installed / "bin" / f"{name}-app")
    env = dict(os.environ, VCL_CONFIG=str(lab.dir / "vcl.conf"))
    node = f"{name}-input"

    def open_connections():
        return lab.cli("show", name, as_json=True)["connections"]

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
            lab.cli(name, "retransmit", "500")
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

    # The application connects and asks.
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
    done = subprocess.run([app, "connect", HOST_IP4, "7"], input=asked, env=env, capture_output=True, text=True, timeout=30)
    expect(done.returncode == 0 and done.stdout == asked, f"{done.returncode}: {done.stdout!r} {done.stderr!r}")
    echo.join(10)
    expect(not echo.is_alive(), "the application did not close")
    wait_until(lambda: not open_connections(), "the connection ends")
    peer.close_socket()

    lab.cli(name, "retransmit", "10")
    # Nobody there: the kernel's end answers nothing at all, so the open is given up; a reset refuses at once.
    done = subprocess.run([app, "connect", HOST_IP4, "8"], input="x\n", env=env, capture_output=True, text=True, timeout=60)
    expect(done.returncode == 1 and "connect: " in done.stderr, f"{done.returncode}: {done.stderr!r}")
    refuser = Peer(HOST_IP4, STACK_IP4, 9, protocol)

    def refuse():
        refuser.receive()
        refuser.raw(peer_module.RESET, 0)

    threading.Thread(target=refuse, daemon=True).start()
    done = subprocess.run([app, "connect", HOST_IP4, "9"], input="x\n", env=env, capture_output=True, text=True, timeout=30)
    expect(done.returncode == 1 and "ECONNREFUSED" in done.stderr, f"{done.returncode}: {done.stderr!r}")
    wait_until(lambda: not lab.applications(), "applications go")


def transport():
    with Workshop() as shop, Lab() as lab:
        installed = shop.build(PREFIX / "share/hostloom/examples/line-echo")
        load(lab, plugin(installed, "line-echo"))
        exercise_transport(lab, installed, "line-echo")


# --- Skeletons ------------------------------------------------------------------------------------------------------

def sdk(*words, cwd=None):
    return run([PREFIX / "bin/hostloom-sdk", *words], cwd=cwd)


def skeleton(shop, kind, name):
    """Written, built without a change, installed; where to."""
    sdk("new", kind, name, cwd=shop.dir)
    text = "".join(f.read_text() for f in (shop.dir / name).rglob("*") if f.is_file())
    left = re.search(r"hello[-_]feature|cc[-_]scalable|pcap[-_]file|line[-_]echo|upper[-_]echo|HelloFeature|PcapFile|LineEcho|UpperEcho", text)
    expect(not left, f"the example's name is left over: {left}")
    return shop.build(shop.dir / name)


def new_feature():
    with Workshop() as shop, Lab() as lab:
        load(lab, plugin(skeleton(shop, "feature", "my-counter"), "my-counter"))
        exercise_feature(lab, "my-counter")


def new_app():
    """Beside the example that it came from."""
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("upper-echo"))
        load(lab, plugin(skeleton(shop, "app", "my-server"), "my-server"))
        exercise_app(lab, "my-server")
        # What is open when the daemon goes down is reset, not forgotten.
        lab.cli("my-server", "listen", f"tcp://{STACK_IP4}/9")
        with socket.create_connection((STACK_IP4, 9), timeout=20) as s:
            s.sendall(b"last words")
            expect(s.recv(100) == b"LAST WORDS", "no answer")
            lab.stop(lab.daemon)
            try:
                expect(s.recv(100) == b"", "bytes after the end")
                raise Failure("the daemon's end looked like an orderly one")
            except ConnectionResetError:
                pass


def new_cc():
    with Workshop() as shop, Lab() as lab:
        load(lab, plugin(skeleton(shop, "cc", "my-cc"), "my-cc"))
        exercise_cc(lab, "my-cc")


def new_driver():
    with Workshop() as shop, Lab() as lab:
        load(lab, plugin(skeleton(shop, "driver", "my-files"), "my-files"))
        exercise_driver(lab, "my-files")


def new_transport():
    """Beside the example that it came from: both work."""
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("line-echo"))
        installed = skeleton(shop, "transport", "my-protocol")
        load(lab, plugin(installed, "my-protocol"))
        exercise_transport(lab, installed, "my-protocol", protocol=254)


def new_refuses():
    with Workshop() as shop:
        (shop.dir / "full").mkdir()
        (shop.dir / "full/file").write_text("mine")
        for words, why in ((("feature", "Bad Name"), "no name for a plugin"), (("cc", "a-name-of-sixteen"), "15 characters"),
                           (("driver", "pcap-file"), "name of an example"), (("feature", "x", "full"), "not empty"),
                           (("engine", "x"), "invalid choice"), (("transport", "x", "--proto", "7"), "not from 128")):
            try:
                sdk("new", *words, cwd=shop.dir)
                raise Failure(f"{words} was taken")
            except Failure as refused:
                expect(why in str(refused), f"{words}: {refused}")
        expect(sorted(p.name for p in shop.dir.iterdir()) == ["full"], "something was written")


# --- Versions of the contract ---------------------------------------------------------------------------------------

OLD = HERE / "contract-1.0/include"


def contract_layout():
    """What an older plugin believes about structures is still so."""
    contract.check(CXX, OLD, PREFIX / "include")


def contract_plugins():
    """Plugins built against the contract of 1.0 load, and do their work, in the daemon of today."""
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("hello-feature", include=OLD))
        exercise_feature(lab, "hello-feature")
        load(lab, shop.example("cc-scalable", include=OLD))
        exercise_cc(lab, "cc-scalable")
        load(lab, shop.example("pcap-file", include=OLD))
        exercise_driver(lab, "pcap-file")
        # Plugins of 1.0 had no messages.
        old = shop.dir / "old/line-echo"
        shutil.copytree(PREFIX / "share/hostloom/examples/line-echo", old)
        (old / "api.cc").unlink()
        for file, what in (("CMakeLists.txt", r" api\.cc|\n +API .*?(?=\))"), ("plugin.cc", r".*add_messages.*\n")):
            text, n = re.subn(what, "", (old / file).read_text())
            expect(n != 0, f"{file} has no messages to take away")
            (old / file).write_text(text)
        installed = shop.build(old, include=OLD)
        load(lab, plugin(installed, "line-echo"))
        exercise_transport(lab, installed, "line-echo", has_messages=False)
        abi = re.search(r"kPluginAbi = 1u << 16 \| (\d+)", (OLD / "hostloom/plugin.h").read_text())
        expect(abi and abi[1] == "0", "these are not the headers of 1.0")


# --- Refusals -------------------------------------------------------------------------------------------------------

def bad_plugins():
    """Each is refused with a reason, and the daemon goes on."""
    with Workshop() as shop, Lab() as lab:
        installed = shop.build(HERE / "plugins")
        unresolved = shop.dir / "plugins/build/unresolved.so"
        whole = plugin(installed, "answers").read_bytes()
        (shop.dir / "text.so").write_text("this is no shared object\n" * 100)
        (shop.dir / "cut.so").write_bytes(whole[:len(whole) // 3])
        (shop.dir / "empty.so").write_bytes(b"")
        library = shop.dir / "library.so"
        run([outsider.CC, "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", library])
        for file, reason in ((shop.dir / "text.so", "no ELF header"), (shop.dir / "empty.so", "no ELF header"),
                             (shop.dir / "cut.so", "cut off"), (shop.dir, "not a regular file"),
                             (shop.dir / "nowhere.so", "No such file"), (library, "does not export 'hostloom_plugin'"),
                             (unresolved, "undefined symbol"),
                             (plugin(installed, "throws"), "init threw an exception: the disk is made of cheese")):
            try:
                lab.cli("plugin", "load", str(file))
                raise Failure(f"{file} was loaded")
            except Failure as refused:
                expect(reason in str(refused) and str(file) in str(refused), f"{file}: {refused}")
            expect(f"{file} refused: it " in (lab.dir / "hostloom.log").read_text(), f"{file}: no line in the log")
        load(lab, plugin(installed, "answers"))
        for words, text in ((["answers", "bad"], "threw an exception: no answer"),
                            (["throws"], "belongs to plugin 'throws', which was refused"),
                            (["plugin", "load", str(plugin(installed, "answers"))], "was loaded before and is running")):
            try:
                lab.cli(*words)
                raise Failure(f"{words} succeeded")
            except Failure as refused:
                expect(text in str(refused), str(refused))
        expect(lab.cli("answers", "good").strip() == "42", "a plugin in order does not work")
        lab.run(["ping", "-c", "1", STACK_IP4])


# --- Documentation --------------------------------------------------------------------------------------------------

def docs():
    """Every command of docs/plugins.md, in order, as it stands there."""
    text = (HERE.parents[1] / "docs/plugins.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    expect(len(blocks) >= 4, "docs/plugins.md has lost its commands")
    with Workshop() as shop:
        prefix = shop.dir / "prefix"
        run(["cp", "-a", PREFIX, prefix])  # what the reader installs stays out of other tests
        with laboratory.Lab(build=prefix) as lab:
            follow(lab, shop.dir, prefix, text, blocks)


def follow(lab, folder, prefix, text, blocks):
    # Where the reader's daemon is.
    env = dict(os.environ, PREFIX=str(prefix), PATH=f"{prefix}/bin:{os.environ['PATH']}", CXX=CXX,
               VCL_CONFIG=str(lab.dir / "vcl.conf"))
    script = f"set -eu\nloomctl() {{ command loomctl -s {lab.dir}/run/api.sock \"$@\"; }}\n" + "\n".join(blocks)
    said = re.sub(r"\s+", " ", run(["bash", "-c", script], cwd=folder, env=env))
    for expected in re.findall(r"^```text\n(.*?)^```$", text, re.M | re.S):
        for line in expected.splitlines():
            expect(re.sub(r"\s+", " ", line).strip() in said, f"nothing said '{line}':\n{said}")


if __name__ == "__main__":
    laboratory.enter()
    if len(sys.argv) != 2 or not callable(globals().get(sys.argv[1])):
        sys.exit(__doc__)
    try:
        globals()[sys.argv[1]]()
    except Failure as failure:
        sys.exit(f"{sys.argv[1]}: {failure}")
