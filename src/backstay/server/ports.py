"""What the server needs from outside: a place that keeps what people changed and agents said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backstay.journal.model import Event
from backstay.link.wire import OrderOutcome, Report
from backstay.server.model import AgentRecord, EndedChange, EstateRevision, ServerChange, ServerOrder


class StoreError(Exception):
    """The database did not take or give it: what, where, what next. Nothing was altered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Cheap to ask; tells whether anything that a Snapshot holds has altered, by whichever server."""

    revision: int
    agents: int  # grows with every enrolment, report and revocation


class Store(Protocol):
    """SQLite or PostgreSQL. Synchronous: callers run it in a thread. Every method raises StoreError.

    Everything that alters what is desired takes the events that tell of it and stores both in one transaction, with
    the next revision; it returns that revision. A repetition (same ids) alters nothing and returns the current one.
    """

    def identity(self) -> str: ...
    def marks(self) -> Marks: ...

    def estate(self) -> EstateRevision | None: ...
    def estates(self, limit: int) -> list[EstateRevision]: ...
    def adopt(self, estate: EstateRevision, events: Sequence[Event]) -> int: ...

    def changes(self) -> list[ServerChange]: ...
    def ended_changes(self, limit: int) -> list[ServerChange]: ...
    def put_changes(self, changes: Sequence[ServerChange], events: Sequence[Event]) -> int: ...
    def end_changes(self, ids: Sequence[str], ended: EndedChange, events: Sequence[Event]) -> int: ...

    def orders(self, limit: int) -> list[ServerOrder]: ...
    def put_orders(self, orders: Sequence[ServerOrder], events: Sequence[Event]) -> int: ...
    def settle_orders(self, lb: str, outcomes: Sequence[OrderOutcome], events: Sequence[Event]) -> int: ...

    def agents(self) -> list[AgentRecord]: ...
    def report(self, report: Report, at: datetime) -> None: ...
    def seen(self, lbs: Sequence[str], at: datetime) -> None: ...
