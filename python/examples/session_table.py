#!/usr/bin/python3
"""A live table of a daemon's connections: who talks to whom, and how much since the last look.

    python3 session_table.py [API-SOCKET] [--interval SECONDS] [--once]
"""

import argparse
import sys
import time

import hostloom

CLEAR = "\x1b[H\x1b[J"
COLUMNS = ("proto", "local", "remote", "state", "received", "acked", "cwnd", "rtt ms", "resent", "application")


def end(address: object, port: int) -> str:
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def connections(h: hostloom.Connection) -> list[dict]:
    """Every open session, with what TCP knows of it when it is TCP's."""
    tcp = {c.session_handle: c for c in h.api.tcp_connection_dump()} if "tcp_connection_dump" in h.api else {}
    rows = []
    for s in h.api.session_dump(kind=h.types.SessionKind.CONNECTION):
        state = s.state.name.lower() if isinstance(s.state, h.types.SessionState) else str(s.state)
        row = {"proto": s.transport, "local": end(s.local, s.local_port), "remote": end(s.remote, s.remote_port),
               "state": state, "received": s.bytes_received, "acked": s.bytes_acked, "application": s.app}
        if c := tcp.get(s.handle):
            row |= {"cwnd": c.cwnd, "rtt ms": f"{c.srtt / 1000:.2f}", "resent": c.retransmits}
        rows.append(row)
    return sorted(rows, key=lambda row: (row["local"], row["remote"]))


def table(rows: list[dict]) -> str:
    lines = [COLUMNS] + [tuple(str(row.get(c, "")) for c in COLUMNS) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Shows a daemon's connections, again and again.")
    parser.add_argument("socket", nargs="?", help="the daemon's API socket")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (1)")
    parser.add_argument("--once", action="store_true", help="look once")
    args = parser.parse_args()
    try:
        with hostloom.connect(args.socket) as h:
            while True:
                rows = connections(h)
                if sys.stdout.isatty():
                    print(CLEAR, end="")
                print(f"{len(rows)} connections of {h.path}\n{table(rows)}", flush=True)
                if args.once:
                    return 0
                time.sleep(args.interval)
    except hostloom.ClosedError:
        print("the daemon has gone")
        return 1
    except hostloom.ConnectError as e:
        print(e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
