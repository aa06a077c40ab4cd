"""The same for asyncio: `async with hostloom.aio.connect() as h: print((await h.api.show_version()).version)`.

Every function of `api`, and `cli`, is a coroutine; cancelling one forgets its request. The event loop never waits:
answers come from the connection's own thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generator

from . import _core
from .base import DEFAULT_TIMEOUT, Base
from .calls import Request

if TYPE_CHECKING:
    from . import _messages


class Connection(Base):
    """A connection to one daemon for asyncio; see `hostloom.Connection`."""

    if TYPE_CHECKING:
        api: _messages.AioApi
        events: _messages.AioEvents
        types: type[_messages.Types]

    _is_async = True

    async def _ask(self, request: Request, values: dict, timeout: float | None) -> tuple:
        self._check()
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()

        def settle(outcome: Any) -> None:
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        def done(outcome: Any) -> None:  # on the connection's thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, outcome)

        ticket = self._core.start(request.name, values, self.timeout if timeout is None else timeout, done)
        try:
            return await future
        except asyncio.CancelledError:
            self._core.cancel(ticket)
            raise

    async def _send(self, request: Request, values: dict, timeout: float | None = None) -> Any:
        return request.result(*await self._ask(request, values, timeout))

    async def cli(self, line: str, *, json: bool = False, timeout: float | None = None) -> Any:
        """Runs a command line and returns what it prints; with json=True, the data behind it."""
        request, values = self._command(line, json)
        reply, _ = await self._ask(request, values, timeout)
        return self._output(line, reply, json)

    async def close(self) -> None:
        """Ends the connection; requests in flight end with ClosedError."""
        await asyncio.get_running_loop().run_in_executor(None, self._core.close)

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class _Connecting:
    """What connect() returns: to be awaited, or entered by `async with`."""

    def __init__(self, path: str, timeout: float, name: str):
        self._arguments = (path, name, timeout)
        self._connection: Connection | None = None

    async def _connect(self) -> Connection:
        path, name, timeout = self._arguments
        core = await asyncio.get_running_loop().run_in_executor(None, _core.Connection, path, name, timeout)
        return Connection(core, path, timeout)

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._connect().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._connect()
        return self._connection

    async def __aexit__(self, *exc: object) -> None:
        if self._connection is not None:
            await self._connection.close()


def connect(path: str | None = None, *, timeout: float = DEFAULT_TIMEOUT, name: str = "python") -> _Connecting:
    """Connects to a daemon; await it or enter it by `async with`. Arguments as hostloom.connect()."""
    return _Connecting(str(path) if path is not None else _core.default_socket(), timeout, name)
