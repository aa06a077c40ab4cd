#!/usr/bin/python3
"""The demonstration behind ./quickstart: real programs over Hostloom, and the same work kernel to kernel."""

import argparse
import os
import signal
import sys

import lab as laboratory
import programs as p
from lab import Failure, Lab


def rate_text(unit, value):
    return f"{value / 1e9:.1f} Gb/s" if unit == "bit/s" else f"{value:,.0f} {unit}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    laboratory.enter()

    rows, failed = [], False

    def row(program, role, unit, work, kernel):
        nonlocal failed
        print(f"  {program}: {role} ...", flush=True)
        try:
            ours = work()
            theirs = kernel()
            rows.append((program, role, "ok", rate_text(unit, ours), rate_text(unit, theirs), f"{ours / theirs:.2f}"))
        except Failure as e:
            failed = True
            rows.append((program, role, "FAILED", "", "", ""))
            print(f"{program}, {role}: {e}", file=sys.stderr)

    with Lab() as lab:
        version = lab.cli("show", "version").split("version", 1)[1].split()[0]
        print(f"Hostloom {version} runs; its TAP joins {laboratory.HOST_IP4} (kernel) and {laboratory.STACK_IP4} (Hostloom).")
        ours, ours_client, kernel = p.served_by_hostloom(lab), p.client_on_hostloom(lab), p.kernel_to_kernel(lab)
        congestion = lab.use_cubic()
        s = args.seconds
        row("iperf3", "server receives", "bit/s", lambda: p.iperf3(lab, ours, s), lambda: p.iperf3(lab, kernel, s))
        row("iperf3", "server sends", "bit/s", lambda: p.iperf3(lab, ours, s, reverse=True),
            lambda: p.iperf3(lab, kernel, s, reverse=True))
        row("iperf3", "client sends", "bit/s", lambda: p.iperf3(lab, ours_client, s), lambda: p.iperf3(lab, kernel, s))
        row("iperf3", "client receives", "bit/s", lambda: p.iperf3(lab, ours_client, s, reverse=True),
            lambda: p.iperf3(lab, kernel, s, reverse=True))

        def fetches(nginx, name):
            return 1 / max(min(p.curl_matches(lab, nginx, name) for _ in range(3)), 1e-6)

        with p.Nginx(lab, ours, workers=2) as n1, p.Nginx(lab, kernel, workers=2) as n2:
            row("nginx", "1 KB to curl, compared", "/s", lambda: fetches(n1, "1k"), lambda: fetches(n2, "1k"))
            row("nginx", "10 MB to curl, compared", "/s", lambda: fetches(n1, "10m"), lambda: fetches(n2, "10m"))
            row("nginx", "1 KB to wrk, keep-alive", "/s", lambda: p.wrk(lab, n1, seconds=s), lambda: p.wrk(lab, n2, seconds=s))
        with p.Redis(lab, ours) as r1, p.Redis(lab, kernel) as r2:
            for test in ("set", "get"):
                row("redis", f"{test.upper()}, 32 clients", "/s", lambda: r1.benchmark(test), lambda: r2.benchmark(test))

        head = ("program", "role", "result", "Hostloom", "kernel", "ratio")
        widths = [max(len(str(r[i])) for r in rows + [head]) for i in range(len(head))]
        print()
        for r in [head] + rows:
            print("  ".join(f"{c:<{w}}" if i < 3 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(r, widths))).rstrip())
        print("\nRatio: Hostloom over its TAP, of the kernel over a veth, one after the other on this machine, "
              f"whose TCP has {congestion.upper()}.")

        if args.keep and not failed:
            print(keep_text(lab), flush=True)
            try:
                signal.sigwait({signal.SIGINT, signal.SIGTERM})
            except KeyboardInterrupt:
                pass
    return 1 if failed else 0


def keep_text(lab):
    env = lab.preload()
    return f"""
The daemon goes on running; Ctrl-C ends it. From another terminal, as the same user:

  pid=$(pgrep -f '{lab.build}/bin/hostloom -c {lab.dir}')
  in_ns() {{ nsenter -t $pid --net --mount {'--user --preserve-credentials ' if os.environ.get('HOSTLOOM_LAB_USER') else ''}"$@"; }}
  in_ns {lab.build}/bin/loomctl -s {lab.dir}/run/api.sock show session verbose
  in_ns env LD_PRELOAD={env['LD_PRELOAD']} VCL_CONFIG={env['VCL_CONFIG']} iperf3 -s -B {laboratory.STACK_IP4}
  in_ns iperf3 -c {laboratory.STACK_IP4}
"""


if __name__ == "__main__":
    sys.exit(main())
