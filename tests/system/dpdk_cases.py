#!/usr/bin/python3
"""System tests of the DPDK driver with DPDK's devices of software, on plain pages: TAP and packet sockets against the
kernel, pcap files, rings, memif against other processes. usage: dpdk_cases.py CASE"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import programs as p  # noqa: E402
from cases import expect, expect_asleep, expect_error, expect_polling, expect_reclaimed  # noqa: E402
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Failure, Lab, run_case, wait_until  # noqa: E402
from memif_cases import Files, ping  # noqa: E402
from messages import Messages  # noqa: E402

NAME = "dpdk0"  # of the interface, but where there are several
TAP = "dtap0"   # the kernel's end of net_tap


def config(*devices, keys=""):
    return f"dpdk {{ no-pci no-hugetlb {keys} {' '.join(devices)} }}"


def vdev(text, name=NAME, keys=""):
    return f"vdev {text} {{ name {name} {keys} }}"


def trusting(text, name=NAME):
    """A device that gives its peer the daemon's memory is made of a peer that is trusted only."""
    return vdev(text, name, "trust-peer")


def startup(name=NAME, ip4=STACK_IP4, ip6=STACK_IP6, mtu=1500):
    return [
        f"set interface mtu packet {mtu} {name}",
        f"set interface ip address {name} {ip4}/24",
        f"set interface ip address {name} {ip6}/64",
        f"set interface state {name} up",
    ]


@contextlib.contextmanager
def laboratory(*devices, keys="", workers=None, more="", **words):
    """A daemon with one such device, whose link is up."""
    with Lab(startup=startup(**words), config_extra=config(*devices, keys=keys) + more, workers=workers) as lab:
        wait_link(lab, "up")
        yield lab


def device(lab, name=NAME):
    return lab.cli("show", "dpdk", "device", name, as_json=True)["devices"][0]


def wait_link(lab, state, name=NAME):
    wait_until(lambda: device(lab, name)["link"] == state, f"the link is {state}")


def kernel_takes_up(name=TAP):
    for words in (f"addr replace {HOST_IP4}/24 dev {name}", f"addr replace {HOST_IP6}/64 dev {name} nodad",
                  f"link set {name} up"):
        subprocess.run(["ip"] + words.split(), check=True)


def kernel_pings(lab, *words, address=STACK_IP4):
    wait_until(lambda: lab.run(["ping", "-c", "1", "-W", "1", *words, address], check=False).returncode == 0,
               f"{address} answers")


def both_ways(lab):
    for side, port in ((p.served_by_hostloom(lab), 8080), (p.client_on_hostloom(lab), 8081)):
        with p.Nginx(lab, side, port=port) as n:
            for name in ("1k", "10m"):
                p.curl_matches(lab, n, name, env=side.client_env)


def in_use(lab):
    """Buffers that are neither on the pool's list nor in a worker's cache."""
    return sum(int(pool["in-use"]) for pool in lab.cli("show", "buffers", as_json=True)["pools"])


def expect_sound(*labs):
    """Nothing was lost for a reason that is ours, and nothing was copied on the way in."""
    for lab in labs:
        text = lab.cli("show", "errors")
        expect(not re.search(r"malformed|runt|bad-offsets|bad-checksum|bad-gso|copied", text), text)
        for d in lab.cli("show", "dpdk", "device", as_json=True)["devices"]:
            expect(int(d["rx errors"]) == 0 and int(d["tx errors"]) == 0, f"{d}\n{lab.cli('show', 'hardware-interfaces')}")


def tap():
    """net_tap: ping and files both ways, iperf3 under preload, another MTU, interrupts."""
    with laboratory(vdev(f"net_tap0,iface={TAP}")) as lab:
        kernel_takes_up()
        for address in (STACK_IP4, STACK_IP6):
            kernel_pings(lab, address=address)
        for address in (HOST_IP4, HOST_IP6):
            ping(lab, address)
        both_ways(lab)
        for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
            rate = p.iperf3(lab, side, seconds=1)
            expect(rate > 0, f"{side.name}: nothing arrived")
            print(f"{side.name}: {rate / 1e9:.2f} Gb/s", flush=True)
        expect(device(lab)["rx interrupts"] == "yes", "net_tap has interrupts")
        lab.cli("set", "interface", "mtu", "packet", "1400", NAME)
        expect(pathlib.Path(f"/sys/class/net/{TAP}/mtu").read_text() == "1400\n", "the kernel's end has it, too")
        kernel_pings(lab, "-M", "do", "-s", "1372")
        expect_error(lab, "mtu 9000 is not from", "set", "interface", "mtu", "packet", "9000", NAME)  # DPDK 22.11's net_tap
        expect_asleep(lab)
        for mode, does in (("polling", expect_polling), ("interrupt", expect_asleep)):
            lab.cli("set", "interface", "rx-mode", NAME, mode)
            does(lab)
            kernel_pings(lab)
        expect(int(device(lab)["tx copied"]) == 0, "net_tap sends an application's bytes where they are")
        text = lab.cli("show", "hardware-interfaces")
        for part in ("dpdk net_tap net_tap0,iface=dtap0", "interrupts", "worker 0", "xstats:"):
            expect(part in text, f"'{part}' is not in {text}")
        expect_sound(lab)
        expect_reclaimed(lab)
        deleted(lab, TAP)


def expect_no_signals(lab):
    """net_tap's descriptors send none: enough of them would end the daemon."""
    flags = {}
    for fd in pathlib.Path(f"/proc/{lab.daemon.pid}/fd").iterdir():
        if os.readlink(fd) == "/dev/net/tun":
            text = pathlib.Path(f"/proc/{lab.daemon.pid}/fdinfo/{fd.name}").read_text()
            flags[fd.name] = int(re.search(r"flags:\s+(\d+)", text)[1], 8)
    expect(flags and not any(f & os.O_ASYNC for f in flags.values()), f"flags of descriptors: {flags}")


def deleted(lab, name, is_down_before=False):
    """The kernel's interface goes away, its link up or down: the device is stopped, and the daemon goes on."""
    if is_down_before:
        subprocess.run(["ip", "link", "set", name, "down"], check=True)
        wait_link(lab, "down")
    subprocess.run(["ip", "link", "del", name], check=True)
    wait_link(lab, "down")
    wait_until(lambda: "gone, stopped" in lab.cli("show", "hardware-interfaces"), "it is described as gone and stopped")
    lab.cli("set", "interface", "state", NAME, "down")
    expect(device(lab)["link"] == "down", "it has not come back")


def queues():
    """Two workers with a queue each, and which worker has which queue; one queue that two workers send by."""
    with laboratory(vdev(f"net_tap0,iface={TAP}"), workers=2) as lab:
        kernel_takes_up()
        kernel_pings(lab)
        both_ways(lab)
        d = device(lab)
        expect((d["rx queues"], d["tx queues"]) == (1, 1), f"tx queues follow rx queues: {d}")
        expect_sound(lab)
        deleted(lab, TAP, is_down_before=True)
    with Lab(startup=["show version"], config_extra=config(vdev(f"net_tap0,iface={TAP}", keys="num-tx-queues 2")),
             workers=2) as lab:
        log = (lab.dir / "hostloom.log").read_text()
        expect("net_tap has as many tx queues as rx queues, not 2 and 1" in log, log)
    with laboratory(vdev(f"net_tap0,iface={TAP}", keys="num-rx-queues 2 num-tx-queues 2 rss { ipv4-tcp ipv6-tcp }"),
                    workers=2) as lab:
        kernel_takes_up()
        kernel_pings(lab)
        expect_no_signals(lab)
        p.iperf3(lab, p.served_by_hostloom(lab), seconds=1, streams=8)
        both_ways(lab)
        text = lab.cli("show", "hardware-interfaces")
        expect(re.search(r"rx queues: (0 worker 0, 1 worker 1|0 worker 1, 1 worker 0)[;\n]", text), text)
        for q in range(2):  # of each, not of all
            for count in (f"rx_q{q}_packets", f"tx_q{q}_packets"):
                n = re.search(rf" {count} (\d+)", text)
                expect(n and int(n[1]) > 0, f"{count} in {text}")
        expect_sound(lab)
        expect_reclaimed(lab)


def finish_checksums(name):
    """As `ethtool -K NAME tx off`."""
    value = ctypes.create_string_buffer(struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM
    request = struct.pack("16sQ16x", name.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8946, request)  # SIOCETHTOOL


def packet_sockets():
    """net_af_packet over a veth, polled: it has no interrupts; its link is looked at."""
    for words in ("link add loom0 type veth peer name loom1", "link set loom0 up"):
        subprocess.run(["ip"] + words.split(), check=True)
    kernel_takes_up("loom1")
    finish_checksums("loom1")  # else they are left to a device that net_af_packet does not tell of
    with laboratory(vdev("net_af_packet0,iface=loom0", keys="num-rx-desc 256")) as lab:
        kernel_pings(lab)
        ping(lab, HOST_IP4)
        both_ways(lab)
        expect(device(lab)["rx interrupts"] == "no", "net_af_packet has no interrupts")
        expect_sound(lab)
        deleted(lab, "loom0")


# --- Files of packets ---------------------------------------------------------------------------------------------------

PEER_MAC, OUR_MAC = bytes.fromhex("02aa00000001"), bytes.fromhex("02fe00000088")


def checksum(data):
    s = sum(struct.unpack(f"!{len(data) // 2}H", data if len(data) % 2 == 0 else data[:-1]))
    if len(data) % 2:
        s += data[-1] << 8
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


def address(text):
    return bytes(int(x) for x in text.split("."))


def arp_request():
    return (b"\xff" * 6 + PEER_MAC + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + PEER_MAC + address(HOST_IP4)
            + bytes(6) + address(STACK_IP4)).ljust(60, b"\0")


def echo_request(number, size):
    data = bytes((number + i) & 0xff for i in range(size))
    icmp = struct.pack("!BBHHH", 8, 0, 0, 0x4242, number) + data
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), number, 0, 64, 1, 0, address(HOST_IP4), address(STACK_IP4))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return OUR_MAC + PEER_MAC + struct.pack("!H", 0x0800) + head + icmp


def write_pcap(path, packets):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for packet in packets:
            f.write(struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet)


def read_pcap(path):
    data, at = pathlib.Path(path).read_bytes(), 24
    while at + 16 <= len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + size]
        at += 16 + size


def pcap():
    """net_pcap: every packet of a file is answered, byte for byte, those in several segments too; a runt is counted."""
    sizes = [56, 1400, 8000, 18, 2040, 2100, 4096]
    with Lab(daemon=False) as lab:
        requests = [echo_request(i, size) for i, size in enumerate(sizes)]
        write_pcap(lab.dir / "in.pcap", [arp_request(), *requests, b"\xff" * 10])
        lab.config_extra = config(vdev(f"net_pcap0,rx_pcap={lab.dir}/in.pcap,tx_pcap={lab.dir}/out.pcap"))
        lab.startup = [f"set interface mac address {NAME} {OUR_MAC.hex(':')}", *startup(mtu=9000)]
        lab.start_daemon()
        wait_until(lambda: int(device(lab)["rx packets"]) == 1 + len(requests), "all packets are read")
        wait_until(lambda: int(device(lab)["rx errors"]) == 1, "the runt is counted")
        expect("runt" in lab.cli("show", "errors"), "the runt is named")
        # A device that is stopped has written its file.
        wait_until(lambda: int(next(i for i in lab.cli("show", "interface", as_json=True)["interfaces"]
                                    if i["Name"] == NAME)["TxPackets"]) >= 1 + len(requests), "all are answered")
        lab.cli("set", "interface", "state", NAME, "down")
        sent = list(read_pcap(lab.dir / "out.pcap"))
        replies = [s for s in sent if s[12:14] == b"\x08\0" and s[23] == 1 and s[34] == 0]
        for number, request in enumerate(requests):
            mine = [r for r in replies if r[38:42] == request[38:42]]
            expect(len(mine) == 1, f"{len(mine)} replies to request {number}")
            expect(mine[0][:12] == PEER_MAC + OUR_MAC and mine[0][42:] == request[42:], f"reply {number} differs")
            expect(checksum(mine[0][34:]) == 0 and checksum(mine[0][14:34]) == 0, f"a checksum of reply {number}")
        wait_until(lambda: in_use(lab) == 0, "all buffers are back")


def ring():
    """net_ring hands mbufs on as they are: what we send is what we receive, without a copy, and all buffers come back."""
    with laboratory(vdev("net_ring0")) as lab:
        before = device(lab)
        text = lab.cli("ping", HOST_IP4, "count", "5", "interval", "0.05")  # asks for the neighbour, and hears itself
        expect("0 received" in text, text)
        wait_until(lambda: int(device(lab)["rx packets"]) >= int(before["rx packets"]) + 2, "our own requests come back")

        def sent():
            i = next(i for i in lab.cli("show", "interface", as_json=True)["interfaces"] if i["Name"] == NAME)
            return int(i["TxPackets"])
        wait_until(lambda: sent() == int(device(lab)["rx packets"]) == sent(), "as many come as are sent")
        lab.cli("set", "interface", "state", NAME, "down")
        wait_until(lambda: in_use(lab) <= 8, "the buffers come back")  # what waits for the neighbour
        expect("copied" not in lab.cli("show", "errors"), lab.cli("show", "errors"))


# --- Other processes ------------------------------------------------------------------------------------------------

PEER_IP4, PEER_IP6 = "10.90.0.1", "fd90::1"
NEAR_IP4, NEAR_IP6 = "10.90.0.2", "fd90::2"


def memif():
    """net_memif with our own memif at the other end: files, and the peer killed while bytes flow, in either role."""
    for role in ("server", "client"):
        with Lab(daemon=False) as lab, Lab(daemon=False) as peer:
            ours = {"server": "slave", "client": "master"}[role]
            peer.startup = [f"create memif socket id 1 filename {lab.dir}/memif.sock",
                            f"create interface memif socket-id 1 id 0 {ours}",
                            *startup("memif1/0", PEER_IP4, PEER_IP6)]
            lab.config_extra = config(trusting(f"net_memif0,role={role},id=0,socket={lab.dir}/memif.sock,socket-abstract=no"))
            lab.startup = startup(ip4=NEAR_IP4, ip6=NEAR_IP6)
            for one in ((lab, peer) if role == "server" else (peer, lab)):
                one.start_daemon()
            for again in (False, True):
                wait_link(lab, "up")
                ping(lab, PEER_IP4)
                ping(peer, NEAR_IP6)
                files = Files(peer, PEER_IP4) if not again else files
                if again:
                    files.serve()
                files.fetch(lab, "10m")
                if again:
                    break
                peer.stop(peer.daemon, signal.SIGKILL)
                wait_link(lab, "down")
                (peer.dir / "hostloom.log").unlink()
                peer.start_daemon()
            expect_sound(lab)


def take_up(lab, **words):
    """The commands for a device that is there when its peer has answered: a busy machine's may be late for a start-up file."""
    wait_until(lambda: any(i["Name"] == NAME for i in lab.cli("show", "interface", as_json=True)["interfaces"]),
               "its peer has come")
    for line in startup(**words):
        lab.cli(*line.split())


def received(lab):
    """Bytes and packets."""
    d = device(lab)
    return int(d["rx bytes"]), int(d["rx packets"])


def life():
    """Down and up 1,000 times: every buffer is back, and the daemon is no larger."""
    with laboratory(vdev(f"net_tap0,iface={TAP}"), vdev("net_ring0", "dpdk1"), vdev("net_null0,size=1514,copy=1", "dpdk2")) as lab:
        lab.cli("event-logger", "resize", "64")  # full from the beginning: else it fills as fast as workers wake
        with Messages(lab.dir / "run/api.sock") as m:
            number = {i["interface_name"]: i["sw_if_index"] for i in m.dump("sw_interface_dump")}

            def cycle(times, names):
                for _ in range(times):
                    for flags in (1, 0):
                        for name in names:
                            done = m.call("sw_interface_set_flags", sw_if_index=number[name], flags=flags)
                            expect(done["retval"] == 0, f"{name} to {flags}: {done}")
                return resident(lab)

            before = cycle(50, (NAME, "dpdk1", "dpdk2"))
            after = cycle(1000, (NAME, "dpdk1", "dpdk2"))
        expect(after < before + (1 << 18), f"from {before} to {after} bytes after 1,000 times")
        wait_until(lambda: in_use(lab) <= int(device(lab)["rx descriptors"]), "all buffers are back but what net_tap holds")
        lab.cli("set", "interface", "state", NAME, "up")
        kernel_takes_up()
        kernel_pings(lab)
        with p.Nginx(lab, p.served_by_hostloom(lab)) as n:
            load = lab.spawn(["sh", "-c", f"while :; do curl -sS -m 5 -o /dev/null {n.url('10m')}; sleep 0.1; done"],
                             name="load", start_new_session=True)
            try:
                for _ in range(20):
                    seen = int(device(lab)["rx packets"])
                    wait_until(lambda: int(device(lab)["rx packets"]) > seen, "packets flow")
                    lab.cli("set", "interface", "state", NAME, "down")
                    lab.cli("set", "interface", "state", NAME, "up")
            finally:
                os.killpg(load.pid, signal.SIGKILL)
                load.wait()
            p.curl_matches(lab, n, "10m")
        expect_reclaimed(lab)


def status_kb(lab, what):
    return int(re.search(what + r":\s+(\d+)", pathlib.Path(f"/proc/{lab.daemon.pid}/status").read_text())[1])


def resident(lab):
    return status_kb(lab, "VmRSS") << 10


def refused():
    """Wrong words, devices that are not there, EAL that does not start; two daemons at once; nothing is left behind."""
    with Lab(daemon=False) as lab:
        scratch = lab.dir / "tmp"
        scratch.mkdir()
        os.environ["TMPDIR"] = str(scratch)  # of the daemons from here on
        for text, more in (("startup.conf:4: unknown key 'vdevs' in 'dpdk'; did you mean 'vdev'?", "dpdk {\nvdevs net_null0 }"),
                           ("startup.conf:4: 'num-rx-queues 65'", "dpdk { vdev net_null0 {\n num-rx-queues 65 } }"),
                           ("'dev 3:0' is not a PCI address", "dpdk { dev 3:0 }"),
                           ("contradict each other", "dpdk { dev 03:00.0 no-pci }"),
                           ("'net_null0' is there already", "dpdk { vdev net_null0 vdev net_null0,size=64 }"),
                           ("'log-level loud'", "dpdk { log-level loud }"),
                           ("'ipv4-tpc'", "dpdk { vdev net_null0 { rss { ipv4-tpc } } }")):
            expect_no_start(lab, more, text)
        lab.config_extra = config("vdev net_nonsense0", vdev("net_null0"))
        lab.startup = [f"set interface state {NAME} up"]
        lab.start_daemon()
        log = (lab.dir / "hostloom.log").read_text()
        expect("net_nonsense0 is not there" in log, log)
        expect([d["name"] for d in lab.cli("show", "dpdk", "device", as_json=True)["devices"]] == [NAME], "the other is there")
        expect_error(lab, "there is no DPDK device 'tap0'", "show", "dpdk", "device", "tap0")
        expect("--no-huge" in lab.cli("show", "dpdk", "version"), "plain pages are named")
        expect("hostloom0" in lab.cli("show", "dpdk", "buffer"), "the mempool is listed")
        expect("hostloom-buffers0" in lab.cli("show", "dpdk", "physmem"), "the memory is listed")
        with Lab(startup=[f"set interface state {NAME} up"], config_extra=config(vdev("net_null0"))) as second:
            wait_link(second, "up")
            wait_link(lab, "up")
        lab.stop(lab.daemon)
        expect(lab.daemon.returncode == 0, f"the daemon ended with {lab.daemon.returncode}")
        # A daemon without `dpdk { }` has nothing to list.
        (lab.dir / "hostloom.log").unlink()
        lab.startup, lab.config_extra = ["show version"], ""
        lab.start_daemon()
        expect(lab.cli("show", "dpdk", "device", as_json=True)["devices"] == [], "devices without dpdk { }")
        lab.stop(lab.daemon)
        # The daemons' own, which have their number; testpmd of other cases has the laboratory's name.
        run = pathlib.Path("/var/run/dpdk")
        left = [*scratch.iterdir(), *(f for f in run.glob("hostloom-*") if re.fullmatch(r"hostloom-\d+", f.name))]
        expect(not left, f"left behind: {left}")


def expect_no_start(lab, more, text):
    lab.config_extra, lab.startup = more, ["show version"]
    try:
        lab.start_daemon()
    except Failure as e:
        expect(text in str(e), f"'{text}' is not in: {e}")
        return
    raise Failure(f"it starts with: {more}")


if __name__ == "__main__":
    run_case(tap, queues, packet_sockets, pcap, ring, memif, life, refused)
