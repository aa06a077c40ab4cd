"""What the synchronous and the asyncio connection share: the compiled connection, the model, the namespaces."""

from __future__ import annotations

import atexit
import json
import os
import weakref
from typing import Any, Callable

from . import _core, events
from .calls import Namespace, Request, function, requests
from .errors import ClosedError, CommandError, UnsupportedError
from .model import Model
from .stats import Stats

DEFAULT_TIMEOUT = 10.0

_models: dict[str, Model] = {}
_open: "weakref.WeakSet[Base]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Threads that call into Python must end before Python does."""
    for connection in list(_open):
        connection._core.close()
    _core.finish_closing()


def model_of(description: dict) -> Model:
    """One model for daemons that describe themselves alike, so that their classes are the same."""
    key = json.dumps(description, sort_keys=True)
    if key not in _models:
        _models[key] = Model(description)
    return _models[key]


class Base:
    """A connection to one daemon; the base of `Connection` and `aio.Connection`."""

    def __init__(self, core: _core.Connection, path: str, timeout: float):
        self.path, self.timeout = path, timeout
        self._core = core
        self._pid = os.getpid()
        self._stats: Stats | None = None
        self.model = model_of(core.describe())
        all_requests = list(requests(self.model, core.table()))
        self._requests = {r.name: r for r in all_requests}
        is_async = self._is_async
        self.api = Namespace("message", {r.name: function(r, self._send, is_async) for r in all_requests})
        stream = events.AsyncEventStream if is_async else events.EventStream
        self.events = events.namespace(core, self.model, all_requests, self._send, stream)
        self.types = Namespace("type", dict(self.model.types))
        _open.add(self)

    _is_async = False
    _send: Callable[..., Any]
    # Namespaces; the connections say of which stubs.
    api: Any
    events: Any
    types: Any

    @property
    def stats(self) -> Stats:
        """Counters, read from shared memory: `h.stats["/sys/session/*"]`. Asks the daemon nothing after the first use."""
        if self._stats is None:
            self._stats = Stats.beside(self.path)
        return self._stats

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise ClosedError("a connection does not survive fork(); connect anew in the child")

    def _command(self, line: str, as_json: bool) -> tuple[Request, dict]:
        request = self._requests.get("cli_inband")
        if request is None:
            raise UnsupportedError("this daemon has no message cli_inband")
        return request, {"cmd": f"json {line}" if as_json else line}

    @staticmethod
    def _output(line: str, reply: Any, as_json: bool) -> Any:
        if reply["retval"] != 0:
            raise CommandError(line, reply["retval"], reply["reply"])
        return json.loads(reply["reply"]) if as_json else reply["reply"]

    def __repr__(self) -> str:
        return f"<hostloom {type(self).__name__} {self.path}>"
