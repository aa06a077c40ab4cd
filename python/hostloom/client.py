"""The synchronous connection: `with hostloom.connect() as h: print(h.api.show_version().version)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from .base import DEFAULT_TIMEOUT, Base
from .calls import Request

if TYPE_CHECKING:
    from . import _messages


class Connection(Base):
    """A connection to one daemon. Any thread may use it; several requests may be in flight.

    api     one function for each request: h.api.sw_interface_dump(). help() on it says what it takes and returns.
    events  streams of events: with h.events.interface() as events: ...
    types   the classes of arguments and results: h.types.IfStatusFlags.ADMIN_UP
    cli     command lines, as loomctl takes them
    stats   counters from shared memory
    """

    if TYPE_CHECKING:
        api: _messages.Api
        events: _messages.Events
        types: type[_messages.Types]

    def _send(self, request: Request, values: dict, timeout: float | None = None) -> Any:
        self._check()
        reply, details = self._core.request(request.name, values, self.timeout if timeout is None else timeout)
        return request.result(reply, details)

    def cli(self, line: str, *, json: bool = False, timeout: float | None = None) -> Any:
        """Runs a command line and returns what it prints; with json=True, the data behind it.

        Raises CommandError, whose text is the daemon's, when the command fails.
        """
        self._check()
        request, values = self._command(line, json)
        reply, _ = self._core.request(request.name, values, self.timeout if timeout is None else timeout)
        return self._output(line, reply, json)

    def close(self) -> None:
        """Ends the connection; requests in flight end with ClosedError."""
        self._core.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(path: str | None = None, *, timeout: float = DEFAULT_TIMEOUT, name: str = "python") -> Connection:
    """Connects to the daemon at `path`: by default $HOSTLOOM_API_SOCKET, this user's own daemon, the system's.

    timeout: seconds to wait for the connection, and for each answer unless a call says otherwise.
    name: what the daemon shows of this client.
    Raises ConnectError when nothing listens there.
    """
    where = str(path) if path is not None else _core.default_socket()
    return Connection(_core.Connection(where, name, timeout), where, timeout)
