"""Brings an agent's spooled events into the store: read, store, acknowledge. At least once; the store de-duplicates."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from backstay.journal.model import Event
from backstay.journal.wire import EventInvalid, event_from_json

if TYPE_CHECKING:
    from backstay.journal.store import JournalStore

BATCH_EVENTS = 1_000
BATCHES_LIMIT = 200  # a full spool (100,000 events) is collected in one go


class EventSource(Protocol):
    """Somebody with events that are not stored yet: an agent, by its control API. Raises its own errors."""

    async def events(self, *, after: str | None = None, limit: int = BATCH_EVENTS) -> Sequence[Mapping[str, object]]:
        """Events as JSON objects, oldest first, at most `limit`; without `after`, from the first unacknowledged."""
        ...

    async def ack_events(self, through: str) -> None:
        """Events up to and with that id are stored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one collection brought."""

    new: int = 0
    known: int = 0
    faults: tuple[str, ...] = ()  # events that could not be taken: which, and why


async def collect(source: EventSource, store: JournalStore) -> Collected:
    """Everything that `source` has. Raises the source's errors, and JournalError when the store takes nothing.

    After an error, what was acknowledged is stored, and the rest is still with the source.
    """
    total = Collected()
    through = None
    for _ in range(BATCHES_LIMIT):
        batch = await source.events(limit=BATCH_EVENTS)
        last = _last_id(batch)
        if last is None or last == through:  # nothing more, or a source that forgets nothing
            break
        through = last
        events, faults = parse_events(batch)
        stored = await asyncio.to_thread(store.append_many, events)
        faults += [f"{event_id}: stored already with another content" for event_id in stored.differing]
        await source.ack_events(through)
        total = Collected(
            new=total.new + stored.new, known=total.known + stored.known, faults=(*total.faults, *faults)[:100]
        )
    return total


def _last_id(batch: Sequence[Mapping[str, object]]) -> str | None:
    return next((str(plain["id"]) for plain in reversed(batch) if isinstance(plain.get("id"), str)), None)


def parse_events(batch: Sequence[Mapping[str, object]]) -> tuple[list[Event], list[str]]:
    """The events, and faults for what is none: one bad event must not hold up all that follow."""
    events: list[Event] = []
    faults: list[str] = []
    for plain in batch:
        try:
            events.append(event_from_json(plain))
        except EventInvalid as error:
            faults.append(f"{plain.get('id', 'an event without id')!s:.64}: {error}")
    return events, faults
