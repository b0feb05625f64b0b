"""What is due, what is new, what is over. Pure.

A finding is told to the journal once: `audit.found` when the day first shows it, `audit.closed` when the day has not
shown it MISSES times in a row. Between the two it may come and go in shorter intervals, and gain or lose in grade.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.estate.audit import Review, Weekday
from backstay.journal import Event, new_id
from backstay.server.audit.model import GRADES, SPANS, Key, Kind, Plain, Result

AGAIN_AT_MOST = timedelta(hours=1)
SHARE = 60  # a result is renewed when a sixtieth of its interval is new
MISSES = 3  # one look without it is no proof: it was at the edge
RETRY_FIRST = timedelta(seconds=30)
RETRY_AT_MOST = timedelta(minutes=15)
_FACTS_TOLD = 5


def again_after(span: str, every: timedelta) -> timedelta:
    """How old a result of that interval may become. `every`: how often the estate has indicators collected."""
    return max(every, min(AGAIN_AT_MOST, SPANS[span] / SHARE))


def is_due(at: datetime | None, after: timedelta, now: datetime) -> bool:
    """`at`: when it was done last, None: never."""
    return at is None or now - at >= after


def retry_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: twice as long each time, up to a bound."""
    doublings = min(max(failures - 1, 0), 10)
    return min(RETRY_AT_MOST, RETRY_FIRST * (1 << doublings))


def reviewed_before(now: datetime, declared: Review) -> datetime:
    """The last time at or before `now` (UTC) at which the estate wants the week reviewed."""
    days = (now.weekday() - list(Weekday).index(declared.weekday)) % 7
    at = (now - timedelta(days=days)).replace(hour=declared.hour, minute=0, second=0, microsecond=0)
    return at if at <= now else at - timedelta(weeks=1)


def worse(grades: Iterable[str]) -> str:
    """The one that says most; "nothing" of none."""
    return max(grades, key=GRADES.index, default=GRADES[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What to keep, remove and journal."""

    results: tuple[Result, ...] = ()
    gone: tuple[Key, ...] = ()
    events: tuple[Event, ...] = ()


def announce(found: Sequence[Result], told: Sequence[Result], now: datetime, actor: str = "server") -> Announced:
    """One cluster: `found` are its findings of the day (Kind.FINDING), `told` those that are open (Kind.OPEN)."""
    known = {one.key.indicator: one for one in told}
    there = {one.key.indicator: one for one in found}
    results: list[Result] = []
    gone: list[Key] = []
    events: list[Event] = []
    for indicator, finding in there.items():
        key = Key(kind=Kind.OPEN, cluster=finding.key.cluster, indicator=indicator)
        before = known.get(indicator)
        if before is None:
            event = _event("audit.found", key, finding.head, now, actor)
            events.append(event)
            results.append(Result(key=key, at=now, head=_open(finding.head, event.id)))
        elif before.head["misses"] or before.head["grade"] != finding.head["grade"]:
            results.append(Result(key=key, at=before.at, head=_open(finding.head, before.head["event"])))
    for indicator, before in known.items():
        if indicator in there:
            continue
        misses = before.head["misses"] + 1
        if misses < MISSES:
            results.append(Result(key=before.key, at=before.at, head={**before.head, "misses": misses}))
            continue
        gone.append(before.key)
        events.append(_event("audit.closed", before.key, before.head, now, actor, cause=before.head["event"]))
    return Announced(results=tuple(results), gone=tuple(gone), events=tuple(events))


def _open(head: Plain, event: str) -> Plain:
    return {"grade": head["grade"], "sentence": head["sentence"], "facts": head["facts"], "event": event, "misses": 0}


def _event(kind: str, key: Key, head: Plain, now: datetime, actor: str, cause: str | None = None) -> Event:
    sentence = str(head["sentence"])
    return Event(
        id=new_id(),
        time=now,
        kind=kind,
        subject=f"audit/{key.cluster}/{key.indicator}",
        actor=actor,
        reason=sentence if kind == "audit.found" else f"Not seen any more. It was: {sentence}",
        data={
            "cluster": key.cluster,
            "indicator": key.indicator,
            "grade": head["grade"],
            "facts": list(head["facts"])[:_FACTS_TOLD],
        },
        cause=cause,
    )
