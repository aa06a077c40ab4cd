#!/usr/bin/python3
"""Starts two daemons on one Ethernet segment, configures both from here, and runs a transfer between them.

    sudo unshare --net python3 two_daemons.py [--prefix PREFIX] [--megabytes N]

Each daemon has a TAP on a bridge of the kernel's, which is the wire between them. The sender and the receiver are
ordinary socket programs that run over their daemon by LD_PRELOAD.
"""

import argparse
import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time

import hostloom

BRIDGE, PORT = "loombr0", "4000"
RECEIVER = """
import hashlib, socket, sys
address, port = sys.argv[1:]
with socket.create_server((address, int(port))) as listener:
    print("listening", flush=True)
    peer, _ = listener.accept()
    digest, n = hashlib.sha256(), 0
    while data := peer.recv(1 << 16):
        digest.update(data)
        n += len(data)
print(n, digest.hexdigest())
"""
SENDER = """
import hashlib, socket, sys
address, port, n_bytes = sys.argv[1:]
block = hashlib.shake_128(b"hostloom").digest(1_000_000)
digest, left = hashlib.sha256(), int(n_bytes)
with socket.create_connection((address, int(port))) as s:
    while left:
        part = block[:left]
        s.sendall(part)
        digest.update(part)
        left -= len(part)
print(n_bytes, digest.hexdigest())
"""


class Daemon:
    """A daemon of our own with nothing configured yet, and programs that run over it."""

    def __init__(self, name: str, prefix: pathlib.Path, folder: pathlib.Path):
        self.name = name
        self.run = folder / name
        config = folder / f"{name}.conf"
        config.write_text(f"unix {{ log {folder}/{name}.log pidfile {folder}/{name}.pid runtime-dir {self.run} }}\n"
                          f"plugins {{ path {prefix}/lib/hostloom/plugins }}\n")
        (folder / f"{name}.vcl").write_text(f"vcl {{ app-socket-api {self.run}/app_ns_sockets/default }}\n")
        preload = next(prefix.glob("lib/**/libvcl_ldpreload.so"))
        self.environment = dict(os.environ, LD_PRELOAD=str(preload), VCL_CONFIG=str(folder / f"{name}.vcl"))
        # It goes into the background, and the command returns, when it is ready.
        subprocess.run([str(prefix / "bin/hostloom"), "-c", str(config)], check=True)
        self.pidfd = os.pidfd_open(int((folder / f"{name}.pid").read_text()))

    def connect(self) -> hostloom.Connection:
        return hostloom.connect(str(self.run / "api.sock"), name="two_daemons")

    def program(self, text: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", text, *arguments], env=self.environment, stdout=subprocess.PIPE,
                                text=True)

    def stop(self) -> None:
        with os.fdopen(self.pidfd) as process:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)
            select.select([process], [], [])  # until it has ended


def configure(h: hostloom.Connection, name: str, address: str) -> None:
    version = h.api.show_version()
    print(f"{name}: {version.program} {version.version}, process {h.api.control_ping().vpe_pid}")
    tap = h.api.tap_create_v3(host_if_name_set=True, host_if_name=f"{name}0", host_bridge_set=True, host_bridge=BRIDGE,
                              tap_flags=h.types.TapFlags.GSO)
    h.api.sw_interface_add_del_address(sw_if_index=tap.sw_if_index, prefix=f"{address}/24")
    h.api.sw_interface_set_flags(sw_if_index=tap.sw_if_index, flags=h.types.IfStatusFlags.ADMIN_UP)


def main() -> int:
    parser = argparse.ArgumentParser(description="Configures two daemons and runs a transfer between them.")
    parser.add_argument("--prefix", default="/usr/local", type=pathlib.Path, help="where Hostloom is installed")
    parser.add_argument("--megabytes", type=int, default=100, help="how much is sent (100)")
    args = parser.parse_args()
    n_bytes = args.megabytes * 1_000_000
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)

    with tempfile.TemporaryDirectory(prefix="hostloom-") as folder, contextlib.ExitStack() as cleanup:
        daemons = {}
        for name, address in (("left", "10.90.0.1"), ("right", "10.90.0.2")):
            daemons[name] = daemon = Daemon(name, args.prefix, pathlib.Path(folder))
            cleanup.callback(daemon.stop)
            configure(cleanup.enter_context(daemon.connect()), name, address)

        receiver = daemons["right"].program(RECEIVER, "10.90.0.2", PORT)
        cleanup.callback(receiver.kill)
        assert receiver.stdout is not None
        receiver.stdout.readline()  # it listens
        start = time.monotonic()
        sender = daemons["left"].program(SENDER, "10.90.0.2", PORT, str(n_bytes))
        cleanup.callback(sender.kill)
        sent, _ = sender.communicate(timeout=300)
        received, _ = receiver.communicate(timeout=60)
        seconds = time.monotonic() - start
        if not sent or sent != received:
            print(f"sent {sent!r}, received {received!r}", file=sys.stderr)
            return 1
        print(f"{n_bytes} bytes arrived as they were sent, {n_bytes * 8 / seconds / 1e6:.0f} Mb/s")
    subprocess.run(["ip", "link", "del", BRIDGE], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
