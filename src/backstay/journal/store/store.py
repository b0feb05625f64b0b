"""The journal's store: de-duplicates, chains, answers and verifies. One class over SQLite and PostgreSQL.

It is synchronous; an asyncio caller runs it in a thread (as `collect.py` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from backstay.journal import chain
from backstay.journal.chain import Broken, Fault, Link, Whole
from backstay.journal.model import Event, JournalError
from backstay.journal.store import query
from backstay.journal.store.database import Database
from backstay.journal.store.query import TAIL_LIMIT, Filter, Story
from backstay.journal.store.schema import head, link
from backstay.journal.wire import EventInvalid, encode

BATCH = 500  # links a transaction: others get their turn, and SQLite takes so many parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of events that were handed over."""

    new: int
    known: int = 0  # were there already
    differing: tuple[str, ...] = ()  # ids that were there with another content; the first one is kept


class _Unreadable(Exception):
    def __init__(self, broken: Broken) -> None:
        super().__init__(broken.sentence)
        self.broken = broken


class JournalStore:
    """A journal in a database. Safe to use from several threads and processes at once. Raises JournalError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str) -> JournalStore:
        """The journal at `url`; makes its tables when there are none. Raises JournalError."""
        return cls(Database(url))

    @property
    def where(self) -> str:
        """The database's URL without its password."""
        return self._database.where

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> JournalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Return once `event` is durable. An id that is there already is not stored twice."""
        self.append_many([event])

    def append_many(self, events: Sequence[Event]) -> Stored:
        """Return once all `events` are durable, each once, in this order. Raises EventInvalid before any is stored.

        In batches, one transaction each: after an error the first ones may be stored; giving all again is right.
        """
        for event in events:
            encode(event)
        totals = Stored(new=0)
        for start in range(0, len(events), BATCH):
            with self._database.writing() as connection:
                stored = append_in(connection, events[start : start + BATCH])
            totals = Stored(
                new=totals.new + stored.new,
                known=totals.known + stored.known,
                differing=totals.differing + stored.differing,
            )
        return totals

    # -- questions -------------------------------------------------------------------------------------------

    def tail(self, *, limit: int = 50, where: Filter | None = None, after: int | None = None) -> list[Link]:
        """The newest `limit` links in the order of time; or those after link number `after`, in the chain's order."""
        limit = max(0, min(limit, TAIL_LIMIT))
        with self._database.reading() as connection:
            if after is None:
                rows = query.newest_links(connection, limit, where)
            else:
                rows = query.links_after(connection, after, limit, where)
        return [query.read_link(row) for row in rows]

    def newest(self) -> int:
        """Number of the link that was stored last; 0 when there is none."""
        with self._database.reading() as connection:
            return connection.execute(select(head.c.seq)).scalar() or 0

    def get(self, event_id: str) -> Link | None:
        """The link of the event with that id; None when there is none."""
        with self._database.reading() as connection:
            return query.link_by_id(connection, event_id)

    def causes(self, event_id: str) -> Story | None:
        """The event with its chain of causes and effects; None when there is no such event."""
        with self._database.reading() as connection:
            found = query.link_by_id(connection, event_id)
            if found is None:
                return None
            causes = query.causes_of(connection, found.event)
            effects = query.effects_of(connection, found.event)
        return Story(
            causes=tuple(causes),
            event=found.event,
            effects=tuple(effects),
            cut=max(len(causes), len(effects)) >= query.STORY_LIMIT,
        )

    # -- verification ----------------------------------------------------------------------------------------

    def verify(self, *, expect: str | None = None) -> Whole | Broken:
        """Go through the whole chain; the first broken link, or its head.

        `expect` is a head that was noted earlier: it must still be a link of this chain, which finds a journal that
        was written anew from start to end.
        """
        ends: list[tuple[int, str]] = []
        try:
            found = chain.verify(self._links(ends), known=self._is_hash)
        except _Unreadable as unreadable:
            return unreadable.broken
        if isinstance(found, Broken):
            return found
        return _check_end(found, *ends[-1]) or self._check_expected(found, expect) or found

    def _links(self, ends: list[tuple[int, str]]) -> Iterator[Link]:
        """All links in their order, some at a time. At the end the head, seen in the same state, goes to `ends`."""
        seq = 0
        while True:
            with self._database.reading() as connection:
                rows = query.links_after(connection, seq, BATCH)
                if not rows:
                    row = connection.execute(select(head)).one_or_none()
                    ends.append((row.seq, row.hash) if row is not None else (-1, ""))
                    return
            for row in rows:
                try:
                    yield query.to_link(row)
                except EventInvalid as error:
                    sentence = f"link {row.seq} is altered: {error}"
                    raise _Unreadable(
                        Broken(seq=row.seq, event_id=str(row.id), fault=Fault.ALTERED, sentence=sentence)
                    ) from error
            seq = rows[-1].seq

    def _is_hash(self, digest: str) -> bool:
        with self._database.reading() as connection:
            return connection.execute(select(link.c.seq).where(link.c.hash == digest)).first() is not None

    def _check_expected(self, found: Whole, expect: str | None) -> Broken | None:
        if expect is None or expect in (found.head, chain.GENESIS) or self._is_hash(expect):
            return None
        sentence = f"no link has the expected hash {expect[:64]}: the journal was written anew, or is another one"
        return Broken(seq=found.links, event_id="", fault=Fault.MISSING, sentence=sentence)


def _check_end(found: Whole, head_seq: int, head_hash: str) -> Broken | None:
    """The links may be whole and yet not all there: the newest ones can be cut off without breaking the rest."""
    if (found.links, found.head) == (head_seq, head_hash):
        return None
    if head_seq > found.links:
        sentence = f"after link {found.links}: links {found.links + 1} to {head_seq} are gone"
        return Broken(seq=found.links + 1, event_id="", fault=Fault.MISSING, sentence=sentence)
    sentence = f"link {found.links} is not the one that was written last (the head names link {head_seq})"
    return Broken(seq=found.links, event_id="", fault=Fault.ALTERED, sentence=sentence)


def append_in(connection: Connection, events: Sequence[Event]) -> Stored:
    """Store `events`, each once, in the caller's transaction (`Database.writing`): with what they tell of, or not.

    Raises EventInvalid.
    """
    new, known = 0, 0
    differing: tuple[str, ...] = ()
    for start in range(0, len(events), BATCH):
        stored = _append(connection, events[start : start + BATCH])
        new, known, differing = new + stored.new, known + stored.known, differing + stored.differing
    return Stored(new=new, known=known, differing=differing)


def _append(connection: Connection, events: Sequence[Event]) -> Stored:
    ids = select(link.c.id).where(link.c.id.in_([event.id for event in events]))
    there = set(connection.execute(ids).scalars())
    fresh: dict[str, Event] = {}
    differing: list[str] = []
    for event in events:
        if event.id in fresh:
            earlier: Event | None = fresh[event.id]
        elif event.id in there:
            earlier = _earlier(connection, event.id)
        else:
            fresh[event.id] = event
            continue
        if earlier is None or encode(earlier) != encode(event):
            differing.append(event.id)
    if fresh:
        newest = connection.execute(select(head)).one()
        links = chain.extend(newest.seq, newest.hash, fresh.values())
        connection.execute(insert(link), [query.to_row(one) for one in links])
        connection.execute(update(head).values(seq=links[-1].seq, hash=links[-1].hash))
    return Stored(new=len(fresh), known=len(events) - len(fresh), differing=tuple(differing))


def _earlier(connection: Connection, event_id: str) -> Event | None:
    try:
        found = query.link_by_id(connection, event_id)
    except JournalError:  # spoilt by a hand: `verify` tells
        return None
    return None if found is None else found.event
