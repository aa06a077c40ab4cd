#!/usr/bin/python3
"""System tests of names: what a user of VPP types and sends is there, and every request gets an answer.
usage: interop_cases.py CASE"""

import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
from interop_names import ABSENT_COMMANDS, ABSENT_MESSAGES, COMMANDS, MESSAGES  # noqa: E402
from lab import Failure, Lab  # noqa: E402
from messages import Messages  # noqa: E402

VPP = json.loads((pathlib.Path(__file__).resolve().parents[1] / "unit/core/api/vpp_layouts.json").read_text())
UNIMPLEMENTED, UNSUPPORTED, INVALID_VALUE = -9, -126, -7


def expect(condition, message):
    if not condition:
        raise Failure(message)


def messages_of(lab):
    return Messages(lab.dir / "run/api.sock")


def check_features(absent, is_there):
    """Each has all of its names or none. Returns the names that may be missing."""
    missing = set()
    for feature, names in absent.items():
        there = [n for n in names if is_there(n)]
        if len(there) == len(names):
            print(f"note: {feature} is there; strike it from the features that are absent")
            continue
        expect(not there, f"{feature} has {there}, and not {sorted(set(names) - set(there))}")
        missing.update(names)
    return missing


def messages():
    """Every message of VPP's that we know of is in the table, with VPP's CRC, but for features that are not there."""
    with Lab() as lab, messages_of(lab) as m:
        absent = check_features(ABSENT_MESSAGES, lambda name: name in m.crcs)
        absent |= {VPP["services"][name]["reply"] for name in absent}
        known = set(VPP["messages"]) - absent
        expect(len(known) > 100, f"only {len(known)} messages to look for")
        lost = sorted(name for name in known if name not in m.crcs)
        expect(not lost, f"missing: {lost}")
        for name in sorted(known):
            crc = VPP["messages"][name][-1]["crc"]
            expect("0x" + m.crcs[name] == crc, f"{name} has the CRC {m.crcs[name]}, VPP's is {crc}")
        lost = sorted(set(MESSAGES.split()) - set(m.crcs))
        expect(not lost, f"missing: {lost}")


def answers():
    """Every request that has a reply gets it, short as it may be; dumps end with the ping behind them."""
    with Lab() as lab, messages_of(lab) as m:
        expect(len(m.services) > 60, f"only {len(m.services)} services")
        for request, service in sorted(m.services.items()):
            if request.startswith("sockclnt_"):
                continue
            # Nothing but context: a request with fields is so cut short, one without is whole and harmless.
            m.request_body(request, 7)
            m.request_body("control_ping", 8)
            seen = []
            while True:
                name, body = m.receive_body()
                context = struct.unpack_from("!I", body)[0]
                if name == "control_ping_reply" and context == 8:
                    break
                expect(context == 7, f"{request}: {name} with context {context}")
                seen.append((name, body))
            if service.get("stream") and "stream_msg" not in service:
                expect(all(name == service["reply"] for name, _ in seen), f"{request}: {seen}")
                continue
            expect(seen and seen[-1][0] == service["reply"], f"{request}: {[n for n, _ in seen]}, not {service['reply']}")
            retval = struct.unpack_from("!i", seen[-1][1], 4)[0]
            is_short = any(f[1] not in ("_vl_msg_id", "client_index", "context") for f in m.fields[request])
            expect(retval == INVALID_VALUE if is_short else retval != UNIMPLEMENTED, f"{request}: retval {retval}")
        # Whole, they are refused: both point into memory that this transport does not share.
        expect(m.call("cli", cmd_in_shmem=1)["retval"] == UNIMPLEMENTED, "cli")
        expect(m.call("get_node_graph")["retval"] == UNSUPPORTED, "get_node_graph")
        expect(m.call("cli", cmd_in_shmem=1)["reply_in_shmem"] == 0, "cli again")
        told = [line for line in (lab.dir / "hostloom.log").read_text().splitlines() if "cli_inband" in line]
        expect(len(told) == 1, f"the log says {len(told)} times what to use instead of cli")


def commands():
    """Every command is there, but for features that are not there, and is explained by help and by a question mark."""
    with Lab() as lab, messages_of(lab) as m:
        def next_words(line):
            reply = m.call("cli_complete", line=line, cursor=len(line))
            return [c["word"] for c in reply["candidates"]] if reply["retval"] == 0 else []

        def is_there(command):
            words = command.split()
            return all(word in next_words("".join(w + " " for w in words[:i])) for i, word in enumerate(words))

        expect(not is_there("show nothing"), "the test sees what is not there")
        absent = check_features(ABSENT_COMMANDS, is_there)
        wanted = [" ".join(c.split()) for c in COMMANDS.split(",")]
        expect(set(absent) <= set(wanted), f"absent, and not wanted: {absent - set(wanted)}")
        lost = [c for c in wanted if c not in absent and not is_there(c)]
        expect(not lost, f"missing: {lost}")
        for command in ("show version", "ip route add", "perf client"):
            for line in (f"help {command}", f"{command} ?"):
                reply = m.call("cli_inband", cmd=line)
                expect(reply["retval"] == 0 and command in reply["reply"], f"{line}: {reply}")


def lines():
    """Lines that must work as they stand, on a daemon without any interface."""
    with Lab(startup=["show version"]) as lab:
        def said(line):
            return lab.cli(*line.split())

        # The host's side is made in another namespace.
        tap = said(f"create tap id 0 host-if-name tap0 host-ns /proc/{lab.peer_namespace()}/ns/net host-ip4-addr 10.88.0.1/24")
        expect(tap.split()[-1] == "tap0", f"the name of the TAP: {tap}")
        host = lab.run(lab.in_peer(["ip", "addr", "show", "tap0"])).stdout.decode()
        expect("10.88.0.1/24" in host and "UP" in host, f"the host's side: {host}")
        loop = said("create loopback interface")
        expect(loop.split()[-1] == "loop0", f"the name of the loopback interface: {loop}")
        lab.run("ip link add veth0 type veth peer name veth1".split())
        veth = said("create host-interface name veth0")
        expect(veth.split()[-1] == "host-veth0", f"the name of the host interface: {veth}")
        for line in ("set interface ip address tap0 10.88.0.2/24", "set interface mtu packet 9000 tap0",
                     "set interface state tap0 up", "ip route add 0.0.0.0/0 via 10.88.0.1 tap0",
                     "perf server uri tcp://10.88.0.2/1234 fifo-size 4m",
                     "perf client uri tcp://10.88.0.2/1234 bytes 100k nclients 2 echo-bytes fifo-size 4m"):
            said(line)
        lab.run(lab.in_peer(["ping", "-c", "1", "-W", "10", "10.88.0.2"]))
        expect("10.88.0.2:1234" in said("show session verbose"), "show session verbose has the listener")
        expect("0.0.0.0/0" in said("show ip fib"), "show ip fib has the route")


if __name__ == "__main__":
    laboratory.run_case(messages, answers, commands, lines)
