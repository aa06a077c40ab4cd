#!/usr/bin/python3
"""A live table of a daemon's connections: who talks to whom, and how much since the last look.

    python3 session_table.py [API-SOCKET] [--interval SECONDS] [--once]
"""

import argparse
import sys
import time

import hostloom

CLEAR = "\x1b[H\x1b[J"
COLUMNS = ("proto", "local", "remote", "state", "rx bytes", "tx bytes", "application")


def connections(h: hostloom.Connection) -> list[dict]:
    return h.cli("show session verbose 1", json=True).get("connections", [])


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
