"""Events as iterators: `with h.events.interface() as events: for e in events: ...`, and the same with `async`.

Each attribute of `h.events` belongs to a request `want_X_events`, takes its other arguments, sends it on entry with
enable=True, and with enable=False when the last stream of that kind with these arguments on the connection is left.

A daemon that takes several filters from one connection sends an event once for each that it matches, with the pid that
came with the filter. So each filter has a pid of its own, a number above the process's, and streams see no others' events.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import threading
from typing import Any, Callable, Generic, Iterator, TypeVar

from .calls import Annotation, Namespace, Request
from .errors import ApiError, ClosedError, TimeoutError
from .model import Model

MOST_WAITING = 65536  # events that nobody has taken yet; further ones are counted in `lost`
_PID_BITS = 22  # Linux has no larger ones
_MOST_FILTERS = 1 << (32 - _PID_BITS)
_END = object()
Event = TypeVar("Event")


class Kind:
    """One want_X_events of a connection."""

    def __init__(self, model: Model, request: Request, events: list[str]):
        self.request = request
        self.make = {e: model.message(e) for e in events}
        self.classes = {e: model.message_class(e) for e in events}
        names = [f.name for f in request.fields]
        self.switch = next((n for n in ("enable", "enable_disable") if n in names), None)
        self.has_pid = "pid" in names
        self._filters = [f for f in request.fields if f.name not in (self.switch, "pid")]
        self._users: dict[str, int] = {}    # streams that are open, by their filter's text
        self._numbers: dict[str, int] = {}  # and the filter's number
        # Held while an EventStream is entered or left: else one's last request might overtake another's first. Those
        # for asyncio need no such care: requests are sent in the order in which an event loop begins them.
        self.lock = threading.RLock()

    def arguments(self, enable: bool, given: dict) -> dict:
        plain = self.request.plain(given)
        if self.switch:
            plain[self.switch] = int(enable)
        if self.has_pid:
            plain.setdefault("pid", os.getpid())
        return plain

    def filter(self, plain: dict) -> str:
        """What a daemon that takes several subscriptions of one client tells them apart by."""
        return repr([plain[f.name] if f.name in plain else f.kind.to_plain(f.default) for f in self._filters])

    def added(self, filter: str) -> int:
        """The filter's number."""
        with self.lock:
            self._users[filter] = self._users.get(filter, 0) + 1
            if filter not in self._numbers:
                taken = set(self._numbers.values())
                self._numbers[filter] = next((n for n in range(_MOST_FILTERS) if n not in taken), 0)
            return self._numbers[filter] if self._filters and self.switch else 0

    def is_last(self, filter: str) -> bool:
        with self.lock:
            self._users[filter] -= 1
            return self._users[filter] == 0

    def forget(self, filter: str) -> None:
        """After is_last(), once the daemon sends nothing more: the filter's number is another's."""
        with self.lock:
            if self._users.get(filter) == 0:
                del self._users[filter], self._numbers[filter]


class _Stream:
    """What both kinds of streams share: subscribing on the connection's thread."""

    def __init__(self, core: Any, kind: Kind, given: dict):
        self._core, self._kind, self._given = core, kind, given
        self._plain_on = kind.arguments(True, given)  # bad arguments are an error here
        self._filter = kind.filter(self._plain_on)
        self._tickets: list[int] = []
        self.lost = 0  # events that came while MOST_WAITING waited
        self._is_over = False

    _queue: Any

    def _deliver(self, event: Any) -> None:
        """Events are lost when nobody takes them; an end is not, and what waits makes room for it."""
        is_end = event is _END or isinstance(event, Exception)
        while True:
            try:
                return self._queue.put_nowait(event)
            except (queue.Full, asyncio.QueueFull):
                self.lost += 1
                if not is_end:
                    return None
                self._queue.get_nowait()

    def _take(self, event: Any) -> Any:
        """What get() returns or raises for what it found."""
        if self._is_over:
            event = _END
        if event is _END or isinstance(event, Exception):
            self._deliver(event)  # for whoever asks again
            raise ClosedError("the stream is closed") if event is _END else event
        return event

    def _close(self) -> None:
        self._unsubscribe()
        self._is_over = True
        self._deliver(_END)

    def _open(self, deliver: Callable[[Any], None]) -> dict:
        """Subscribes; returns the request to send."""
        number = self._kind.added(self._filter)
        own = os.getpid()
        is_own = self._plain_on.get("pid") == own  # and not the caller's, who may have a use for it
        for event, make in self._kind.make.items():
            def each(value: Any, make=make) -> None:
                if isinstance(value, Exception):
                    return deliver(value)
                pid = value.get("pid", 0)
                if is_own and pid % (1 << _PID_BITS) == own:
                    if pid >> _PID_BITS != number:
                        return  # another filter's
                    value["pid"] = own
                deliver(make(value))
            self._tickets.append(self._core.subscribe(event, each))
        return self._plain_on | ({"pid": own + (number << _PID_BITS)} if is_own else {})

    def _give_up(self) -> None:
        """What was opened has not been granted."""
        self._unsubscribe()
        if self._kind.is_last(self._filter):
            self._kind.forget(self._filter)

    def _unsubscribe(self) -> None:
        for ticket in self._tickets:
            self._core.unsubscribe(ticket)
        self._tickets.clear()


def _ignore_if_over(e: Exception) -> None:
    """A subscription ends with the connection, and with the interface that it was about."""
    if isinstance(e, ApiError) and e.reason != "NO_SUCH_ENTRY":
        raise e


class EventStream(_Stream, Generic[Event]):
    """Events of one kind, in the order in which they came. Iterating waits for the next one."""

    def __init__(self, core: Any, kind: Kind, given: dict, send: Callable[[Request, dict], Any]):
        super().__init__(core, kind, given)
        self._send = send
        self._queue = queue.Queue(MOST_WAITING)

    def __enter__(self) -> EventStream[Event]:
        with self._kind.lock:
            request = self._open(self._deliver)
            try:
                self._send(self._kind.request, request)
            except BaseException:
                self._give_up()
                raise
        return self

    def __exit__(self, *exc: object) -> None:
        with self._kind.lock:
            if not self._tickets:
                return
            self._close()
            if not self._kind.is_last(self._filter):
                return
            try:
                if self._kind.switch:
                    self._send(self._kind.request, self._kind.arguments(False, self._given))
            except (ClosedError, ApiError) as e:
                _ignore_if_over(e)
            finally:
                self._kind.forget(self._filter)

    def close(self) -> None:
        """Ends the stream; an iteration over it ends, too."""
        self.__exit__()

    def get(self, timeout: float | None = None) -> Event:
        """The next event. Raises TimeoutError after `timeout` seconds, ClosedError when the connection has ended."""
        try:
            event = self._queue.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no event within {timeout:g} s") from None
        return self._take(event)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return self.get()
        except ClosedError:
            if self._is_over:
                raise StopIteration from None
            raise


class AsyncEventStream(_Stream, Generic[Event]):
    """Events of one kind for `async for`; see EventStream."""

    def __init__(self, core: Any, kind: Kind, given: dict, send: Callable[[Request, dict], Any]):
        super().__init__(core, kind, given)
        self._send = send
        self._queue = asyncio.Queue(MOST_WAITING)

    async def __aenter__(self) -> AsyncEventStream[Event]:
        loop = asyncio.get_running_loop()

        def deliver(event: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver, event)

        request = self._open(deliver)
        try:
            await self._send(self._kind.request, request)
        except BaseException:
            self._give_up()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if not self._tickets:
            return
        self._close()
        if not self._kind.is_last(self._filter):
            return
        try:
            if self._kind.switch:
                await self._send(self._kind.request, self._kind.arguments(False, self._given))
        except (ClosedError, ApiError) as e:
            _ignore_if_over(e)
        finally:
            self._kind.forget(self._filter)

    async def get(self, timeout: float | None = None) -> Event:
        """The next event. Raises TimeoutError after `timeout` seconds, ClosedError when the connection has ended."""
        try:
            # What is there needs no waiting: with timeout=0, wait_for() would not even look.
            event = self._queue.get_nowait() if not self._queue.empty() else \
                await asyncio.wait_for(self._queue.get(), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"no event within {timeout:g} s") from None
        return self._take(event)

    def __aiter__(self) -> AsyncEventStream[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.get()
        except ClosedError:
            if self._is_over:
                raise StopAsyncIteration from None
            raise


def short_name(request: str) -> str:
    """want_interface_events -> interface."""
    return request.removeprefix("want_").removesuffix("_events")


def namespace(core: Any, model: Model, requests: list[Request], send: Callable, stream: type) -> Namespace:
    """`h.events`: a function for each want_X_events, which returns a stream to enter."""
    members = {}
    for request in requests:
        events = model.description["services"][request.name]["events"]
        if events:
            kind = Kind(model, request, events)
            members[short_name(request.name)] = _opener(core, kind, send, stream)
    return Namespace("kind of events", members)


def _opener(core: Any, kind: Kind, send: Callable, stream: type) -> Callable:
    def open_stream(**arguments: Any) -> Any:
        return stream(core, kind, arguments, send)

    made: Any = open_stream
    hidden = {kind.switch, "pid"}
    signature = kind.request.signature()
    parameters = [p for n, p in signature.parameters.items() if n not in hidden and n != "_timeout"]
    classes = " | ".join(c.__name__ for c in kind.classes.values())
    made.__name__ = made.__qualname__ = short_name(kind.request.name)
    made.__module__ = "hostloom.events"
    made.__signature__ = inspect.Signature(parameters,
                                                   return_annotation=Annotation(f"{stream.__name__}[{classes}]"))
    made.__doc__ = "\n".join([kind.request.comment, "", f"A stream of {classes}, to be entered by `with`.", ""] +
                                    [f"{c.__name__}: {c.__doc__}" for c in kind.classes.values()])
    return made
