#!/usr/bin/python3
"""System tests of memif: two daemons that share rings, and DPDK's net_memif (testpmd) as the peer in both roles.
usage: memif_cases.py CASE"""

import contextlib
import hashlib
import pathlib
import re
import shutil
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import programs as p  # noqa: E402
from cases import expect  # noqa: E402
from lab import Failure, Lab, run_case, wait_until  # noqa: E402

MASTER_IP4, SLAVE_IP4 = "10.90.0.1", "10.90.0.2"
MASTER_IP6, SLAVE_IP6 = "fd90::1", "fd90::2"


def startup(folder, role, address, address6, words="", mtu=1500):
    return [
        f"create memif socket id 1 filename {folder}/memif.sock",
        f"create interface memif socket-id 1 id 0 {role} {words}",
        f"set interface mtu packet {mtu} memif1/0",
        f"set interface ip address memif1/0 {address}/24",
        f"set interface ip address memif1/0 {address6}/64",
        "set interface state memif1/0 up",
    ]


def interface(lab):
    return lab.cli("show", "memif", "memif1/0", as_json=True)["interfaces"][0]


def wait_link(*labs):
    for lab in labs:
        wait_until(lambda lab=lab: interface(lab)["link"] == "up", "the link comes up")


@contextlib.contextmanager
def two_daemons(words="", workers=None, mtu=1500):
    """The master's lab, whose folder has the socket, and the slave's."""
    with Lab(daemon=False, workers=workers) as master, Lab(daemon=False, workers=workers) as slave:
        master.startup = startup(master.dir, "master", MASTER_IP4, MASTER_IP6, words, mtu)
        slave.startup = startup(master.dir, "slave", SLAVE_IP4, SLAVE_IP6, words, mtu)
        master.start_daemon()
        slave.start_daemon()
        wait_link(master, slave)
        yield master, slave


def answered(lab, address, count=3):
    """How many of so many echo requests of the daemon's are answered."""
    text = lab.cli("ping", address, "count", str(count), "interval", "0.05")
    return int(re.search(r"(\d+) received", text)[1])


def ping(lab, address):
    wait_until(lambda: answered(lab, address) == 3, f"{address} answers")


class Files:
    """A static HTTP server inside a daemon, fetched from by curl over another."""

    def __init__(self, lab, address):
        self.lab, self.address, self.digests = lab, address, {}
        www = lab.dir / "www"
        www.mkdir()
        for name, size in (("1k", 1024), ("10m", 10 << 20)):
            data = hashlib.shake_128(name.encode()).digest(size)
            (www / name).write_bytes(data)
            self.digests[name] = hashlib.sha256(data).hexdigest()
        self.www = www
        self.serve()

    def serve(self):
        self.lab.cli("http", "static", "server", "www-root", str(self.www), "uri", f"tcp://{self.address}/8080",
                     "cache-size", "64m")

    def fetch(self, lab, name):
        out = lab.dir / "curl.out"
        lab.run([p.find("curl"), "-sS", "--fail", "--max-time", "60", "-o", str(out), f"http://{self.address}:8080/{name}"],
                env=lab.preload())
        expect(hashlib.sha256(out.read_bytes()).hexdigest() == self.digests[name], f"{name} differs from the file")


def exchange(master, slave):
    for lab, address in ((master, SLAVE_IP4), (slave, MASTER_IP4), (slave, MASTER_IP6)):
        ping(lab, address)
    files = Files(master, MASTER_IP4)
    for name in ("1k", "10m", "10m"):
        files.fetch(slave, name)
    return files


def expect_sound(*labs):
    for lab in labs:
        text = lab.cli("show", "errors")
        expect(not re.search(r"bad-(cursor|chain|region|range|length)|too-long|bad-offsets", text), text)


def daemons():
    """ping, transfers compared byte for byte, and iperf3 under preload between two daemons, both ways."""
    with two_daemons() as (master, slave):
        exchange(master, slave)
        side = p.Side("over memif", MASTER_IP4, server_env=master.preload(), client_env=slave.preload())
        for reverse in (False, True):
            rate = p.iperf3(slave, side, seconds=1, reverse=reverse)
            expect(rate > 0, f"reverse {reverse}: nothing arrived")
            print(f"iperf3{' -R' if reverse else ''}: {rate / 1e9:.2f} Gb/s", flush=True)
        expect_sound(master, slave)


def shapes():
    """Packets larger than a buffer, buffers larger than a packet, small rings, several queues and workers."""
    for words, workers, mtu in (("buffer-size 512 ring-size 256", 1, 9000), ("buffer-size 16384 ring-size 64", 1, 9000),
                                ("rx-queues 2 tx-queues 2", 2, 1500)):
        with two_daemons(words, workers, mtu) as (master, slave):
            exchange(master, slave)
            expect_sound(master, slave)


def full():
    """Rings smaller than a window: packets wait for room, and a bulk transfer loses none to its own sender."""
    with two_daemons() as (master, slave):
        exchange(master, slave)
        side = p.Side("over memif", MASTER_IP4, server_env=master.preload(), client_env=slave.preload())
        for reverse in (False, True):
            rate = p.iperf3(slave, side, seconds=1, reverse=reverse)
            print(f"iperf3{' -R' if reverse else ''}: {rate / 1e9:.2f} Gb/s", flush=True)
        for lab in (master, slave):
            sent = lab.cli("show", "hardware-interfaces")
            expect(int(re.search(r"tx: held (\d+)", sent)[1]) > 0, f"nothing had to wait:\n{sent}")
            expect("ring-full 0 " in sent, f"packets were given back:\n{sent}")
            expect("queue-full" not in lab.cli("show", "errors"), lab.cli("show", "errors"))
            expect_no_retransmission(lab)


def expect_no_retransmission(lab):
    text = lab.cli("show", "errors")
    expect("retransmit" not in text, f"segments were sent again:\n{text}")


def death():
    """A daemon is killed while bytes flow; the other goes on, and finds it when it is back. Whichever it is."""
    with two_daemons() as (master, slave):
        exchange(master, slave)
        for dead, alive in ((slave, master), (master, slave)):
            load = slave.spawn([p.find("curl"), "-sS", "-o", "/dev/null", "--max-time", "20", "--limit-rate", "1m",
                                f"http://{MASTER_IP4}:8080/10m"], name="curl", env=slave.preload())
            wait_until(lambda: slave.applications(), "curl is there")
            dead.stop(dead.daemon, signal.SIGKILL)
            wait_until(lambda: interface(alive)["link"] == "down", "the link goes down")
            dead.stop(load)
            (dead.dir / "hostloom.log").unlink()
            dead.start_daemon()
            wait_link(dead, alive)
            ping(alive, SLAVE_IP4 if alive is master else MASTER_IP4)
        side = p.Side("over memif", MASTER_IP4, server_env=master.preload(), client_env=slave.preload())
        expect(p.iperf3(slave, side, seconds=1) > 0, "nothing arrives after all that")
        expect_sound(master, slave)


def idle():
    """Both daemons sleep while nobody sends, and wake for a packet."""
    with two_daemons() as (master, slave):
        for _ in range(5):
            ping(slave, MASTER_IP4)
            ping(master, SLAVE_IP4)


def testpmd(lab, name, vdev, commands=()):
    program = shutil.which("dpdk-testpmd")
    if not program:
        print("skipped: dpdk-testpmd is not installed (Debian package dpdk-dev)", flush=True)
        sys.exit(77)
    return lab.spawn([program, "--no-huge", "--no-pci", "-m", "256", "--no-telemetry", "--file-prefix", name, "-l", "0,1",
                      "--vdev", vdev, "--", "--forward-mode=icmpecho", "--auto-start", "--total-num-mbufs=8192",
                      "--stats-period", "3600", *commands], name="testpmd")


def stand_still(lab, pmd):
    expect(pmd.poll() is None, f"testpmd ended:\n{lab.output(pmd)[-3000:]}")
    expect(lab.daemon.poll() is None, "the daemon ended")


def dpdk(role):
    with Lab(daemon=False) as lab:
        ours = "master" if role == "client" else "slave"
        lab.startup = startup(lab.dir, ours, MASTER_IP4, MASTER_IP6, "secret abc")
        vdev = f"net_memif,role={role},id=0,socket={lab.dir}/memif.sock,socket-abstract=no,secret=abc"
        if role == "server":
            pmd = testpmd(lab, "memif-server", vdev)
            wait_until(lambda: (lab.dir / "memif.sock").exists() or pmd.poll() is not None, "testpmd listens")
            lab.start_daemon()
        else:
            lab.start_daemon()
            pmd = testpmd(lab, "memif-client", vdev)
        wait_until(lambda: stand_still(lab, pmd) or interface(lab)["link"] == "up", "testpmd connects")
        expect("DPDK" in interface(lab)["peer"], f"the peer is {interface(lab)}")
        wait_until(lambda: answered(lab, SLAVE_IP4, 20) == 20, "all echo requests are answered")
        expect_sound(lab)
        lab.stop(pmd, signal.SIGKILL)
        wait_until(lambda: interface(lab)["link"] == "down", "the link goes down with testpmd")
        if role == "server":
            (lab.dir / "memif.sock").unlink()
        pmd = testpmd(lab, f"memif-{role}-again", vdev)
        wait_until(lambda: stand_still(lab, pmd) or interface(lab)["link"] == "up", "testpmd connects again")
        wait_until(lambda: answered(lab, SLAVE_IP4, 20) == 20, "all echo requests are answered again")


def testpmd_client():
    """DPDK's net_memif as slave of our master."""
    dpdk("client")


def testpmd_server():
    """DPDK's net_memif as master of our slave."""
    dpdk("server")


if __name__ == "__main__":
    run_case(daemons, shapes, full, death, idle, testpmd_client, testpmd_server)
