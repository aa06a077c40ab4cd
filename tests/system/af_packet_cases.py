#!/usr/bin/python3
"""System tests of the af-packet driver over a veth, a bridge and a macvlan, whose other end is the kernel's.
usage: af_packet_cases.py CASE"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import programs as p  # noqa: E402
from cases import (expect, expect_asleep, expect_error, expect_polling, expect_reclaimed,  # noqa: E402
                   worker_rounds)
from lab import HOST_IP4, HOST_IP6, STACK_IP4, STACK_IP6, Failure, Lab, run_case, wait_until  # noqa: E402
from messages import Messages  # noqa: E402
from vlan_cases import KERNEL_IP4, OWN_IP4, OWN_IP6, VLAN, vlan_device  # noqa: E402

OURS, KERNELS = "loom0", "loom1"  # the ends of the veth
NAME = f"host-{OURS}"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def make_veth(mtu=1500, ours=OURS, kernels=KERNELS, ip4=HOST_IP4, ip6=HOST_IP6):
    """The driver takes our end up."""
    ip("link", "add", ours, "mtu", str(mtu), "type", "veth", "peer", "name", kernels, "mtu", str(mtu))
    ip("addr", "add", f"{ip4}/24", "dev", kernels)
    ip("addr", "add", f"{ip6}/64", "dev", kernels, "nodad")
    ip("link", "set", kernels, "up")


def startup(words=""):
    return [
        f"create host-interface name {OURS} {words}",
        f"set interface ip address {NAME} {STACK_IP4}/24",
        f"set interface ip address {NAME} {STACK_IP6}/64",
        f"set interface state {NAME} up",
    ]


@contextlib.contextmanager
def laboratory(words="", workers=None, mtu=1500, more=()):
    make_veth(mtu)
    try:
        with Lab(startup=startup(words) + list(more), workers=workers) as lab:
            yield lab
    finally:
        subprocess.run(["ip", "link", "del", OURS], check=False, stderr=subprocess.DEVNULL)


def details(lab):
    return lab.cli("show", "host-interface", NAME, as_json=True)["host-interfaces"][0]


def interface(lab):
    return next(i for i in lab.cli("show", "interface", as_json=True)["interfaces"] if i["Name"] == NAME)


def wait_link(lab, state):
    wait_until(lambda: details(lab)["link"] == state, f"the link is {state}")


def kernel_pings(lab, *words, address=STACK_IP4):
    wait_until(lambda: lab.run(["ping", "-c", "1", "-W", "1", *words, address], check=False).returncode == 0,
               f"{address} answers")


def stack_pings(lab, address=HOST_IP4):
    wait_until(lambda: " 3 received" in lab.cli("ping", address, "count", "3", "interval", "0.05"), f"{address} answers")


def expect_sound(lab):
    """No packet was lost for a reason that is ours."""
    text = lab.cli("show", "errors")
    expect(not re.search(r"malformed|runt|too-long|unsupported|read-failed|bad-offsets|bad-gso", text), text)
    expect(int(details(lab)["tx errors"]) == 0, f"{lab.cli('show', 'hardware-interfaces')}")


def both_ways(lab):
    """Files compared byte for byte, served by either end."""
    for side, port in ((p.served_by_hostloom(lab), 8080), (p.client_on_hostloom(lab), 8081)):
        with p.Nginx(lab, side, port=port, workers=2) as n:
            for name in ("1k", "10m", "10m"):
                p.curl_matches(lab, n, name, env=side.client_env)


def grown(lab, work):
    """By how much packets and bytes of the interface grow during it."""
    keys = ("RxPackets", "RxBytes", "TxPackets", "TxBytes")
    before = interface(lab)
    work()
    after = interface(lab)
    return {k: int(after[k]) - int(before[k]) for k in keys}


def send_frames(n):
    """Broadcast frames that nobody answers, out of the kernel's end. The other end has them when it returns."""
    frame = b"\xff" * 6 + b"\x02\x77" * 3 + b"\x88\xb5" + bytes(46)  # IEEE's type for local experiments
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((KERNELS, 0))
        for _ in range(n):
            s.send(frame)


def programs():
    """ping both ways, files compared, iperf3 both ways; packets larger than a frame cross in one piece."""
    with laboratory() as lab:
        for address in (STACK_IP4, STACK_IP6):
            kernel_pings(lab, address=address)
        for address in (HOST_IP4, HOST_IP6):
            stack_pings(lab, address)
        both_ways(lab)
        for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
            for reverse in (False, True):
                rate = []
                n = grown(lab, lambda: rate.append(p.iperf3(lab, side, seconds=1, reverse=reverse)))
                way = "Tx" if (side.server == STACK_IP4) == reverse else "Rx"
                expect(n[way + "Bytes"] > rate[0] / 8 * 0.9, f"{rate[0] / 8:.0f} bytes in a second, of which {n} are seen")
                expect(n[way + "Bytes"] / n[way + "Packets"] > 1518, f"no packet was larger than a frame: {n}")
                print(f"{side.name}{' -R' if reverse else ''}: {rate[0] / 1e9:.2f} Gb/s", flush=True)
        expect_sound(lab)
        expect_reclaimed(lab)


def shapes():
    """Jumbo frames, several queues and workers, no offload, the queueing discipline not bypassed."""
    for words, workers, mtu in (("", 1, 9000), ("cksum-gso-disable qdisc-bypass-disable", 1, 1500),
                                ("num-rx-queues 2 num-tx-queues 2", 2, 1500)):
        with laboratory(words, workers, mtu) as lab:
            kernel_pings(lab, "-M", "do", "-s", str(mtu - 28))
            kernel_pings(lab, address=STACK_IP6)
            both_ways(lab)
            p.iperf3(lab, p.served_by_hostloom(lab), seconds=1, streams=8)
            p.iperf3(lab, p.served_by_hostloom(lab), seconds=1, streams=8, reverse=True)
            if workers == 2:
                tables = lab.cli("show", "runtime", as_json=True)
                busy = [w for w, nodes in tables.items() if any(n["name"] == "af-packet-input" for n in nodes)]
                expect(len(busy) == 2, f"only workers {busy} received anything")
            expect_sound(lab)


def rx_mode():
    """The worker polls or sleeps as it is told, with a queue and with two, and packets arrive either way."""
    for words in ("", "num-rx-queues 2"):
        with laboratory(words) as lab:
            kernel_pings(lab)
            expect_asleep(lab)
            for mode, shows in (("polling", expect_polling), ("interrupt", expect_asleep), ("polling", expect_polling),
                                ("adaptive", expect_asleep)):
                lab.cli("set", "interface", "rx-mode", NAME, mode)
                for address in (STACK_IP4, STACK_IP6):
                    kernel_pings(lab, address=address)
                shows(lab)
            expect_sound(lab)


def queued():
    """Bytes that the queueing discipline of our end has sent. It counts no packets that are still to be cut."""
    shown = subprocess.run(["tc", "-s", "-j", "qdisc", "show", "dev", OURS], check=True, capture_output=True).stdout
    return sum(q["bytes"] for q in json.loads(shown))


def qdisc():
    """Without offload the queueing discipline is passed by, unless that is disabled; with it never is."""
    for words, is_bypassed in (("", False), ("cksum-gso-disable", True), ("cksum-gso-disable qdisc-bypass-disable", False)):
        with laboratory(words) as lab:
            subprocess.run(["tc", "qdisc", "replace", "dev", OURS, "root", "pfifo"], check=True)
            kernel_pings(lab)
            before = queued()
            with p.Nginx(lab, p.served_by_hostloom(lab)) as n:
                sent = grown(lab, lambda: p.curl_matches(lab, n, "10m"))["TxBytes"]
            through = queued() - before
            print(f"{words or 'offloaded'}: of {sent} bytes {through} were queued", flush=True)
            # The kernel itself sends little by that end.
            expect(through < 10_000 if is_bypassed else through >= sent, f"of {sent} bytes {through} were queued")
            with Messages(lab.dir / "run/api.sock") as m:
                expect([d["is_qdisc_bypassed"] for d in m.dump("af_packet_host_dump")] == [is_bypassed], "the API says so")
            expect_sound(lab)


def mtu():
    """The kernel's MTU is ours, also when it changes; a larger one of ours becomes the kernel's, a smaller one stays."""
    def mtu_of():
        with Messages(lab.dir / "run/api.sock") as m:
            return next(d["mtu"][0] for d in m.dump("sw_interface_dump") if d["interface_name"] == NAME)
    with laboratory() as lab:
        ip("link", "set", KERNELS, "mtu", "9000")
        for size in (4000, 1400):
            ip("link", "set", OURS, "mtu", str(size))
            wait_until(lambda size=size: mtu_of() == size, f"ours is {size}")
            kernel_pings(lab, "-M", "do", "-s", str(size - 28))
            kernel_pings(lab, "-M", "do", "-s", str(size - 48), address=STACK_IP6)
        expect_sound(lab)
        ip("link", "set", KERNELS, "mtu", "9000")
        lab.cli("set", "interface", "mtu", "packet", "9000", NAME)
        expect(int(details(lab)["host mtu"]) == 9000, f"{details(lab)}")
        kernel_pings(lab, "-M", "do", "-s", "8972")
        ip("link", "set", OURS, "mtu", "2000")
        wait_until(lambda: mtu_of() == 2000, "it follows")
        ip("link", "set", OURS, "mtu", "9500")
        wait_until(lambda: mtu_of() == 9000, "what was asked for is the most")
        ip("link", "set", OURS, "mtu", "1000")  # too small for IPv6, of which it has an address
        wait_until(lambda: "keeps mtu 9000, and not 1000" in (lab.dir / "hostloom.log").read_text(), "it is told")
        expect(mtu_of() == 9000, "it is kept")
        lab.cli("set", "interface", "ip", "address", "del", NAME, f"{STACK_IP6}/64")
        wait_until(lambda: mtu_of() == 1000, "without one it follows")
        expect_error(lab, "mtu 65522 is not from", "set", "interface", "mtu", "packet", "65522", NAME)


def vlan():
    """A VLAN's tag, which the kernel keeps beside the packet, is back in front of it."""
    more = [f"create sub-interfaces {NAME} {VLAN}", f"set interface ip address {NAME}.{VLAN} {OWN_IP4}/24",
            f"set interface ip address {NAME}.{VLAN} {OWN_IP6}/64", f"set interface state {NAME}.{VLAN} up"]
    with laboratory(more=more) as lab:
        vlan_device(lab, parent=KERNELS)
        for address in (OWN_IP4, OWN_IP6, STACK_IP4):
            kernel_pings(lab, address=address)
        for side, port in ((p.Side("hostloom serves", OWN_IP4, server_env=lab.preload()), 8080),
                           (p.Side("kernel", KERNEL_IP4, client_env=lab.preload()), 8081)):
            with p.Nginx(lab, side, port=port) as n:
                p.curl_matches(lab, n, "10m", env=side.client_env)
        expect_sound(lab)


def life():
    """Deleted under load, and made again; down and up; the veth deleted under load, and made again."""
    with laboratory("num-rx-queues 2", workers=2) as lab:
        with p.Nginx(lab, p.served_by_hostloom(lab), workers=2) as n:
            p.curl_matches(lab, n, "10m")

            @contextlib.contextmanager
            def load():
                shell = f"while :; do curl -sS -m 5 -o /dev/null {n.url('10m')}; sleep 0.1; done"
                child = lab.spawn(["sh", "-c", shell], name="load", start_new_session=True)
                try:
                    start = int(interface(lab)["TxBytes"])
                    wait_until(lambda: int(interface(lab)["TxBytes"]) > start + (1 << 20), "bytes flow")
                    yield
                finally:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()

            with load():
                lab.cli("delete", "host-interface", "name", OURS)
            expect(not lab.cli("show", "interface", as_json=True)["interfaces"], "it is gone")
            expect(subprocess.run(["ip", "link", "show", OURS], capture_output=True, check=False).returncode == 0,
                   "the host's stays")
            for line in startup("num-rx-queues 2"):
                lab.cli(*line.split())
            kernel_pings(lab)
            p.curl_matches(lab, n, "10m")

            with load():
                ip("link", "set", OURS, "down")
                wait_link(lab, "down")
            ip("link", "set", OURS, "up")
            wait_link(lab, "up")
            kernel_pings(lab)
            ip("link", "set", KERNELS, "down")  # no carrier
            wait_link(lab, "down")
            ip("link", "set", KERNELS, "up")
            wait_link(lab, "up")
            ip("addr", "replace", f"{HOST_IP6}/64", "dev", KERNELS, "nodad")
            kernel_pings(lab)

            with load():
                ip("link", "del", OURS)
                wait_until(lambda: details(lab)["host index"] == "gone", "it is missed")
                expect(interface(lab)["Name"] == NAME, "ours stays")
            make_veth()
            ip("link", "set", OURS, "up")
            wait_link(lab, "up")
            kernel_pings(lab)
            p.curl_matches(lab, n, "10m")
            kernel_pings(lab, address=STACK_IP6)

            lab.cli("set", "interface", "state", NAME, "down")
            expect(lab.run(["ping", "-c", "1", "-W", "1", STACK_IP4], check=False).returncode != 0, "nobody answers")
            received = int(interface(lab)["RxPackets"])
            before = worker_rounds(lab)
            send_frames(500)
            ip("link", "set", OURS, "down")
            ip("link", "set", OURS, "up")
            send_frames(500)
            woken = worker_rounds(lab) - before
            print(f"{woken} rounds while it was down", flush=True)
            # Timers of connections, and the requests of this test; each frame, or a socket that stays ready, would be more.
            expect(woken < 300, f"workers have made {woken} rounds for 1,000 frames that are for nobody")
            expect(int(interface(lab)["RxPackets"]) == received, "frames are received by an interface that is down")
            lab.cli("set", "interface", "state", NAME, "up")
            kernel_pings(lab)
            expect(int(interface(lab)["RxPackets"]) < received + 50, "what came while it was down is not received")
        expect_reclaimed(lab)
        text = lab.cli("show", "errors")
        expect("malformed" not in text and "read-failed" not in text, text)


@contextlib.contextmanager
def over(name, *make, words=""):
    """A daemon on an interface of the kernel that `make` makes: over a veth's end, whose other end is the kernel's."""
    make_veth()
    ip("link", "set", OURS, "up")
    try:
        for line in make:
            ip(*line.split())
        mac = pathlib.Path(f"/sys/class/net/{name}/address").read_text().strip()
        with Lab(startup=[f"create host-interface name {name} {words.format(mac=mac)}",
                          f"set interface ip address host-{name} {STACK_IP4}/24",
                          f"set interface ip address host-{name} {STACK_IP6}/64",
                          f"set interface state host-{name} up"]) as lab:
            yield lab
    finally:
        subprocess.run(["ip", "link", "del", OURS], check=False, stderr=subprocess.DEVNULL)


def both_directions(lab):
    for address in (STACK_IP4, STACK_IP6):
        kernel_pings(lab, address=address)
    stack_pings(lab)
    for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
        for reverse in (False, True):
            rate = p.iperf3(lab, side, seconds=1, reverse=reverse)
            expect(rate > 0, f"{side.name}, reverse {reverse}: nothing arrived")
            print(f"{side.name}{' -R' if reverse else ''}: {rate / 1e9:.2f} Gb/s", flush=True)
    text = lab.cli("show", "errors")
    expect(not re.search(r"malformed|runt|too-long|unsupported|read-failed|bad-offsets|bad-gso", text), text)


def bridge():
    """A bridge of the kernel's; renamed under a daemon that goes on with it."""
    try:
        with over("br0", "link add br0 type bridge", f"link set {OURS} master br0", "link set br0 up") as lab:
            both_directions(lab)

            def shown():
                return lab.cli("show", "host-interface", "host-br0", as_json=True)["host-interfaces"][0]
            for line in ("link set br0 down", "link set br0 name br9", "link set br9 up"):
                ip(*line.split())
            wait_until(lambda: shown()["host interface"] == "br9" and shown()["link"] == "up", "it is shown by its new name")
            expect("af-packet on br9 (" in lab.cli("show", "hardware-interfaces"), lab.cli("show", "hardware-interfaces"))
            both_directions(lab)
            with Messages(lab.dir / "run/api.sock") as m:
                expect([d["host_if_name"] for d in m.dump("af_packet_dump")] == ["br9"], "the API has its new name")
                expect(m.call("af_packet_delete", host_if_name="br9")["retval"] == 0, "it is deleted by it")
            expect("br9" in {name for _, name in socket.if_nameindex()}, "the host's stays")
    finally:
        for name in ("br0", "br9"):
            subprocess.run(["ip", "link", "del", name], check=False, stderr=subprocess.DEVNULL)


def macvlan():
    """A macvlan, which takes no other address than its own."""
    with over("mv0", f"link add mv0 link {OURS} type macvlan mode bridge", words="hw-addr {mac}") as lab:
        both_directions(lab)


def refused():
    """Wrong words and missing rights: each has its error, and leaves nothing."""
    with laboratory() as lab:
        create = ("create", "host-interface")
        for text, words in (("missing 'name'", ()), ("there is no such interface", ("name", "nowhere")),
                            ("'a-name-of-17-chars' is not an interface name", ("name", "a-name-of-17-chars")),
                            ("is not an interface name", ("name", "a/b")), ("'lo' is not Ethernet", ("name", "lo")),
                            ("it exists already", ("name", OURS)), ("not there", ("name", KERNELS, "mode", "ip")),
                            ("not a unicast MAC", ("name", KERNELS, "hw-addr", "01:00:00:00:00:01")),
                            ("from 1 to 64", ("name", KERNELS, "num-rx-queues", "65")),
                            ("unknown word 'colour'", ("name", KERNELS, "colour"))):
            expect_error(lab, text, *create, *words)
        expect_error(lab, "there is no host interface 'nowhere'", "delete", "host-interface", "name", "nowhere")
        expect_error(lab, "there is no host interface 'tap0'", "show", "host-interface", "tap0")
        expect(len(lab.cli("show", "host-interface", as_json=True)["host-interfaces"]) == 1, "nothing is left behind")
        lab.stop(lab.daemon)
        (lab.dir / "hostloom.log").unlink()
        spawn = lab.spawn
        drop = [p.find("setpriv"), "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]
        lab.spawn = lambda command, **kw: spawn(drop + command, **kw)
        try:
            lab.start_daemon()
        except Failure as e:
            expect("CAP_NET_RAW is missing" in str(e), f"{e}")
        else:
            expect_error(lab, "CAP_NET_RAW is missing", *create, "name", OURS)


def mac_of(name):
    return bytes.fromhex(pathlib.Path(f"/sys/class/net/{name}/address").read_text().strip().replace(":", ""))


def api():
    """VPP's messages, and those of ours that say more."""
    with laboratory() as lab, Messages(lab.dir / "run/api.sock") as m:
        make_veth(ours="more0", kernels="more1", ip4="10.93.0.1", ip6="fd93::1")
        made = m.call("af_packet_create_v3", host_if_name="more0", use_random_hw_addr=True, flags=3, num_rx_queues=2)
        expect(made["retval"] == 0, f"af_packet_create_v3: {made}")
        listed = {d["host_if_name"]: d["sw_if_index"] for d in m.dump("af_packet_dump")}
        expect(set(listed) == {OURS, "more0"} and listed["more0"] == made["sw_if_index"], f"dump: {listed}")
        hosts = {d["made_for"]: d for d in m.dump("af_packet_host_dump")}
        expect(set(hosts) == {OURS, "more0"}, f"hosts: {hosts}")
        more, = m.dump("af_packet_host_dump", sw_if_index=made["sw_if_index"])
        more["host_mac"] = bytes(more["host_mac"])
        expect(more == {**more, "is_there": True, "is_up": True, "is_link_up": True, "is_offloaded": True, "is_qdisc_bypassed": False,
                        "num_rx_queues": 2, "num_tx_queues": 1, "host_mtu": 1500, "failed_looks": 0, "host_if_name": "more0",
                        "host_if_index": socket.if_nametoindex("more0"), "host_mac": mac_of("more0")}, f"host: {more}")
        expect(m.dump("af_packet_host_dump", sw_if_index=99) == [], "no such host interface")
        kernel_pings(lab)
        ours = next(d["sw_if_index"] for d in hosts.values() if d["made_for"] == OURS)
        counted, shown = m.call("af_packet_counters_get", sw_if_index=ours), details(lab)
        expect(counted["retval"] == 0 and 0 < counted["rx_packets"] <= int(shown["rx packets"]) and counted["rx_errors"] == 0 and
               counted["kernel_drops"] == 0 and counted["too_long"] == 0, f"counters: {counted}, shown: {shown}")
        expect(m.call("af_packet_counters_get", sw_if_index=99)["retval"] == -2, "counters of no host interface")
        ip("link", "del", "more0")
        wait_until(lambda: not m.dump("af_packet_host_dump", sw_if_index=made["sw_if_index"])[0]["is_there"], "it is missed")
        more, = m.dump("af_packet_host_dump", sw_if_index=made["sw_if_index"])
        expect((more["host_if_index"], more["host_if_name"], more["is_up"]) == (0, "more0", False), f"gone: {more}")
        make_veth(ours="more0", kernels="more1", ip4="10.93.0.1", ip6="fd93::1")
        for fields, retval in (({"host_if_name": "more0"}, -81), ({"host_if_name": "nowhere"}, -6),
                               ({"host_if_name": "lo"}, -7), ({"host_if_name": ""}, -7), ({"host_if_name": "x" * 40}, -7),
                               ({"host_if_name": "more1", "mode": 2}, -126), ({"host_if_name": "more1", "num_rx_queues": 65}, -7),
                               ({"host_if_name": "more1", "use_random_hw_addr": False}, -7),
                               ({"host_if_name": "more1", "use_random_hw_addr": False, "hw_addr": b"\xff" * 6}, -7)):
            no = m.call("af_packet_create_v3", **{"use_random_hw_addr": True, **fields})
            expect(no["retval"] == retval and no["sw_if_index"] == 2**32 - 1, f"{fields}: {no}")
        expect(m.call("af_packet_delete", host_if_name="more0")["retval"] == 0, "delete")
        expect(m.call("af_packet_delete", host_if_name="more0")["retval"] == -6, "delete twice")
        expect([d["host_if_name"] for d in m.dump("af_packet_dump")] == [OURS], "it is gone")
        expect("more0" in {name for _, name in socket.if_nameindex()}, "the host's stays")


if __name__ == "__main__":
    run_case(programs, shapes, rx_mode, qdisc, mtu, vlan, life, bridge, macvlan, refused, api)
