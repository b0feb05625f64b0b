"""Events as entries with links to what they are about; what led to one, and what came of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from backstay.journal.model import Event
from backstay.server.views.scene.paging import ROWS
from backstay.server.views.scene.words import Tone

_PAGE = {
    "node": "/nodes/",
    "lb": "/nodes/",
    "pool": "/balance/",
    "ip": "/failover/",
    "audit": "/audit/",
    "cluster": "/audit/",
}
_BAD = ("failed", "died", "lost", "stuck", "unverified", "denied", "faulty", "damaged")
_WARN = (
    "refused",
    "quarantined",
    "ejected",
    "down",
    "suspected",
    "taken",
    "takeover_started",
    "owner_unknown",
    "revoked",
)


class Told(Protocol):
    """journal.store.query.Story."""

    @property
    def causes(self) -> tuple[Event, ...]: ...
    @property
    def event(self) -> Event: ...
    @property
    def effects(self) -> tuple[Event, ...]: ...
    @property
    def cut(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    id: str
    time: datetime
    kind: str
    subject: str
    href: str  # of the subject's page; "": it has none
    actor: str
    reason: str
    tone: Tone
    changes: str  # address of the change that it tells of; "": none


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What the journal was asked for, as people typed it."""

    text: str = ""
    kind: str = ""
    subject: str = ""
    actor: str = ""
    since: str = ""
    until: str = ""  # of the pager, or typed
    skip: int = 0  # events at exactly `until` that were shown already

    def query(self) -> dict[str, str]:
        asked = {
            "text": self.text,
            "kind": self.kind,
            "subject": self.subject,
            "actor": self.actor,
            "since": self.since,
        }
        return {key: value for key, value in asked.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalPage:
    search: Search
    entries: tuple[Entry, ...]  # the newest first
    older: str  # address; "": there are none
    newest: str  # address; "": this is the newest page


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryPage:
    """One event: what led to it, itself, what came of it."""

    causes: tuple[Entry, ...]
    entry: Entry
    effects: tuple[Entry, ...]
    cut: bool  # there is more
    data: tuple[tuple[str, str], ...]  # key, value in words
    seq: int
    hash: str


def entry(event: Event) -> Entry:
    """One event as people read it."""
    word, _, name = event.subject.partition("/")
    change = event.data.get("change")
    last = event.kind.rpartition(".")[2]
    tone = Tone.BAD if last in _BAD else Tone.WARN if last in _WARN else Tone.IDLE
    return Entry(
        id=event.id,
        time=event.time,
        kind=event.kind,
        subject=event.subject,
        href=_PAGE[word] + quote(name) if word in _PAGE and name else "/estate" if word == "estate" else "",
        actor=event.actor,
        reason=event.reason,
        tone=tone,
        changes=f"/changes/{change}" if isinstance(change, str) and change else "",
    )


def entries(events: Sequence[Event]) -> tuple[Entry, ...]:
    return tuple(entry(event) for event in events)


def journal_page(search: Search, found: Sequence[Event], until: datetime | None) -> JournalPage:
    """A page of `found`: the newest first, ROWS + 1 of them when there are more than fit.

    Pages go on by time: the next one begins at the time of the last event shown, without those of it that were shown
    (a zone's drain journals forty events at one moment).
    """
    shown = found[:ROWS]
    older = ""
    if len(found) > ROWS:
        last = shown[-1].time
        skip = sum(event.time == last for event in shown)
        if until is not None and last + timedelta(microseconds=1) == until:
            skip += search.skip
        onward = {"until": (last + timedelta(microseconds=1)).isoformat(), "skip": str(skip)}
        older = "/journal?" + urlencode(search.query() | onward)
    newest = "/journal?" + urlencode(search.query()) if until is not None else ""
    return JournalPage(search=search, entries=entries(shown), older=older, newest=newest)


def story_page(story: Told, seq: int, digest: str) -> StoryPage:
    """`seq`, `digest`: of the event's link in the chain."""
    return StoryPage(
        causes=entries(story.causes),
        entry=entry(story.event),
        effects=entries(story.effects),
        cut=story.cut,
        data=tuple((key, _words(value)) for key, value in story.event.data.items()),
        seq=seq,
        hash=digest,
    )


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1 if isinstance(value, (dict, list)) else None)
