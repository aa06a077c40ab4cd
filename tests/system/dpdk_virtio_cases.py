#!/usr/bin/python3
"""System tests of DPDK's net_virtio_user against net_vhost, of another daemon and of dpdk-testpmd.
usage: dpdk_virtio_cases.py CASE"""

import shutil
import signal
import sys

from dpdk_cases import (NEAR_IP4, NEAR_IP6, NAME, PEER_IP4, PEER_IP6, config, device, expect_sound, received, startup, take_up,
                        trusting, wait_link)  # first: it knows where lab.py is
import programs as p
from cases import expect
from lab import HOST_IP4, Lab, run_case, wait_until
from memif_cases import Files, answered, ping


def virtio():
    """net_virtio_user against net_vhost, a daemon each: checksums and segmentation left to the other end both ways."""
    with Lab(daemon=False) as near, Lab(daemon=False) as peer:
        peer.config_extra = config(trusting(f"net_vhost0,iface={near.dir}/vhost.sock,tso=1"))
        peer.startup = startup(ip4=PEER_IP4, ip6=PEER_IP6)
        near.config_extra = config(trusting(f"net_virtio_user0,path={near.dir}/vhost.sock,queue_size=1024"), keys="enable-lro")
        near.startup = ["show version"]
        peer.start_daemon()
        near.start_daemon()
        take_up(near, ip4=NEAR_IP4, ip6=NEAR_IP6)
        for lab in (peer, near):
            wait_link(lab, "up")
        for lab, to in ((near, PEER_IP4), (peer, NEAR_IP6)):
            ping(lab, to)
        files = Files(peer, PEER_IP4)
        for name in ("1k", "10m"):
            files.fetch(near, name)
        side = p.Side("over virtio", PEER_IP4, server_env=peer.preload(), client_env=near.preload())
        for reverse in (False, True):
            before = received(peer)
            rate = p.iperf3(near, side, seconds=1, reverse=reverse)
            expect(rate > 0, f"reverse {reverse}: nothing arrived")
            print(f"iperf3{' -R' if reverse else ''}: {rate / 1e9:.2f} Gb/s", flush=True)
            if not reverse:  # net_vhost cuts nothing itself, so that the other way packets are of the MTU's size
                grown = [now - then for now, then in zip(received(peer), before)]
                expect(grown[0] / grown[1] > 1600, f"packets were cut on the way to: {grown}")
        for lab in (near, peer):
            lab.cli("set", "interface", "mtu", "packet", "9000", NAME)
            wait_link(lab, "up")
        before = received(near)
        files.fetch(near, "10m")
        grown = [now - then for now, then in zip(received(near), before)]
        expect(grown[0] / grown[1] > 4096, f"no packets of several buffers came: {grown}")
        expect_sound(near, peer)


def testpmd():
    """net_virtio_user against net_vhost in dpdk-testpmd, which answers pings; it is killed, and comes back."""
    program = shutil.which("dpdk-testpmd")
    if not program:
        print("skipped: dpdk-testpmd is not installed (Debian package dpdk-dev)", flush=True)
        sys.exit(77)
    with Lab(daemon=False) as lab:
        def vhost():
            return lab.spawn([program, "--no-huge", "--no-pci", "-m", "256", "--no-telemetry", "--no-shconf", "-l", "0,1",
                              "--vdev", f"net_vhost0,iface={lab.dir}/vhost.sock,client=1", "--", "--forward-mode=icmpecho",
                              "--auto-start", "--total-num-mbufs=8192", "--stats-period", "3600"], name="testpmd")
        lab.config_extra = config(trusting(f"net_virtio_user0,path={lab.dir}/vhost.sock,server=1"))
        lab.startup = ["show version"]
        pmd = vhost()
        lab.start_daemon()
        take_up(lab)
        for again in (False, True):
            wait_until(lambda: device(lab)["link"] == "up" or expect(pmd.poll() is None, lab.output(pmd)[-2000:]), "link is up")
            wait_until(lambda: answered(lab, HOST_IP4, 20) == 20, "all echo requests are answered")
            if again:
                break
            lab.stop(pmd, signal.SIGKILL)
            wait_link(lab, "down")
            pmd = vhost()
        expect_sound(lab)


if __name__ == "__main__":
    run_case(virtio, testpmd)
