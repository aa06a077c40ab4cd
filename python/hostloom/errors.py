"""Exceptions. All are `hostloom.Error`; those that have a counterpart in Python are that, too."""

from __future__ import annotations

import builtins
from typing import Any

from . import _core


class Error(Exception):
    """Anything that hostloom raises on its own account."""


class ConnectError(Error, ConnectionError):
    """Nothing listens at the socket, or it may not be used, or does not speak the binary API."""


class ClosedError(Error, ConnectionError):
    """The connection has ended, or ended while the answer was waited for."""


class TimeoutError(Error, builtins.TimeoutError):
    """No answer in time. The connection stays usable."""


class UnsupportedError(Error):
    """This daemon has no such message, or another layout of it; the text names it."""


class InvalidValueError(Error, ValueError):
    """An argument does not fit its field; the text names the field and the value."""


class ProtocolError(Error):
    """What the daemon sent does not decode."""


class BusyError(Error):
    """The daemon does not read its requests; too many wait already."""


class ApiError(Error):
    """The daemon said no: `retval` is its code, `reason` the code's name (`NO_SUCH_ENTRY`), `reply` the whole answer."""

    def __init__(self, message: str, retval: int, reply: Any = None):
        self.message, self.retval, self.reply = message, retval, reply
        self.reason: str = _core.RETVALS.get(retval, f"retval {retval}")
        super().__init__(f"{message}: {self.reason} ({retval})")

    def __reduce__(self):
        return type(self), (self.message, self.retval, self.reply)


class CommandError(ApiError):
    """A command line failed: `text` is what the daemon says about it."""

    def __init__(self, line: str, retval: int, text: str):
        super().__init__(f"{line}", retval)
        self.line, self.text = line, text
        self.args = (text.rstrip() or self.args[0],)

    def __reduce__(self):
        return type(self), (self.line, self.retval, self.text)


_BY_STATUS: dict[str, type[Error]] = {
    "not connected": ConnectError, "not permitted": ConnectError, "refused": ConnectError, "i/o error": ConnectError,
    "closed": ClosedError, "timed out": TimeoutError, "unsupported": UnsupportedError, "not found": UnsupportedError,
    "invalid argument": InvalidValueError, "malformed": ProtocolError, "again": BusyError,
}


def from_status(status: str, message: str) -> Error:
    """The exception for an error of the compiled part; it calls this."""
    return _BY_STATUS.get(status, Error)(message)
