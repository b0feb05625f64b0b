"""What the server needs from outside: a place that keeps what people changed and agents said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backstay.journal.model import Event
from backstay.link.wire import OrderOutcome, Report
from backstay.server.model import AgentRecord, EndedChange, EstateRevision, ServerChange, ServerOrder


class StoreError(Exception):
    """The database did not take or give it: what, where, what next. Nothing was altered."""


class StaleRevision(StoreError):
    """Somebody else altered what is desired meanwhile: weigh anew. Nothing was altered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Cheap to ask; tells whether anything that a Snapshot holds has altered, by whichever server."""

    revision: int
    agents: int  # grows with every enrolment, report and revocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is desired, in one state of the database: all that altered after some revision."""

    revision: int
    estate: EstateRevision | None  # the newest; None: none is newer
    changes: tuple[ServerChange, ...]  # in force, oldest first
    ended: tuple[ServerChange, ...]  # lately, newest first
    orders: tuple[ServerOrder, ...]  # lately, newest first


class Store(Protocol):
    """SQLite or PostgreSQL. Synchronous: callers run it in a thread. Every method raises StoreError.

    Everything that alters what is desired takes the events that tell of it and stores both in one transaction, with
    the next revision; it returns that revision. A repetition (same ids) alters nothing and returns the current one.
    With `expect` it alters nothing when the revision is another one, and raises StaleRevision.
    """

    def identity(self) -> str: ...
    def marks(self) -> Marks: ...
    def kept(self, after: int, *, ended_limit: int, orders_limit: int) -> Kept:
        """What altered after that revision; after -1: everything."""
        ...

    def estates(self, limit: int) -> list[EstateRevision]:
        """Newest first."""
        ...

    def adopt(self, estate: EstateRevision, events: Sequence[Event], *, expect: int | None = None) -> int:
        """Store it as the newest; its number is the next one, whatever it says."""
        ...

    def batch(self, batch: str) -> list[ServerChange]:
        """All of one batch, in force or ended, in their order; empty when there is none."""
        ...

    def find_changes(self, ids: Sequence[str]) -> list[ServerChange]: ...
    def put_changes(
        self, changes: Sequence[ServerChange], events: Sequence[Event], *, expect: int | None = None
    ) -> int:
        """One batch. A batch that is there already is a repetition, and alters nothing."""
        ...

    def end_changes(self, ids: Sequence[str], ended: EndedChange, events: Mapping[str, Event]) -> tuple[int, list[str]]:
        """End those of `ids` that are in force; `events` by id. The revision, and which this call has really ended."""
        ...

    def put_orders(self, orders: Sequence[ServerOrder], events: Sequence[Event]) -> int: ...
    def settle_orders(self, lb: str, outcomes: Sequence[OrderOutcome], events: Mapping[str, Event]) -> int:
        """Keep outcomes of this load balancer's orders that had none; `events` by id of the order."""
        ...

    def agents(self, after: int) -> list[AgentRecord]:
        """Those that were altered after that mark (Marks.agents), without `seen_at`."""
        ...

    def seen_at(self) -> Mapping[str, datetime]: ...
    def enrol(self, lb: str, at: datetime, events: Sequence[Event]) -> None:
        """There is an agent for `lb`; one that was revoked is back."""
        ...

    def revoke(self, lb: str, at: datetime, events: Sequence[Event]) -> bool:
        """False, and nothing altered: there is none that could be revoked."""
        ...

    def report(self, reports: Sequence[tuple[Report, datetime]]) -> None:
        """Keep the newest report of each enrolled agent, with the time by the server's clock."""
        ...

    def seen(self, lbs: Sequence[str], at: datetime) -> None: ...

    def forget(self, before: datetime) -> int:
        """Remove changes that ended and orders that were made before; how many. The journal still tells of them."""
        ...
