#!/usr/bin/python3
"""System tests of the DPDK driver's peers that stall, stay away, or come back, and of devices that go while packets flow.
usage: dpdk_peer_cases.py CASE"""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess

from dpdk_cases import (NAME, NEAR_IP4, NEAR_IP6, PEER_IP4, PEER_IP6, TAP, config, deleted, device, finish_checksums,
                        kernel_pings, kernel_takes_up, laboratory, received, startup, take_up, trusting, vdev,
                        wait_link)  # first: it knows where lab.py is
import programs as p
from cases import expect, expect_error
from lab import Failure, Lab, run_case, wait_until
from memif_cases import Files, ping
from messages import Messages

OTHER = "dpdk1"  # of the same daemon, which nobody is to keep waiting
AGAIN = -165     # the API's word for what is under way
REFUSED = -1      # the log has the reason
INVALID, IO_ERROR = -7, -11
UNREAD_SECONDS = 60  # a busy machine's daemon has hung up by then


@contextlib.contextmanager
def pair(ours, theirs):
    """Two daemons, the one's device connected to the other's; the one has a TAP as well."""
    with Lab(daemon=False) as near, Lab(daemon=False) as peer:
        peer.config_extra = config(trusting(theirs.format(dir=near.dir)))
        is_late = "net_virtio_user" in theirs
        peer.startup = ["show version"] if is_late else startup(ip4=PEER_IP4, ip6=PEER_IP6)
        near.config_extra = config(trusting(ours.format(dir=near.dir)), vdev(f"net_tap0,iface={TAP}", OTHER))
        near.startup = startup(OTHER)
        for lab in (near, peer) if "role=server" in ours or "net_vhost" in ours else (peer, near):
            lab.start_daemon()
        take_up(near, ip4=NEAR_IP4, ip6=NEAR_IP6)
        if is_late:
            take_up(peer, ip4=PEER_IP4, ip6=PEER_IP6)
        for lab in (near, peer):
            wait_link(lab, "up")
        ping(near, PEER_IP4)
        yield near, peer


def virtio_pair():
    return pair("net_virtio_user0,path={dir}/vhost.sock", "net_vhost0,iface={dir}/vhost.sock")


@contextlib.contextmanager
def stalled(lab):
    lab.daemon.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        lab.daemon.send_signal(signal.SIGCONT)


def restart(peer):
    """The daemon is killed, and is there again."""
    peer.stop(peer.daemon, signal.SIGKILL)
    (peer.dir / "hostloom.log").unlink()
    peer.start_daemon()


def answers(lab):
    """Commands, another device, and an application that comes just now."""
    lab.cli("show", "version")
    lab.cli("set", "interface", "state", OTHER, "down")
    lab.cli("set", "interface", "state", OTHER, "up")
    kernel_takes_up()
    kernel_pings(lab)
    lab.run(["/usr/bin/python3", "-c", "import socket; socket.create_server(('10.88.0.2', 9)).close()"], env=lab.preload())


def hardware(lab):
    return lab.cli("show", "hardware-interfaces")


def expect_mtu(lab, mtu):
    """The interface's and the device's."""
    with Messages(lab.dir / "run/api.sock") as m:
        interface = {i["interface_name"]: i["mtu"][0] for i in m.dump("sw_interface_dump")}[NAME]
    expect(interface == mtu and int(device(lab)["mtu"]) == mtu, f"mtu {interface} and {device(lab)['mtu']}, not {mtu}")


def log_of(lab):
    return (lab.dir / "hostloom.log").read_text()


def stall():
    """A vhost peer that is stopped: traffic goes on when it does; what is asked meanwhile is done then, or says so."""
    with virtio_pair() as (near, peer):
        expect("trusts its peer: who is at" in log_of(near), log_of(near))
        files = Files(peer, PEER_IP4)
        with stalled(peer):
            answers(near)
        files.fetch(near, "10m")
        with stalled(peer):
            expect_error(near, "does not answer", "set", "interface", "mtu", "packet", "9000", NAME)
            answers(near)
            expect("waits for its peer at" in hardware(near), hardware(near))
            expect_error(near, "does not answer", "set", "interface", "state", NAME, "down")
            expect_error(near, "does not answer", "set", "interface", "state", NAME, "up")
            with Messages(near.dir / "run/api.sock") as m:
                number = {i["interface_name"]: i["sw_if_index"] for i in m.dump("sw_interface_dump")}[NAME]
                done = m.call("sw_interface_set_mtu", sw_if_index=number, mtu=[8000, 0, 0, 0])
                expect(done["retval"] == AGAIN, f"mtu by API: {done}")
                expect(not m.dump("dpdk_device_dump", sw_if_index=number)[0]["is_started"], "it is stopped")
        wait_until(lambda: int(device(near)["mtu"]) == 8000, "the latest mtu is set")
        wait_link(near, "up")
        files.fetch(near, "10m")
        with stalled(peer):
            near.cli("delete", "dpdk", "vdev", NAME)
            answers(near)
            expect_error(near, "does not answer", "create", "dpdk", "vdev", f"net_virtio_user0,path={near.dir}/vhost.sock",
                         "name", NAME, "trust-peer")
            answers(near)
            expect("waits for its peer" in near.cli("show", "dpdk", "device"), "it is listed")
        take_up(near, ip4=NEAR_IP4, ip6=NEAR_IP6)
        wait_link(near, "up")
        ping(near, PEER_IP4)
        files.fetch(near, "10m")


def stall_end():
    """The daemon ends while its vhost peer is stopped, also with something asked of the device before."""
    for asked in ("nothing", "mtu", "delete", "create"):
        with virtio_pair() as (near, peer), stalled(peer):
            if asked == "mtu":
                expect_error(near, "does not answer", "set", "interface", "mtu", "packet", "9000", NAME)
            if asked in ("delete", "create"):
                near.cli("delete", "dpdk", "vdev", NAME)
            if asked == "create":
                expect_error(near, "does not answer", "create", "dpdk", "vdev",
                             f"net_virtio_user0,path={near.dir}/vhost.sock", "trust-peer")
            near.stop(near.daemon)
            expect(near.daemon.returncode == 0, f"{asked}: the daemon ended with {near.daemon.returncode}")


def absent():
    """net_virtio_user as a server, and nobody connects: the daemon is there, and so is the interface once a peer is."""
    with Lab(daemon=False) as near, Lab(daemon=False) as peer:
        server = f"net_virtio_user0,path={near.dir}/vhost.sock,server=1"
        near.config_extra = config(trusting(server), vdev(f"net_tap0,iface={TAP}", OTHER))
        near.startup = startup(OTHER)
        near.start_daemon()
        answers(near)
        expect("waits for its peer, which connects to" in log_of(near) or "waits for its peer" in
               near.cli("show", "dpdk", "device"), "it says what it waits for")
        expect_error(near, "is there already", "create", "dpdk", "vdev", server)
        near.cli("delete", "dpdk", "vdev", NAME)
        expect(not (near.dir / "vhost.sock").exists(), "the socket is gone")
        expect_error(near, f"waits for its peer, which connects to {near.dir}/vhost.sock; the interface appears", "create",
                     "dpdk", "vdev", server, "name", NAME, "trust-peer")
        answers(near)
        peer.config_extra = config(trusting(f"net_vhost0,iface={near.dir}/vhost.sock,client=1"))
        peer.startup = startup(ip4=PEER_IP4, ip6=PEER_IP6)
        peer.start_daemon()
        take_up(near, ip4=NEAR_IP4, ip6=NEAR_IP6)
        wait_link(near, "up")
        ping(near, PEER_IP4)
        near.cli("delete", "dpdk", "vdev", NAME)
        peer.stop(peer.daemon)
        expect_error(near, "waits for its peer", "create", "dpdk", "vdev", server, "trust-peer")
        near.stop(near.daemon)
        expect(near.daemon.returncode == 0, f"the daemon ended with {near.daemon.returncode}")
        expect(not (near.dir / "vhost.sock").exists(), "the socket is gone")


@contextlib.contextmanager
def mute(path):
    """A vhost peer that connects, hears the device, and never says a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        wait_until(path.exists, f"somebody listens at {path}")
        s.connect(str(path))
        s.settimeout(30)
        expect(s.recv(1), "it is greeted")
        yield


def others(lab):
    """Devices that are called on EAL's interrupt thread, or hear of their links by it, come, live and go."""
    memif = f"net_memif1,role=server,id=7,socket={lab.dir}/other.sock,socket-abstract=no"
    lab.cli("create", "dpdk", "vdev", memif, "name", "memif1", "trust-peer")
    lab.cli("set", "interface", "state", "memif1", "up")
    with Lab(daemon=False) as guest:
        guest.config_extra = config(trusting(memif.replace("server", "client"), "memif0"))
        guest.startup = startup("memif0")
        guest.start_daemon()
        wait_link(lab, "up", "memif1")
        wait_link(guest, "up", "memif0")
    wait_link(lab, "down", "memif1")
    lab.cli("set", "interface", "state", "memif1", "down")
    lab.cli("delete", "dpdk", "vdev", "memif1")


def server_stall():
    """net_virtio_user as a server: peers that connect and stall, at first and again, hold up nothing of the others."""
    with Lab(daemon=False) as near, Lab(daemon=False) as peer:
        path = near.dir / "vhost.sock"
        near.config_extra = config(trusting(f"net_virtio_user0,path={path},server=1"), vdev(f"net_tap0,iface={TAP}", OTHER))
        near.startup = startup(OTHER)
        peer.config_extra = config(trusting(f"net_vhost0,iface={path},client=1"))
        peer.startup = startup(ip4=PEER_IP4, ip6=PEER_IP6)
        near.start_daemon()
        with mute(path):
            answers(near)
            others(near)
        peer.start_daemon()  # the first one is gone: the next has its turn
        take_up(near, ip4=NEAR_IP4, ip6=NEAR_IP6)
        wait_link(near, "up")
        ping(near, PEER_IP4)
        for again in range(2):
            peer.stop(peer.daemon, signal.SIGKILL)
            with mute(path):
                answers(near)
                others(near)
                if again:
                    expect("waits for its peer at" in hardware(near), hardware(near))
                    expect_error(near, "does not answer", "set", "interface", "state", NAME, "down")
                    expect_error(near, "does not answer", "set", "interface", "state", NAME, "up")
            (peer.dir / "hostloom.log").unlink()
            peer.start_daemon()
            wait_link(near, "up")
            ping(near, PEER_IP4)
        Files(peer, PEER_IP4).fetch(near, "10m")
        peer.stop(peer.daemon, signal.SIGKILL)
        with mute(path):
            near.cli("delete", "dpdk", "vdev", NAME)
            answers(near)
            wait_until(lambda: not path.exists(), "the socket is gone")
        near.stop(near.daemon)
        expect(near.daemon.returncode == 0, f"the daemon ended with {near.daemon.returncode}")


def back():
    """net_virtio_user as a client: its vhost peer is killed while bytes flow, and traffic goes on when it is back."""
    with virtio_pair() as (near, peer):
        files = Files(peer, PEER_IP4)
        for again in range(3):
            files.fetch(near, "10m")
            load = near.spawn(["sh", "-c", f"while :; do curl -sS -m 5 -o /dev/null http://{PEER_IP4}:8080/10m; done"],
                              name="load", env=near.preload(), start_new_session=True)
            try:
                seen = received(near)[1]
                wait_until(lambda: received(near)[1] > seen + 100, "packets flow")
                if again == 2:  # the interface is told another size while nobody is there
                    peer.stop(peer.daemon, signal.SIGKILL)
                    wait_link(near, "down")
                    with contextlib.suppress(Failure):
                        near.cli("set", "interface", "mtu", "packet", "1400", NAME)
                    (peer.dir / "hostloom.log").unlink()
                    peer.start_daemon()
                else:
                    restart(peer)
            finally:
                os.killpg(load.pid, signal.SIGKILL)
                load.wait()
            wait_link(near, "up")
            wait_until(lambda: "its peer is back" in log_of(near), "it is in the log")
            ping(near, PEER_IP4)
            files.serve()
        files.fetch(near, "10m")
        with stalled(peer):  # what its interface is told now comes too late for it
            expect_error(near, "does not answer", "set", "interface", "mtu", "packet", "9000", NAME)
            restart(peer)
        wait_link(near, "up")
        expect_mtu(near, 9000)
        ping(near, PEER_IP4)
        peer.stop(peer.daemon, signal.SIGKILL)
        wait_link(near, "down")
        near.cli("delete", "dpdk", "vdev", NAME)
        expect(near.cli("show", "dpdk", "device", as_json=True)["devices"][0]["name"] == OTHER, "the other is there")


@contextlib.contextmanager
def unfinished(path):
    """A peer of a net_vhost that begins a message (VHOST_USER_SET_FEATURES, version 1, 8 bytes), and stalls."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(str(path))
        s.sendall(struct.pack("=III", 2, 1, 8))
        yield s


def vhost_unfinished():
    """A peer of net_vhost stalls within a message: those of others come and go, and its device is deleted."""
    with Lab(daemon=False) as near, Lab(daemon=False) as peer:
        one, two = near.dir / "one.sock", near.dir / "two.sock"
        near.config_extra = config(trusting(f"net_vhost0,iface={one}", "vhost1"), trusting(f"net_vhost1,iface={two}"))
        near.startup = startup(ip4=NEAR_IP4, ip6=NEAR_IP6)
        peer.config_extra = config(trusting(f"net_virtio_user0,path={two}"))
        peer.startup = ["show version"]
        near.start_daemon()
        expect("net_vhost0: net_vhost trusts its peer" in log_of(near), log_of(near))
        near.cli("set", "interface", "state", "vhost1", "up")
        with unfinished(one), unfinished(one):
            peer.start_daemon()
            take_up(peer, ip4=PEER_IP4, ip6=PEER_IP6)
            wait_link(near, "up")
            ping(near, PEER_IP4)
            near.cli("set", "interface", "state", "vhost1", "down")
            near.cli("set", "interface", "state", "vhost1", "up")
        with unfinished(one):
            near.cli("delete", "dpdk", "vdev", "vhost1")
            near.cli("show", "version")
            expect(not one.exists(), "the socket is gone")
        ping(near, PEER_IP4)
        with unfinished(two):  # beside the one that is there
            peer.stop(peer.daemon, signal.SIGKILL)
            wait_link(near, "down")
            near.stop(near.daemon)
            expect(near.daemon.returncode == 0, f"the daemon ended with {near.daemon.returncode}")


def vhost_unread():
    """A peer of net_vhost that asks on, and reads no answers, is hung up on: while one is written, workers wait to send to it."""
    with Lab(daemon=False) as near:
        path = near.dir / "vhost.sock"
        near.config_extra = config(trusting(f"net_vhost0,iface={path}"), vdev(f"net_tap0,iface={TAP}", OTHER))
        near.startup = startup(OTHER) + [f"set interface state {NAME} up"]
        near.start_daemon()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(str(path))
            s.settimeout(UNREAD_SECONDS)
            try:
                for _ in range(1000):  # neither socket's queue has room for 500
                    s.sendall(struct.pack("=III", 3, 1 | 8, 0))  # VHOST_USER_SET_OWNER, which wants an answer
                raise Failure("1,000 answers were not read, and more would not be")
            except (BrokenPipeError, ConnectionResetError):
                pass
            except TimeoutError as e:
                raise Failure(f"the daemon has neither read nor hung up for {UNREAD_SECONDS} seconds") from e
        answers(near)
        near.cli("delete", "dpdk", "vdev", NAME)


def stall_others():
    """The peers of net_memif, in either role, and of net_vhost, are stopped: likewise."""
    memif = "net_memif0,role={role},id=0,socket={{dir}}/memif.sock,socket-abstract=no"
    for ours, theirs in ((memif.format(role="server"), memif.format(role="client")),
                         (memif.format(role="client"), memif.format(role="server")),
                         ("net_vhost0,iface={dir}/vhost.sock", "net_virtio_user0,path={dir}/vhost.sock")):
        with pair(ours, theirs) as (near, peer):
            files = Files(peer, PEER_IP4)
            with stalled(peer):
                answers(near)
            files.fetch(near, "10m")
            with stalled(peer):
                near.cli("set", "interface", "state", NAME, "down")
                answers(near)
                near.cli("delete", "dpdk", "vdev", NAME)
                answers(near)


def untrusted():
    """Drivers that give their peer the daemon's memory are refused unless their peer is trusted, in the start-up file, by a
    command and by a message, before there is anything for a peer to come to."""
    with Lab(daemon=False) as lab:
        at = lab.dir / "peer.sock"
        devices = [f"net_memif0,role=server,id=0,socket={at},socket-abstract=no", f"net_vhost0,iface={at}", f"eth_vhost1,iface={at}",
                   f"net_virtio_user0,path={at}", f"virtio_user1,path={at},server=1", f"net_failsafe0,dev(net_vhost2,iface={at})"]
        lab.config_extra = config(*[vdev(text, f"dpdk{i}") for i, text in enumerate(devices)])
        lab.startup = ["show version"]
        lab.start_daemon()
        for text in devices:
            name = text.split(",", maxsplit=1)[0]
            expect(re.search(rf"error  dpdk: {name}: net_\w+ trusts its peer.*`trust-peer`.*`create interface memif`", log_of(lab)),
                   f"{name} is refused: {log_of(lab)}")
            expect_error(lab, "`trust-peer` makes the device, for a peer that is to be trusted", "create", "dpdk", "vdev", text)
            with Messages(lab.dir / "run/api.sock") as m:
                expect(m.call("dpdk_vdev_create", device=text)["retval"] == REFUSED, "by message")
        for text, why, number in ((f"net_null5,x/bus=vdev,name=net_vhost7,iface={at}", "takes it for another device", INVALID),
                                  ("net_failsafe5,exec(echo,net_null7)", "hides which device is inside", IO_ERROR),
                                  ("net_failsafe5,fd(0)", "hides which device is inside", IO_ERROR)):
            expect_error(lab, why, "create", "dpdk", "vdev", text, "trust-peer")
            with Messages(lab.dir / "run/api.sock") as m:
                for said in (m.call("dpdk_vdev_create", device=text), m.call("dpdk_vdev_create_v2", device=text, trust_peer=True)):
                    expect(said["retval"] == number, f"by message: {text}: {said}")
        expect(lab.cli("show", "dpdk", "device", as_json=True)["devices"] == [], "none is there")
        expect(not at.exists(), "nobody listens")
        lab.cli("create", "dpdk", "vdev", devices[0], "trust-peer")
        with Messages(lab.dir / "run/api.sock") as m:
            made = m.call("dpdk_vdev_create_v2", device=devices[1].replace("peer.sock", "vhost.sock"), trust_peer=True)
            expect(made["retval"] == 0, f"by message: {made}")
        for name in ("net_memif", "net_vhost"):
            expect(f"{name}0: {name} trusts its peer" in log_of(lab).split("ready")[-1], "the log says whom it trusts")


def deleted_under_load():
    """The kernel's interface of net_tap and of net_af_packet is deleted while packets flow."""
    for text, theirs in ((f"net_tap0,iface={TAP}", TAP), ("net_af_packet0,iface=loom0", "loom0")):
        if theirs == "loom0":
            for words in ("link add loom0 type veth peer name loom1", "link set loom0 up"):
                subprocess.run(["ip"] + words.split(), check=True)
            kernel_takes_up("loom1")
            finish_checksums("loom1")
        with laboratory(vdev(text)) as lab:
            if theirs == TAP:
                kernel_takes_up()
            kernel_pings(lab)
            if theirs == "loom0":
                for side in (p.served_by_hostloom(lab), p.client_on_hostloom(lab)):
                    rate = p.iperf3(lab, side, seconds=1)
                    expect(rate > 0, f"{side.name}: nothing arrived")
                    print(f"{side.name}: {rate / 1e9:.2f} Gb/s", flush=True)
            with p.Nginx(lab, p.served_by_hostloom(lab)) as n:
                load = lab.spawn(["sh", "-c", f"while :; do curl -sS -m 5 -o /dev/null {n.url('10m')}; sleep 0.1; done"],
                                 name="load", start_new_session=True)
                try:
                    seen = received(lab)[1]
                    wait_until(lambda: received(lab)[1] > seen + 100, "packets flow")
                    deleted(lab, theirs)
                finally:
                    os.killpg(load.pid, signal.SIGKILL)
                    load.wait()
            lab.cli("show", "version")


if __name__ == "__main__":
    run_case(stall, stall_end, absent, server_stall, back, vhost_unfinished, vhost_unread, stall_others, untrusted, deleted_under_load)
