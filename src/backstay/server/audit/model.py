"""Nouns of the audit on the server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

Plain = Mapping[str, Any]  # what JSON has: the forms of backstay.audit.report.data

# Intervals that pages offer, the shortest first. What is announced in the journal is what the day shows.
SPANS: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
    "4w": timedelta(weeks=4),
    "1y": timedelta(days=365),
}
TOLD_SPAN = "1d"
GRADES = ("nothing", "differs", "consistent", "probable", "replicated", "confirmed")  # audit.model.Grade, weakest first


class Kind(StrEnum):
    """What a result is; in brackets what its key has beside the kind."""

    STATUS = "status"  # of the audit itself: one
    COMPARISON = "comparison"  # (cluster, span)
    FINDING = "finding"  # (cluster, indicator, span): of what differs
    FACTS = "facts"  # (cluster)
    REVIEW = "review"  # one: the week's
    FIX = "fix"  # (indicator: the fix's id; cluster)
    OPEN = "open"  # (cluster, indicator): a finding that the journal was told of


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    kind: Kind
    cluster: str = ""
    indicator: str = ""
    span: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a pass found out. `head`: what lists show; `body`: all of it, {} where only heads were read."""

    key: Key
    at: datetime  # UTC: when it was computed
    head: Plain
    body: Plain = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Which server collects, and until when it may without saying so again."""

    holder: str
    until: datetime  # UTC

    def held(self, now: datetime) -> bool:
        return now < self.until


class AskKind(StrEnum):
    COLLECT = "collect"
    REGISTER = "register"
    VERIFY = "verify"
    QUESTION = "question"  # alters nothing: any interval, any indicator, as of now


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What somebody asked of the server that has the audit's store. Carried out at most once."""

    id: str
    kind: AskKind
    body: Plain
    actor: str
    reason: str
    at: datetime  # UTC
    taken_at: datetime | None = None
    answer: Plain | None = None  # {"done": bool, "detail": words, ...}; None: not yet
