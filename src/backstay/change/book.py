"""The book of changes: what is in force, and what ended lately. Pure; `store.py` keeps it on disk.

Changes of one node compose, and in a way that does not depend on their order, because two load balancers may
have received them in different orders: one drain is enough to drain; factors multiply; undoing one change
leaves the others in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from backstay.change.expiry import is_due
from backstay.change.model import (
    BookFull,
    Change,
    ChangeInvalid,
    ChangeKind,
    ChangeUnknown,
    ClockReading,
    Effect,
    Ended,
    EndedBy,
)

CHANGES_LIMIT = 1_000  # in force at once; an estate has at most 1,000 servers
HISTORY_LIMIT = 200  # ended changes that are remembered; the journal remembers them all
FACTOR_LIMIT = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBook:
    """Immutable: each operation answers with a new book.

    Invariant: an id is in `changes` or in `ended`, never in both, and never twice.
    """

    changes: tuple[Change, ...] = ()  # oldest first
    ended: tuple[Ended, ...] = ()  # oldest first, at most HISTORY_LIMIT

    def get(self, change_id: str) -> Change | Ended | None:
        """The change with that id, in force or ended; None when the book does not know it."""
        for change in self.changes:
            if change.id == change_id:
                return change
        return next((ended for ended in reversed(self.ended) if ended.change.id == change_id), None)

    def put(self, change: Change) -> ChangeBook:
        """The book with `change`. Idempotent by id: a request sent twice is one change.

        A change that ended stays ended: a late repetition of the request must not drain the node again.
        Raises ChangeInvalid when the id is taken by a different change, BookFull beyond CHANGES_LIMIT.
        """
        known = self.get(change.id)
        if known is not None:
            there = known.change if isinstance(known, Ended) else known
            if not same_request(there, change):
                raise ChangeInvalid(
                    f"change {change.id} is taken: it is a {there.kind} of {there.node}, not a {change.kind} of "
                    f"{change.node}. Ask again with a new id."
                )
            return self
        if len(self.changes) >= CHANGES_LIMIT:
            raise BookFull(f"{CHANGES_LIMIT} changes are in force, no more fit. Undo some: backstay changes")
        return replace(self, changes=(*self.changes, change))

    def undo(self, change_id: str, *, actor: str, reason: str, now: datetime) -> ChangeBook:
        """The book without that change. Idempotent. Raises ChangeUnknown for an id that the book never saw."""
        known = self.get(change_id)
        if known is None:
            raise ChangeUnknown(f"no change {change_id} here. What there is: backstay changes")
        if isinstance(known, Ended):
            return self
        return self._end((known,), by=EndedBy.UNDONE, at=now, actor=actor, reason=reason)

    def expire(self, reading: ClockReading) -> tuple[ChangeBook, tuple[Change, ...]]:
        """The book without the changes that are due, and those changes, oldest first."""
        due = tuple(change for change in self.changes if is_due(change.deadline, reading))
        if not due:
            return self, ()
        book = self._end(due, by=EndedBy.EXPIRED, at=reading.wall, actor="expiry", reason="its time was over")
        return book, due

    def in_force(self, reading: ClockReading) -> tuple[Change, ...]:
        """Changes in force at `reading`, oldest first."""
        return tuple(change for change in self.changes if not is_due(change.deadline, reading))

    def _end(self, gone: tuple[Change, ...], *, by: EndedBy, at: datetime, actor: str, reason: str) -> ChangeBook:
        ended = tuple(Ended(change=change, by=by, at=at, actor=actor, reason=reason) for change in gone)
        ids = {change.id for change in gone}
        return ChangeBook(
            changes=tuple(change for change in self.changes if change.id not in ids),
            ended=(*self.ended, *ended)[-HISTORY_LIMIT:],
        )


def effect_on(changes: Iterable[Change], pool: str, node: str) -> Effect:
    """What `changes` (those in force) do together to `node` in `pool`."""
    mine = tuple(change for change in changes if change.node == node and change.pool in (None, pool))
    if not mine:
        return Effect()
    factor = 1.0
    for change in mine:
        factor *= 1.0 if change.factor is None else change.factor
    return Effect(
        draining=any(change.kind in (ChangeKind.DRAIN, ChangeKind.MAINTENANCE) for change in mine),
        quiet=any(change.kind is ChangeKind.MAINTENANCE for change in mine),
        factor=min(factor, FACTOR_LIMIT),
        changes=tuple(change.id for change in mine),
    )


def same_request(one: Change, other: Change) -> bool:
    """Do both ask for the same? Times differ when a request is repeated; what is asked for does not."""
    return (one.kind, one.node, one.pool, one.factor) == (other.kind, other.node, other.pool, other.factor)
