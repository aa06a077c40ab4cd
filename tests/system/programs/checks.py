"""What programs of system tests say of what they find."""

import socket
import sys
import time


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def await_stamps(s, ask):
    """Until datagrams have the time when they came: Linux begins with that a moment after the first socket of the machine has
    asked, when its threads have switched it on, and goes on for as long as one asks, which `s` does. ask: lets one come to it."""
    s.setsockopt(socket.SOL_SOCKET, 37, 0x18)  # SO_TIMESTAMPING: of the software, received; without a time no message
    for _ in range(6000):
        ask()
        if s.recvmsg(100, 500)[1]:
            return
        time.sleep(0.01)  # nothing tells, and those threads are not ahead of a program that never waits
    sys.exit("FAILED: none has the time when it came")


def failure(call, *arguments):
    """The errno of a call that fails, or 0."""
    try:
        call(*arguments)
    except OSError as e:
        return e.errno
    return 0
