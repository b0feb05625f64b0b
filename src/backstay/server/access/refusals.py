"""Refused attempts -> what the journal is told. Pure; the time is an argument.

The first of a kind is told at once, its repetitions as one number a minute: a flood costs the journal a line a minute
for each of at most KINDS_LIMIT kinds, and the rest share one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=1)
KINDS_LIMIT = 60
ADDRESSES_LIMIT = 20  # that one line names
SHARED = "many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Refusals that one line of the journal tells of."""

    who: str  # "alice", "token/deploy", "agent/lb1", "nobody"; SHARED: too many to name
    what: str  # "POST /api/v1/changes"
    code: str  # "role", "csrf", "password", ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A line of the journal."""

    kind: Kind
    times: int
    addresses: tuple[str, ...]
    since: datetime


@dataclass(slots=True)
class _Window:
    since: datetime
    told: int = 0
    times: int = 0
    addresses: list[str] = field(default_factory=list)


_THE_REST = Kind(who=SHARED, what="any", code="many")


class Refusals:
    """What was refused in the last minute. One a server process."""

    def __init__(self) -> None:
        self._windows: dict[Kind, _Window] = {}

    def note(self, kind: Kind, address: str, now: datetime) -> Telling | None:
        """One more. What to tell at once; None: `due` will."""
        if kind not in self._windows and len(self._windows) >= KINDS_LIMIT:
            kind = _THE_REST
        first = kind not in self._windows
        window = self._windows.setdefault(kind, _Window(since=now))
        window.times += 1
        if address not in window.addresses and len(window.addresses) < ADDRESSES_LIMIT:
            window.addresses.append(address)
        if not first or kind is _THE_REST:
            return None
        window.told = 1
        return Telling(kind=kind, times=1, addresses=(address,), since=now)

    def due(self, now: datetime, *, all_of_them: bool = False) -> list[Telling]:
        """Close windows that are a minute old (at the end: all), and tell what was not told of them yet."""
        closed = {kind: window for kind, window in self._windows.items() if all_of_them or now - window.since >= WINDOW}
        for kind in closed:
            del self._windows[kind]
        return [
            Telling(kind=kind, times=window.times - window.told, addresses=tuple(window.addresses), since=window.since)
            for kind, window in closed.items()
            if window.times > window.told
        ]
