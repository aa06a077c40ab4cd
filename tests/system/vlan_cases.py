#!/usr/bin/python3
"""System tests of VLANs: programs over a sub-interface, with a VLAN device of the kernel at the other end of the TAP.
usage: vlan_cases.py CASE"""

import contextlib
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import HERE, PYTHON, expect, expect_error, expect_reclaimed  # noqa: E402
from lab import STACK_IP4, Lab, wait_until  # noqa: E402

VLAN = 10
KERNEL_IP4, OWN_IP4 = "10.98.0.1", "10.98.0.2"
KERNEL_IP6, OWN_IP6 = "fd98::1", "fd98::2"


def vlan_device(lab, name="vlan10", parent="tap0"):
    """The kernel's end of the VLAN on its end of the link: its own VLAN device, or a program that does the same where the
    kernel has no 802.1Q. The program, or None."""
    relay = None
    made = subprocess.run(f"ip link add link {parent} name {name} type vlan id {VLAN}".split(), capture_output=True,
                          text=True)
    if made.returncode != 0:
        print(f"the kernel has no VLAN devices ({made.stderr.strip()}): vlan_device.py stands in", flush=True)
        relay = lab.spawn([PYTHON, str(HERE / "vlan_device.py"), parent, str(VLAN), name], name="vlan-device")
        wait_until(lambda: "ready" in lab.output(relay) or relay.poll() is not None, "the VLAN device is there")
        expect(relay.poll() is None, lab.output(relay))
    for words in (f"addr add {KERNEL_IP4}/24 dev {name}", f"addr add {KERNEL_IP6}/64 dev {name} nodad",
                  f"link set {name} up"):
        subprocess.run(["ip"] + words.split(), check=True)
    return relay


@contextlib.contextmanager
def laboratory_with_vlan():
    startup = [
        "create tap id 0 host-if-name tap0 host-ip4-addr 10.88.0.1/24",
        f"set interface ip address tap0 {STACK_IP4}/24",
        "set interface state tap0 up",
        f"create sub-interfaces tap0 {VLAN}",
        f"set interface ip address tap0.{VLAN} {OWN_IP4}/24",
        f"set interface ip address tap0.{VLAN} {OWN_IP6}/64",
        f"set interface state tap0.{VLAN} up",
    ]
    with Lab(startup=startup) as lab:
        vlan_device(lab)
        yield lab


def interface(lab, name=f"tap0.{VLAN}"):
    return next((i for i in lab.cli("show", "interface", as_json=True)["interfaces"] if i["Name"] == name), None)


def programs():
    """ping, transfers compared byte for byte, and iperf3, in the VLAN; the untagged network goes on beside it."""
    with laboratory_with_vlan() as lab:
        for address in (OWN_IP4, OWN_IP6, STACK_IP4):
            lab.run(["ping", "-c", "3", "-i", "0.2", address])
        expect(interface(lab)["State"] == "up", "the sub-interface is up")
        served = p.Side("hostloom serves", OWN_IP4, server_env=lab.preload())
        with p.Nginx(lab, served) as n:
            before = interface(lab)
            for name in ("1k", "10m", "10m"):
                p.curl_matches(lab, n, name)
            after = interface(lab)
        packets, size = (int(after[k]) - int(before[k]) for k in ("TxPackets", "TxBytes"))
        expect(size > 20 << 20, f"{size} bytes left by the sub-interface")
        expect(size / packets > 1518, f"{size} bytes in {packets} packets: none was larger than a frame")
        with p.Nginx(lab, p.Side("kernel", KERNEL_IP4), port=8081) as n:
            p.curl_matches(lab, n, "10m", env=lab.preload())
        for reverse in (False, True):
            rate = p.iperf3(lab, served, seconds=1, reverse=reverse)
            expect(rate > 0, f"reverse {reverse}: only {rate / 1e6:.1f} Mb/s")
        with p.Nginx(lab, p.served_by_hostloom(lab), port=8082) as n:
            p.curl_matches(lab, n, "10m")
        text = lab.cli("show", "errors")
        expect("bad-offsets" not in text and "malformed" not in text, f"offloads went wrong:\n{text}")
        expect_reclaimed(lab)


def life():
    """A sub-interface goes with its addresses while a connection is open, and comes again; then the TAP takes it along."""
    with laboratory_with_vlan() as lab:
        with p.Nginx(lab, p.Side("hostloom serves", OWN_IP4, server_env=lab.preload())) as n:
            p.curl_matches(lab, n, "1k")
            with socket.create_connection((OWN_IP4, n.port), timeout=120) as s:
                s.sendall(b"GET /10m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                got = len(s.recv(1000))
                expect(got, "the answer begins")
                lab.cli("delete", "sub-interface", f"tap0.{VLAN}")
                expect(interface(lab) is None and interface(lab, "tap0"), "it alone is gone")
                expect_error(lab, "there is no interface", "set", "interface", "state", f"tap0.{VLAN}", "up")
                lab.run(["ping", "-c", "2", "-i", "0.2", STACK_IP4])
                for words in (f"create sub-interfaces tap0 {VLAN} dot1q {VLAN} exact-match",
                              f"set interface ip address tap0.{VLAN} {OWN_IP4}/24", f"set interface state tap0.{VLAN} up"):
                    lab.cli(*words.split())
                while part := s.recv(1 << 16):  # goes on where it was
                    got += len(part)
                expect(got > 10 << 20, f"only {got} bytes came")
            p.curl_matches(lab, n, "10m")
        lab.cli("delete", "tap", "tap0")
        expect(not lab.cli("show", "interface", as_json=True)["interfaces"], "all are gone")


if __name__ == "__main__":
    laboratory.run_case(programs, life)
