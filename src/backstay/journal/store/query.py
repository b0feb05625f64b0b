"""Questions to the journal, as SQL that both databases understand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from backstay.journal.chain import Link
from backstay.journal.model import Event, JournalError
from backstay.journal.store.schema import link
from backstay.journal.wire import EventInvalid, event_from_json, format_time

TAIL_LIMIT = 10_000
STORY_LIMIT = 1_000  # events in one chain of causes and effects


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events. Everything that is given must hold; `*` in kind, subject and actor stands for any text."""

    kind: str | None = None
    subject: str | None = None
    actor: str | None = None
    text: str | None = None  # anywhere in subject, actor, reason or data; ASCII letters in either case
    since: datetime | None = None
    until: datetime | None = None  # exclusive
    before: tuple[datetime, int] | None = (
        None  # time and number of a link: those that stand before it in the order of time
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One event, what led to it, and what came of it."""

    causes: tuple[Event, ...]  # the first cause first
    event: Event
    effects: tuple[Event, ...]  # in the order of the journal
    cut: bool = False  # there is more than STORY_LIMIT


def links_after(connection: Connection, seq: int, limit: int, where: Filter | None = None) -> Sequence[Row[Any]]:
    """Up to `limit` rows after link number `seq`, oldest first."""
    query = select(link).where(link.c.seq > seq, *_conditions(where)).order_by(link.c.seq).limit(limit)
    return connection.execute(query).all()


def newest_links(connection: Connection, limit: int, where: Filter | None = None) -> Sequence[Row[Any]]:
    """The newest `limit` rows by their time, oldest of them first.

    Not by `seq`: that is the order in which events came in, one agent's batch after the other's.
    """
    query = select(link).where(*_conditions(where)).order_by(link.c.time.desc(), link.c.seq.desc()).limit(limit)
    return list(reversed(connection.execute(query).all()))


def link_by_id(connection: Connection, event_id: str) -> Link | None:
    row = connection.execute(select(link).where(link.c.id == event_id)).one_or_none()
    return None if row is None else read_link(row)


def causes_of(connection: Connection, event: Event) -> list[Event]:
    """What led to `event`, the first cause first; at most STORY_LIMIT, and a circle is walked once."""
    causes: list[Event] = []
    seen = {event.id}
    cause = event.cause
    while cause is not None and cause not in seen and len(causes) < STORY_LIMIT:
        found = link_by_id(connection, cause)
        if found is None:
            break
        causes.append(found.event)
        seen.add(cause)
        cause = found.event.cause
    return causes[::-1]


def effects_of(connection: Connection, event: Event) -> list[Event]:
    """What came of `event`, and of that; in the order of the journal, at most STORY_LIMIT."""
    effects: dict[str, Link] = {}
    wave = [event.id]
    while wave and len(effects) < STORY_LIMIT:
        query = select(link).where(link.c.cause.in_(wave)).order_by(link.c.seq).limit(STORY_LIMIT - len(effects))
        found = [read_link(row) for row in connection.execute(query)]
        fresh = {one.event.id: one for one in found if one.event.id not in effects and one.event.id != event.id}
        effects |= fresh
        wave = list(fresh)
    return [one.event for one in sorted(effects.values(), key=lambda one: one.seq)]


def read_link(row: Row[Any]) -> Link:
    """The link of a row of `journal_link`. Raises JournalError for a row that a hand has spoilt."""
    try:
        return to_link(row)
    except EventInvalid as error:
        raise JournalError(
            f"link {row.seq} of the journal is no event any more: {error}. See backstay journal verify"
        ) from error


def to_link(row: Row[Any]) -> Link:
    """As `read_link`, but raises EventInvalid."""
    plain = dict(row._mapping)
    try:
        plain["data"] = json.loads(plain["data"])
    except (ValueError, RecursionError):
        raise EventInvalid("data: no JSON") from None
    return Link(seq=row.seq, event=event_from_json(plain), previous=row.previous, hash=row.hash)


def to_row(one: Link) -> dict[str, Any]:
    """The row of `journal_link` for a link."""
    event = one.event
    return {
        "seq": one.seq,
        "id": event.id,
        "time": format_time(event.time),
        "kind": event.kind,
        "subject": event.subject,
        "actor": event.actor,
        "reason": event.reason,
        "data": json.dumps(event.data, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        "cause": event.cause,
        "previous": one.previous,
        "hash": one.hash,
    }


def _conditions(where: Filter | None) -> list[ColumnElement[bool]]:
    if where is None:
        return []
    conditions: list[ColumnElement[bool]] = []
    for name, pattern in (("kind", where.kind), ("subject", where.subject), ("actor", where.actor)):
        if pattern is not None:
            conditions.append(_matches(link.c[name], pattern))
    if where.text is not None:
        like = f"%{_escape(where.text.lower())}%"
        columns = (link.c.subject, link.c.actor, link.c.reason, link.c.data)
        conditions.append(or_(*(func.lower(one).like(like, escape="!") for one in columns)))
    if where.since is not None:
        conditions.append(link.c.time >= format_time(where.since))
    if where.until is not None:
        conditions.append(link.c.time < format_time(where.until))
    if where.before is not None:
        time, seq = format_time(where.before[0]), where.before[1]
        conditions.append(or_(link.c.time < time, and_(link.c.time == time, link.c.seq < seq)))
    return conditions


def _matches(one: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    if "*" not in pattern:
        return one == pattern
    return one.like(_escape(pattern).replace("*", "%"), escape="!")


def _escape(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_").replace("\0", "")
