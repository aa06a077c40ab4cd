#!/usr/bin/python3
"""System tests of the DPDK driver's messages. usage: dpdk_api_cases.py CASE"""

import re
import socket

from dpdk_cases import (NAME, TAP, both_ways, config, device, in_use, kernel_pings, kernel_takes_up,
                        startup, vdev)  # first: it knows where lab.py is
from cases import expect, expect_error
from lab import STACK_IP4, STACK_IP6, Lab, run_case, wait_until
from messages import Messages

NOBODY = 2**32 - 1


def api():
    """The messages: devices, their counters, and devices of software that come and go while packets flow."""
    with Lab(startup=["show version"], config_extra=config(vdev("net_null0"), keys="log-level info"), workers=2) as lab, \
            Messages(lab.dir / "run/api.sock") as m:
        said = m.call("dpdk_version_get")
        expect(said["retval"] == 0 and said["is_started"] and said["version"].startswith("DPDK ") and
               not said["has_huge_pages"] and "--no-huge" in said["eal_arguments"], f"version: {said}")
        null, = m.dump("dpdk_device_dump")
        expect((null["driver"], null["device"], null["is_virtual"], null["has_rx_interrupts"]) ==
               ("net_null", "net_null0", True, False), f"dump: {null}")
        before = in_use(lab)
        for round_trip in range(3):
            made = m.call("dpdk_vdev_create", device=f"net_tap0,iface={TAP}", interface_name="late0", num_rx_queues=1)
            expect(made["retval"] == 0, f"create: {made}\n{lab.cli('show', 'log')}")
            late = made["sw_if_index"]
            for line in startup("late0"):
                lab.cli(*line.split())
            kernel_takes_up()
            for address in (STACK_IP4, STACK_IP6):
                kernel_pings(lab, address=address)
            listed = {d["sw_if_index"]: d for d in m.dump("dpdk_device_dump")}
            expect(set(listed) == {null["sw_if_index"], late}, f"dump: {listed}")
            d, = m.dump("dpdk_device_dump", sw_if_index=late)
            expect(d["is_started"] and d["is_link_up"] and d["has_rx_interrupts"] and d["driver"] == "net_tap" and
                   d["device"] == f"net_tap0,iface={TAP}" and d["mtu"] == 1500 and d["num_rx_desc"] > 0, f"details: {d}")
            expect(d["link_speed"] == int(re.search(r"link up (\d+) Mb/s", lab.cli("show", "hardware-interfaces"))[1]), f"{d}")
            c, shown = m.call("dpdk_device_counters_get", sw_if_index=late), device(lab, "late0")
            expect(c["retval"] == 0 and 0 < c["rx_packets"] <= int(shown["rx packets"]) and c["rx_errors"] == 0 and
                   c["device_tx_errors"] == 0 and c["stopped"] == 0, f"counters: {c}, shown: {shown}")
            some = {x["name"]: x["value"] for x in m.dump("dpdk_xstats_dump", sw_if_index=late)}
            every = {x["name"] for x in m.dump("dpdk_xstats_dump", sw_if_index=late, with_zeros=True)}
            expect(0 < some["rx_good_packets"] and 0 not in some.values() and set(some) < every, f"xstats: {some}, {every}")
            if round_trip == 0:
                both_ways(lab)
            again = m.call("dpdk_vdev_create", device="net_tap0,iface=dtap9", interface_name="late9")
            expect((again["retval"], again["sw_if_index"]) == (-81, NOBODY), f"it is there already: {again}")
            expect(m.call("dpdk_vdev_delete", sw_if_index=late)["retval"] == 0, "delete")
            expect(m.call("dpdk_vdev_delete", sw_if_index=late)["retval"] == -2, "delete twice")
            expect(TAP not in {name for _, name in socket.if_nameindex()}, "the kernel's end is gone")
            wait_until(lambda: in_use(lab) <= before, "every buffer is back")
        for fields, retval in (({"device": ""}, -7), ({"device": "0000:03:00.0"}, -7), ({"device": "pci:0000:03:00.0"}, -7),
                               ({"device": "net_nonsense0"}, -11), ({"device": "net_null1,size=none"}, -11),
                               ({"device": "net_null1", "num_rx_queues": 65}, -7), ({"device": "x" * 100}, -7),
                               ({"device": "net_null1", "num_tx_desc": 65535}, -7), ({"device": "net_null1", "rss": "ipv4-tpc"}, -7),
                               ({"device": "net_null1", "interface_name": NAME}, -81)):
            no = m.call("dpdk_vdev_create_v2" if "rss" in fields else "dpdk_vdev_create", **fields)
            expect((no["retval"], no["sw_if_index"]) == (retval, NOBODY), f"{fields}: {no}")
        spread = m.call("dpdk_vdev_create_v2", device="net_null1", num_rx_queues=2, rss="ipv4-tcp ipv6-udp", vlan_strip=True)
        expect(spread["retval"] == 0, f"create: {spread}\n{lab.cli('show', 'log')}")
        d, = m.dump("dpdk_device_dump", sw_if_index=spread["sw_if_index"])
        expect((d["num_rx_queues"], d["rss"]) == (2, "ipv4-tcp ipv6-udp"), f"details: {d}")
        expect(m.call("dpdk_vdev_delete", sw_if_index=spread["sw_if_index"])["retval"] == 0, "delete")
        lab.cli(*"create dpdk vdev net_null1 name late1 num-rx-queues 2 rss { ipv4-udp } tso off".split())
        d, = [d for d in m.dump("dpdk_device_dump") if d["device"] == "net_null1"]
        expect((d["num_rx_queues"], d["rss"]) == (2, "ipv4-udp"), f"details: {d}")
        lab.cli("delete", "dpdk", "vdev", "late1")
        expect(m.call("dpdk_device_counters_get", sw_if_index=99)["retval"] == -2, "counters of no device")
        expect(m.dump("dpdk_xstats_dump", sw_if_index=99) == [], "xstats of no device")
        expect(m.dump("dpdk_device_dump", sw_if_index=99) == [], "no device")
        expect(lab.cli("create", "dpdk", "vdev", "net_null1,size=128", "name", "late1").strip() == "late1", "by command")
        expect_error(lab, "word 1: unknown key 'loud'", "create", "dpdk", "vdev", "net_null2", "loud")
        expect_error(lab, "there is no DPDK device 'late2'", "delete", "dpdk", "vdev", "late2")
        for name in ("late1", NAME):  # this one was made by the start-up file
            lab.cli("delete", "dpdk", "vdev", name)
        expect(m.dump("dpdk_device_dump") == [], "all are gone")
    said = "dev default { num-rx-queues 2 num-rx-desc 256 rss { ipv4-udp } }"
    with Lab(startup=["show version"], config_extra=config(said)) as lab, Messages(lab.dir / "run/api.sock") as m:
        for name in ("dpdk_vdev_create", "dpdk_vdev_create_v2"):
            for fields, wanted in (({}, (2, 256)), ({"num_rx_queues": 1, "num_rx_desc": 512}, (1, 512))):
                made = m.call(name, device="net_null1", **fields)
                expect(made["retval"] == 0, f"create: {made}\n{lab.cli('show', 'log')}")
                d, = m.dump("dpdk_device_dump")
                expect((d["num_rx_queues"], d["num_rx_desc"]) == wanted, f"{name} {fields}: {d}")
                expect(d["rss"] == ("ipv4-udp" if wanted[0] > 1 else ""), f"{name} {fields}: {d}")
                expect(m.call("dpdk_vdev_delete", sw_if_index=made["sw_if_index"])["retval"] == 0, "delete")
    with Lab(startup=["show version"]) as lab, Messages(lab.dir / "run/api.sock") as m:
        expect(not m.call("dpdk_version_get")["is_started"], "without dpdk { }")
        expect(m.call("dpdk_vdev_create", device="net_null0")["retval"] == -126, "EAL starts with the daemon only")


if __name__ == "__main__":
    run_case(api)
