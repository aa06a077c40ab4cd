#!/usr/bin/python3
"""System tests of the tools for operators: network simulator, packet generator, event log. usage: tools_cases.py CASE"""

import hashlib
import json
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
import lab as laboratory  # noqa: E402
import programs as p  # noqa: E402
from cases import exchange, expect, expect_error, table  # noqa: E402
from lab import HOST_IP4, STACK_IP4, STACK_IP6, Lab, wait_until  # noqa: E402


def nsim():
    """A link with a delay is slower by that, and one that loses packets changes no byte."""
    with Lab(config_extra="tcp { max-gso-size 3000 }") as lab:
        lab.cli(*"set nsim delay 20 ms bandwidth 1 gbit packet-size 1500".split())
        lab.cli(*"nsim output-feature enable-disable tap0".split())
        for address in (STACK_IP4, STACK_IP6):
            said = lab.run(["ping", "-c", "3", "-i", "0.2", address]).stdout.decode()
            fastest = float(re.search(r"= ([\d.]+)/", said)[1])
            expect(fastest >= 20, f"a round trip of {fastest} ms over a link of 20 ms: {said}")

        lab.cli(*"set nsim delay 1 ms bandwidth 1 gbit drop-fraction 0.02 packets-per-reorder 50 seed 1".split())
        lab.cli("echo", "server", "uri", f"tcp://{STACK_IP4}/7")
        data = hashlib.shake_128(b"nsim").digest(3_000_000)
        expect(exchange(STACK_IP4, 7, data) == data, "the echo is not what was sent")
        row = table(lab, "show nsim", "workers")[0]
        expect(row["dropped"] > 0 and row["reordered"] > 0, f"nothing was lost or reordered: {row}")
        wait_until(lambda: table(lab, "show nsim", "workers")[0]["waiting"] == 0, "the link empties")
        lab.cli(*"nsim output-feature enable-disable tap0 disable".split())
        wait_until(lambda: lab.run(["ping", "-c", "1", STACK_IP4], check=False).returncode == 0, "it answers without the link, too")


def packet_generator():
    """A script of several lines, as VPP's users have them; what it sends is answered, and the answers are captured."""
    startup = ["create packet-generator interface pg0", "set interface ip address pg0 10.70.0.1/24", "set interface state pg0 up",
               "packet-generator new {", "  name echo limit 3 rate 1e3 interface pg0", "  data {",
               "    ICMP: 10.70.0.9 -> 10.70.0.1", "    ICMP echo_request", "    hex 0x00010002 incrementing 40  # 72 bytes",
               "  }", "}"]
    with Lab(startup=startup) as lab:
        file = lab.dir / "answers.pcap"
        lab.cli("packet-generator", "capture", "pg0", "pcap", str(file))
        lab.cli("packet-generator", "enable-stream", "echo")
        stream = lambda: table(lab, "show packet-generator", "streams")[0]
        wait_until(lambda: stream()["enabled"] == "no", "the stream ends")
        expect(stream()["sent"] == 3, f"{stream()}")
        wait_until(lambda: table(lab, "show packet-generator", "interfaces")[0]["captured"] > 0, "something is captured")
        lab.cli("packet-generator", "capture", "pg0", "disable")
        data = file.read_bytes()
        expect(data[:4] == b"\x4d\x3c\xb2\xa1" and data[52:54] == b"\x08\x06", f"the question for 10.70.0.9: {data!r}")
        row = next(r for r in table(lab, "show interface", "interfaces") if r["Name"] == "pg0")
        expect(row["RxPackets"] == 3, f"{row}")
        expect_error(lab, "'UPD:' at position", *"packet-generator new { name x interface pg0 data { UPD: 1 -> 2 } }".split())


def event_logger():
    """What has happened in a daemon is found in its event log, and in the file that it saves."""
    with Lab() as lab:
        lab.cli("perf", "server", "uri", f"tcp://{STACK_IP4}/1234")
        lab.cli("perf", "server", "delete", "uri", f"tcp://{STACK_IP4}/1234")
        lab.run([p.find("curl"), "-m", "60", f"http://{HOST_IP4}:9/"], env=lab.preload(), check=False)  # attaches, and goes
        expect_error(lab, "is not a number", "show", "event-logger", "nonsense")

        def events():
            return [(r["thread"], r["event"], r["details"]) for r in table(lab, "show event-logger all", "events")]

        wait_until(lambda: any(e == "detach" and "pid" in d for _, e, d in events()), "the application's end is there")
        wait_until(lambda: any(t == "loom-w0" and e == "wake" for t, e, _ in events()), "the worker has slept")
        found = events()
        for event, details in (("plugin", "tcp running"), ("interface", r"tap0 \(\d+\) admin up, link up"),
                               ("attach", r"application 'perf server .*' \(\d+\)"), ("attach", r"application .*, pid \d+"),
                               ("detach", r"application 'perf server .*"), ("cli", "set interface state tap0 up: ok"),
                               ("cli", "show event-logger nonsense: invalid argument"), ("barrier", "held for .* us, waited for .*"),
                               ("sleep", "next timer in .*|no timer")):
            expect(any(e == event and re.fullmatch(details, d) for _, e, d in found), f"no {event} of '{details}' in {found}")
        expect(not any(e == "api" for _, e, _ in found), "requests are kept before anybody asks for them")
        expect(not any(e.startswith("session-") for _, e, _ in found), "sessions are kept before anybody asks for them")
        lab.cli("event-logger", "trace", "session")
        lab.run([p.find("curl"), "-m", "60", f"http://{HOST_IP4}:9/"], env=lab.preload(), check=False)
        wait_until(lambda: any(e == "session-free" for _, e, _ in events()), "the session has ended")
        steps = [(t, e, d) for t, e, d in events() if e.startswith("session-")]
        expect([e for _, e, _ in steps] == ["session-open", "session-connected", "session-free"], f"steps: {steps}")
        handles = {re.match(r"session (0x[0-9a-f]+) \(tcp\) of application '", d).group(1) for _, _, d in steps}
        expect(len(handles) == 1 and "refused" in steps[1][2] and steps[0][0].startswith("loom-w"), f"steps: {steps}")
        lab.cli("event-logger", "trace", "api")
        wait_until(lambda: any(e == "api" and d.startswith("cli_inband, ") for _, e, d in events()), "a request is there")

        lab.cli("event-logger", "stop")
        lab.cli("event-logger", "save", "events.jsonl")
        lines = [json.loads(line) for line in (lab.dir / "run/events.jsonl").read_text().splitlines()]
        expect(lines[0]["hostloom_events"] == 1 and abs(lines[0]["wall_ns"] / 1e9 - time.time()) < 600, f"{lines[0]}")
        times = [x["time_ns"] for x in lines[1:]]
        expect(len(times) >= len(found) and times == sorted(times), "the events of the file are not in order")
        expect(any(x["event"] == "plugin" and x["text"] == "tap running" for x in lines[1:]), "tap is not in the file")
        expect_error(lab, "is not the name of a file alone", "event-logger", "save", "../events")


if __name__ == "__main__":
    laboratory.run_case(nsim, packet_generator, event_logger)
