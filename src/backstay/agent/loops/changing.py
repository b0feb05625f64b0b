"""Changes: the guard, put, undo, and expiry. The book is on disk before a change is acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backstay.agent.world import World
from backstay.balance.model import Key
from backstay.change import (
    BackendLoad,
    Change,
    ChangeBook,
    ChangeError,
    ChangeKind,
    ChangeUnknown,
    Ended,
    Refused,
    Verdict,
    decide_guard,
    read_clock,
    verdict_json,
)


class Changes:
    def __init__(self, world: World, load: Callable[[], dict[Key, BackendLoad]], changed: Callable[[], None]) -> None:
        """`load`: what each backend carries; `changed` is called when the book changed."""
        self._world = world
        self._load = load
        self._changed = changed
        self._told: set[str] = set()  # changes whose expiry is journaled

    def weigh(self, change: Change) -> Verdict:
        """What the guard says of `change` now."""
        world = self._world
        return decide_guard(world.estate, world.in_force(), world.takes_traffic(), self._load(), change, read_clock())

    def put(self, change: Change) -> Verdict:
        """Weigh `change`, and put it in force when it is allowed: durable when this returns. Raises ChangeError."""
        world = self._world
        verdict = self.weigh(change)
        subject = f"node/{change.node}"
        if isinstance(verdict, Refused):
            data = {"change": change.id, "kind": change.kind.value, **verdict_json(verdict)}
            world.record("change.refused", subject, verdict.sentence, data=data, actor=change.actor)
            return verdict
        book = world.book.put(change)
        if book is world.book:
            return verdict  # a repetition
        data = _about(change) | {"verdict": verdict_json(verdict)}
        begun = world.record(f"{change.kind}.started", subject, change.reason, data=data, actor=change.actor)
        try:
            self._adopt(book)
        except ChangeError as error:
            world.record(f"{change.kind}.failed", subject, str(error), data=_about(change), cause=begun)
            raise
        return verdict

    def undo(self, change_id: str, *, actor: str, reason: str) -> Change | Ended:
        """End a change; idempotent. Raises ChangeError."""
        world = self._world
        known = world.book.get(change_id)
        if known is None:
            raise ChangeUnknown(f"no change {change_id} on {world.lb}. What there is: backstay changes")
        if isinstance(known, Change):
            book = world.book.undo(change_id, actor=actor, reason=reason, now=read_clock().wall)
            self._ended(known, reason, actor)
            self._adopt(book)
        ended = world.book.get(change_id)
        assert ended is not None
        return ended

    async def turn(self) -> None:
        """Carry out what is due, also what became due while no agent ran."""
        book, due = self._world.book.expire(read_clock())
        for change in due:
            if change.id not in self._told:  # the book may not be saved at once on a full disk
                self._told.add(change.id)
                self._ended(change, "its time was over", None)
        if due:
            self._adopt(book)

    def _ended(self, change: Change, reason: str, actor: str | None) -> None:
        self._world.record(f"{change.kind}.ended", f"node/{change.node}", reason, data=_about(change), actor=actor)

    def _adopt(self, book: ChangeBook) -> None:
        self._world.changes.save(book)
        self._world.book = book
        self._changed()


def _about(change: Change) -> dict[str, Any]:
    data: dict[str, Any] = {"change": change.id, "pool": change.pool, "forced": change.forced}
    if change.kind is ChangeKind.WEIGHT:
        data["factor"] = change.factor
    if change.deadline is not None:
        data["until"] = change.deadline.wall.isoformat()
    return data
