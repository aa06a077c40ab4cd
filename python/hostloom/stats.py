"""Statistics, read straight from the daemon's shared memory: counters cost the daemon nothing to be looked at.

    h.stats["/sys/heartbeat"]       one value
    h.stats["/sys/session/*"]       a dict of all that match; * and ? also match '/'
    for name in h.stats: ...        the names there are
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from . import _core
from .errors import UnsupportedError


class Combined(NamedTuple):
    packets: int
    bytes: int


class Counters(list):
    """Values by worker, then by index (an interface, a node, an error): numbers, or Combined."""

    def __init__(self, rows: Iterable[Any] = (), zero: Any = 0):
        super().__init__(rows)
        self._zero = zero  # of what kind a sum of nothing is

    def sum(self, index: int | None = None) -> Any:
        """Over all workers: of all indexes, or of one; nothing is added where a worker has none."""
        cells = [cell for row in self for cell in (row if index is None else row[index:index + 1])]
        if isinstance(self._zero, Combined):
            return Combined(sum(c.packets for c in cells), sum(c.bytes for c in cells))
        return sum(cells)


def _value(kind: str, value: Any) -> Any:
    if kind == "simple":
        return Counters(value)
    if kind == "combined":
        return Counters([[Combined(*cell) for cell in row] for row in value], Combined(0, 0))
    return value


class Stats(Mapping[str, Any]):
    """The statistics of one daemon, by name or pattern. Raises KeyError for a name that does not exist."""

    def __init__(self, path: str | None = None, *, timeout: float = 2.0):
        """path: the statistics socket; by default $HOSTLOOM_STATS_SOCKET, this user's own daemon's, the system's."""
        self._reader = _core.StatsReader(str(path) if path is not None else _core.default_stats_socket(), timeout)

    @classmethod
    def beside(cls, api_socket: str) -> "Stats":
        """Those of the daemon that listens at an API socket: its sockets are in one folder."""
        return cls(os.environ.get("HOSTLOOM_STATS_SOCKET") or
                   os.path.join(os.path.dirname(os.path.abspath(api_socket)), "stats.sock"))

    def __getitem__(self, name: str) -> Any:
        if any(c in name for c in "*?["):
            return {n: _value(kind, value) for n, kind, value in self._reader.dump(name)}
        try:
            _, kind, value = self._reader.read(name)
        except UnsupportedError:  # there is none of that name
            raise KeyError(name) from None
        return _value(kind, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reader.names())

    def __len__(self) -> int:
        return len(self._reader.names())

    def heartbeat(self) -> int:
        """Grows with every update of the daemon's."""
        return self._reader.heartbeat()
