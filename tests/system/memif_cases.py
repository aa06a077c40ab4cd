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
from cases import expect, expect_asleep, expect_polling  # noqa: E402
from lab import Failure, Lab, run_case, wait_until  # noqa: E402
from messages import Messages  # noqa: E402

MASTER_IP4, SLAVE_IP4 = "10.90.0.1", "10.90.0.2"
MASTER_IP6, SLAVE_IP6 = "fd90::1", "fd90::2"
PYTHON = "/usr/bin/python3"
TAP_IP4 = "10.91.0.2"
TAP = ["create tap id 0 host-if-name tap0 host-ip4-addr 10.91.0.1/24", f"set interface ip address tap0 {TAP_IP4}/24",
       "set interface state tap0 up"]


def startup(socket, role, address, address6, words="", mtu=1500):
    return [
        f"create memif socket id 1 filename {socket}",
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
def two_daemons(words="", workers=None, mtu=1500, tap=None):
    """The master's lab, whose folder has the socket, and the slave's. The one whose role is `tap` has a TAP as well."""
    with Lab(daemon=False, workers=workers) as master, Lab(daemon=False, workers=workers) as slave:
        socket = master.dir / "memif.sock"
        master.startup = startup(socket, "master", MASTER_IP4, MASTER_IP6, words, mtu)
        slave.startup = startup(socket, "slave", SLAVE_IP4, SLAVE_IP6, words, mtu)
        for role, lab in (("master", master), ("slave", slave)):
            lab.startup += TAP if role == tap else []
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
        lab.run([p.find("curl"), "-sS", "--fail", "--max-time", "200", "-o", str(out), f"http://{self.address}:8080/{name}"],
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
    """Rings smaller than a window: packets wait for room, and a bulk transfer loses none to its own sender. A segment is sent
    again in spite of that when this machine's host keeps a daemon waiting for longer than a retransmission timeout, but not in
    each transfer."""
    with two_daemons() as (master, slave):
        exchange(master, slave)
        side = p.Side("over memif", MASTER_IP4, server_env=master.preload(), client_env=slave.preload())
        for sender, reverse in ((slave, False), (master, True)):
            def held():
                return int(re.search(r"tx: held (\d+)", sender.cli("show", "hardware-interfaces"))[1])

            def has_waited_and_lost_nothing():
                """Whether it has is for the scheduler: on a busy machine not in each transfer."""
                before = held(), retransmitted(master), retransmitted(slave)
                rate = p.iperf3(slave, side, seconds=1, reverse=reverse)
                print(f"iperf3{' -R' if reverse else ''}: {rate / 1e9:.2f} Gb/s", flush=True)
                return held() > before[0] and (retransmitted(master), retransmitted(slave)) == before[1:]
            wait_until(has_waited_and_lost_nothing, "something has to wait for room, and nothing is sent again", 120)
        for lab in (master, slave):
            sent = lab.cli("show", "hardware-interfaces")
            expect("ring-full 0 " in sent, f"packets were given back:\n{sent}")
            expect("queue-full" not in lab.cli("show", "errors"), lab.cli("show", "errors"))


def retransmitted(lab):
    return sum(int(e["count"]) for e in lab.cli("show", "errors", as_json=True)["errors"] if "retransmit" in e["reason"])


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


def both_ping(master, slave):
    ping(slave, MASTER_IP4)
    ping(master, SLAVE_IP4)


def idle():
    """Both daemons sleep while nobody sends, and wake for a packet."""
    with two_daemons() as (master, slave):
        for _ in range(3):
            both_ping(master, slave)
            expect_asleep(master, slave)


def rx_mode():
    """Each end polls, sleeps, or both, as it is told; packets arrive whatever the other does."""
    with two_daemons() as (master, slave):
        for mode, polls in (("polling", expect_polling), ("interrupt", expect_asleep), ("adaptive", None)):
            for lab in (master, slave):
                lab.cli("set", "interface", "rx-mode", "memif1/0", mode)
                both_ping(master, slave)
                if polls:
                    polls(lab)
        expect_asleep(master, slave)
        files = Files(master, MASTER_IP4)
        files.fetch(slave, "10m")
        expect_sound(master, slave)


FLOOD = """import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9))
while True:
    try:
        s.send(bytes(1400))
    except OSError:  # nobody listens there, says the other end
        pass
"""


def standstill(lab):
    """A condition: packets were held back, and look after look none goes out any more."""
    def sent():
        return int(re.search(r"(\d+) +interface-tx +sent", lab.cli("show", "errors"))[1])
    looks = [sent()]

    def is_there():
        looks.append(sent())
        held = int(re.search(r"tx: held (\d+)", lab.cli("show", "hardware-interfaces"))[1])
        return held > 0 and len(looks) > 5 and looks[-1] - looks[-6] < 3  # a neighbour may be asked for
    return is_there


def stop_under_load(lab, address, stopped):
    """`lab` floods a peer that is stopped, and serves others meanwhile; the peer goes on afterwards."""
    flood = lab.spawn([PYTHON, "-c", FLOOD, address], name="flood", env=lab.preload())
    wait_until(lambda: lab.applications() or flood.poll() is not None, "the flood begins")
    stopped.send_signal(signal.SIGSTOP)
    try:
        wait_until(standstill(lab), "the ring of the stopped peer is full")
        for _ in range(20):
            expect(interface(lab)["link"] == "up", "the link stays")
            wait_until(lambda: lab.run(["ping", "-c", "1", "-W", "5", TAP_IP4], check=False).returncode == 0, "others are served")
    finally:
        stopped.send_signal(signal.SIGCONT)
    expect(flood.poll() is None, f"the flood ended:\n{lab.output(flood)}")
    lab.stop(flood, signal.SIGKILL)
    wait_until(lambda: answered(lab, address, 20) == 20, "all echo requests are answered again")
    expect_sound(lab)


def stopped():
    """A peer that is stopped while it is flooded (SIGSTOP) does not stop the daemon, and goes on afterwards. In both roles."""
    for role in ("master", "slave"):
        with two_daemons(tap=role) as (master, slave):
            both_ping(master, slave)
            lab, peer = (master, slave) if role == "master" else (slave, master)
            stop_under_load(lab, SLAVE_IP4 if role == "master" else MASTER_IP4, peer.daemon)
            both_ping(master, slave)
            Files(master, MASTER_IP4).fetch(slave, "10m")


def testpmd(lab, name, vdev, commands=()):
    program = shutil.which("dpdk-testpmd")
    if not program:
        print("skipped: dpdk-testpmd is not installed (Debian package dpdk-dev)", flush=True)
        sys.exit(77)
    return lab.spawn([program, "--no-huge", "--no-pci", "-m", "256", "--no-telemetry", "--no-shconf", "--file-prefix", name, "-l", "0,1",
                      "--vdev", vdev, "--", "--forward-mode=icmpecho", "--auto-start", "--total-num-mbufs=8192",
                      "--stats-period", "3600", *commands], name="testpmd")


def stand_still(lab, pmd):
    expect(pmd.poll() is None, f"testpmd ended:\n{lab.output(pmd)[-3000:]}")
    expect(lab.daemon.poll() is None, "the daemon ended")


OUR_ROLE = {"client": "master", "server": "slave"}  # by net_memif's


def dpdk(role):
    with Lab(daemon=False) as lab:
        lab.startup = startup(lab.dir / "memif.sock", OUR_ROLE[role], MASTER_IP4, MASTER_IP6, "secret abc") + TAP
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
        stop_under_load(lab, SLAVE_IP4, pmd)
        lab.stop(pmd, signal.SIGKILL)
        wait_until(lambda: interface(lab)["link"] == "down", "the link goes down with testpmd")
        if role == "server":
            (lab.dir / "memif.sock").unlink()
        pmd = testpmd(lab, f"memif-{role}-again", vdev)
        wait_until(lambda: stand_still(lab, pmd) or interface(lab)["link"] == "up", "testpmd connects again")
        wait_until(lambda: answered(lab, SLAVE_IP4, 20) == 20, "all echo requests are answered again")


@contextlib.contextmanager
def with_testpmd(role, words="", device="", commands=(), workers=None, mtu=1500):
    """A daemon and testpmd, each in its role, joined by an abstract socket, as net_memif has it unless it is told otherwise. What
    is routed to testpmd from the TAP is answered there. Yields the lab and the process."""
    name = f"testpmd-{role}"
    with Lab(daemon=False, workers=workers) as lab:
        lab.startup = startup(f"@{name}", OUR_ROLE[role], MASTER_IP4, MASTER_IP6, f"secret abc {words}", mtu) + TAP + [
            f"set interface mtu packet {mtu} tap0"]
        lab.start_daemon()
        pmd = testpmd(lab, lab.dir.name, f"net_memif,role={role},id=0,socket={name},secret=abc{device}", commands)
        wait_until(lambda: stand_still(lab, pmd) or interface(lab)["link"] == "up", "testpmd connects")
        expect("DPDK" in interface(lab)["peer"], f"the peer is {interface(lab)}")
        lab.run(["ip", "link", "set", "tap0", "mtu", str(mtu)])
        lab.run(["ip", "route", "add", f"{SLAVE_IP4}/32", "via", TAP_IP4, "mtu", str(mtu)])
        try:
            yield lab, pmd
        finally:
            lab.run(["ip", "route", "del", f"{SLAVE_IP4}/32"], check=False)
        expect_sound(lab)


def echoes(lab, size, count=50):
    """The kernel's echo requests of so many bytes of IP are answered by testpmd, and come back as they were sent: all but those
    that a busy machine keeps for too long."""
    def all_come():
        text = lab.run(["ping", "-M", "do", "-c", str(count), "-i", "0.002", "-W", "5", "-s", str(size - 28), "-p", "5aa5c3",
                        SLAVE_IP4], check=False).stdout.decode()
        expect("wrong data" not in text, text)
        return f" {count} received" in text
    wait_until(all_come, f"{count} echo requests of {size} bytes are answered")


def testpmd_abstract():
    """DPDK's net_memif by its default, an abstract socket, in both roles; a wrong secret is refused there as well."""
    for role in OUR_ROLE:
        with with_testpmd(role) as (lab, pmd):
            for size in (64, 1500):
                echoes(lab, size)
            expect("@testpmd" in lab.cli("show", "memif"), lab.cli("show", "memif"))
            expect(not pathlib.Path(f"testpmd-{role}").exists(), "there is a file")
            lab.stop(pmd, signal.SIGKILL)
            wait_until(lambda: interface(lab)["link"] == "down", "the link goes down with testpmd")
            pmd = testpmd(lab, f"{lab.dir.name}-again", f"net_memif,role={role},id=0,socket=testpmd-{role},secret=xyz")
            if role == "client":
                wait_until(lambda: stand_still(lab, pmd) or interface(lab)["reason"] == "Incorrect secret", "it is refused")
            else:
                wait_until(lambda: stand_still(lab, pmd) or "ecret" in interface(lab)["reason"], "it refuses us")
            expect(interface(lab)["link"] == "down", f"{interface(lab)}")
            lab.stop(pmd, signal.SIGKILL)
            pmd = testpmd(lab, f"{lab.dir.name}-right", f"net_memif,role={role},id=0,socket=testpmd-{role},secret=abc")
            wait_until(lambda: stand_still(lab, pmd) or interface(lab)["link"] == "up", "testpmd connects again")
            echoes(lab, 64)


def testpmd_queues():
    """Two rings each way with DPDK's net_memif, in both roles, each used."""
    for role in OUR_ROLE:
        with with_testpmd(role, "rx-queues 2 tx-queues 2", commands=("--rxq=2", "--txq=2"), workers=2) as (lab, pmd):
            text = lab.cli("show", "hardware-interfaces")
            expect(re.search(r"rings: rx \d+ rx \d+ tx \d+ tx \d+", text), text)
            # It sends into its own ring, and testpmd answers by the queue of the same number. What
            # is sent again, or before the placement is seen, may be the other's.
            for worker in ("0", "1"):
                lab.cli("set", "interface", "rx-placement", "tap0", "queue", "0", "worker", worker)
                echoes(lab, 1000)
            expect(pmd.poll() is None, "testpmd ended")
            pmd.send_signal(signal.SIGINT)
            pmd.wait(60)
            text = lab.output(pmd)
            for queue in (0, 1):
                streams = re.findall(rf"RX Port= 0/Queue= {queue} -> TX Port= 0/Queue= {queue} .*\n +RX-packets: (\d+) +TX-packets: (\d+)", text)
                expect(streams and all(int(n) >= 25 for n in streams[0]), f"queue {queue}: {streams}\n{text[-3000:]}")
            wait_until(lambda: interface(lab)["link"] == "down", "the link goes down with testpmd")


def testpmd_chains():
    """Packets in many buffers with DPDK's net_memif, in both roles: of 64 bytes, and of 9,000 bytes in buffers of 2,048."""
    for role in OUR_ROLE:
        with with_testpmd(role, "ring-size 64 buffer-size 64", ",bsize=64,rsize=6") as (lab, pmd):
            for size in (60, 64, 200, 1000, 1500):
                echoes(lab, size, 20)
            expect("ring-full 0 " in lab.cli("show", "hardware-interfaces"), lab.cli("show", "hardware-interfaces"))
        # net_memif has no --max-pkt-len beyond 1,518, and takes what fits into its mbufs.
        with with_testpmd(role, commands=("--mbuf-size=10240",), mtu=9000) as (lab, pmd):
            for size in (64, 2048, 9000):
                echoes(lab, size, 20)


def default_socket():
    """Socket 0 is a daemon's own, in its runtime directory: two daemons are masters by it at a time."""
    with Lab(daemon=False) as first, Lab(daemon=False) as second:
        own = ["create interface memif id 0 master", "set interface ip address memif0/0 10.92.0.1/24", "set interface state memif0/0 up"]
        first.startup = own
        second.startup = own + startup(first.dir / "run/memif.sock", "slave", "10.92.0.2", "fd92::2")
        first.start_daemon()
        second.startup = [line.replace("10.92.0.1/24", "10.93.0.1/24") for line in second.startup]
        second.start_daemon()
        for lab in (first, second):
            sockets = lab.cli("show", "memif", as_json=True)["sockets"]
            expect(sockets[0]["filename"] == f"{lab.dir}/run/memif.sock" and sockets[0]["listener"] == "yes", f"{sockets}")
            expect((lab.dir / "run/memif.sock").is_socket(), "the file is there")
        wait_until(lambda: interface(second)["link"] == "up", "the link comes up")
        ping(second, "10.92.0.1")


def api():
    """Our messages: who the peer is, why it has gone, and what was counted; the socket's file stays when it is another's."""
    with two_daemons() as (master, slave), Messages(master.dir / "run/api.sock") as m:
        both_ping(master, slave)
        index, = (d["sw_if_index"] for d in m.dump("memif_dump"))
        link, = m.dump("memif_link_dump")
        expect(link["sw_if_index"] == index and link["is_connected"] and link["peer"] == "Hostloom" and
               link["peer_interface"] == "memif1/0" and link["num_rx_rings"] == link["num_tx_rings"] == 1 and
               link["num_connected"] == 1 and link["reason"] == "", f"link: {link}")
        counted = m.call("memif_counters_get", sw_if_index=index)
        expect(counted["retval"] == 0 and counted["rx_packets"] >= 3 and counted["rx_bytes"] > 3 * 64 and
               not any(counted[name] for name in ("rx_errors", "ring_full", "bad_cursor", "stopped")), f"counters: {counted}")
        slave.cli("set", "interface", "state", "memif1/0", "down")
        wait_until(lambda: interface(master)["link"] == "down", "the link goes down")
        link, = m.dump("memif_link_dump", sw_if_index=index)
        expect(not link["is_connected"] and link["reason"] == interface(master)["reason"] and "down" in link["reason"] and
               link["peer"] == "" and link["num_connected"] == 1, f"link: {link}")
        expect(m.dump("memif_link_dump", sw_if_index=99) == [], "no such interface")
        expect(m.call("memif_counters_get", sw_if_index=99)["retval"] == -2, "counters of no memif")
        # Another daemon takes the place of the file that somebody has removed.
        file = master.dir / "memif.sock"
        file.unlink()
        for words in ("delete interface memif memif1/0", "create interface memif socket-id 1 id 0 master",
                      f"set interface ip address memif1/0 {SLAVE_IP4}/24", "set interface state memif1/0 up"):
            slave.cli(*words.split())
        expect(m.call("memif_delete", sw_if_index=index)["retval"] == 0, "the last master there goes")
        expect(file.is_socket(), "the socket of the other daemon was removed")
        for words in ("create interface memif socket-id 1 id 0 slave", f"set interface ip address memif1/0 {MASTER_IP4}/24",
                      "set interface state memif1/0 up"):
            master.cli(*words.split())
        wait_link(master, slave)
        both_ping(master, slave)
        slave.cli("delete", "interface", "memif", "memif1/0")
        expect(not file.exists(), "its own socket goes with its last master")


def testpmd_client():
    """DPDK's net_memif as slave of our master."""
    dpdk("client")


def testpmd_server():
    """DPDK's net_memif as master of our slave."""
    dpdk("server")


if __name__ == "__main__":
    run_case(daemons, shapes, full, death, idle, rx_mode, stopped, default_socket, api, testpmd_client, testpmd_server, testpmd_abstract,
             testpmd_queues, testpmd_chains)
