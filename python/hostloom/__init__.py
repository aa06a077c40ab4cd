"""Hostloom from Python: the binary API, the command line, events and statistics of a running daemon.

    import hostloom
    with hostloom.connect() as h:
        print(h.api.show_version().version)
        for i in h.api.sw_interface_dump():
            print(i.interface_name, i.flags)
        print(h.cli("show session"))

What a daemon can do is what it describes itself: `dir(h.api)` lists its requests, `help(h.api.show_version)` explains
one, and plugins' messages are among them. `hostloom.aio` is the same for asyncio.
"""

from . import aio
from .calls import Namespace
from .client import Connection, connect
from .errors import (ApiError, BusyError, ClosedError, CommandError, ConnectError, Error, InvalidValueError,
                     ProtocolError, TimeoutError, UnsupportedError)
from .events import AsyncEventStream, EventStream
from .stats import Combined, Counters, Stats

__all__ = ["connect", "Connection", "aio", "Stats", "Counters", "Combined", "EventStream", "AsyncEventStream", "Namespace",
           "Error", "ApiError", "CommandError", "ConnectError", "ClosedError", "TimeoutError", "UnsupportedError",
           "InvalidValueError", "ProtocolError", "BusyError"]
__version__ = "0.1.0"
