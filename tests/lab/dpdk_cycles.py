"""Time-stamp cycles for a packet that is received and sent on one of DPDK's devices of software, by the driver and by testpmd."""

import pathlib
import re
import shutil
import subprocess
import time

from lab import Failure


def program(build):
    """What measures the driver; it is built where -DHOSTLOOM_BENCH=ON was said."""
    return pathlib.Path(build) / "bench/dpdk_io"


def can_measure(build):
    return program(build).exists() and shutil.which("dpdk-testpmd") is not None


def hostloom(build, kind):
    """By our driver; and all that was measured, as text. kind: "net_null", "net_ring"."""
    text = subprocess.run([program(build), kind], check=True, capture_output=True, text=True).stdout
    return float(re.search(r"^hostloom .* both +([\d.]+)", text, re.M)[1]), text


def testpmd(kind, seconds=3):
    """By testpmd's mode "io", as it counts them itself."""
    done = subprocess.Popen([shutil.which("dpdk-testpmd"), "--no-huge", "--no-pci", "-m", "256", "--no-telemetry",
                             "--no-shconf", "-l", "0,1", "--vdev", f"{kind}0", "--", "--forward-mode=io",
                             "--record-core-cycles", "--auto-start", "--tx-first", "--stats-period", "0",
                             "--total-num-mbufs=8192"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(seconds)  # it counts for as long as it is let
    text = done.communicate("\n", timeout=60)[0]
    found = re.search(r"CPU cycles/packet=([\d.]+)", text)
    if not found:
        raise Failure(f"testpmd did not count:\n{text[-2000:]}")
    return float(found[1])
