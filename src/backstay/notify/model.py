"""Nouns of telling people: a page, and what became of it on each channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """PagerDuty's words, which Alertmanager's users use as well."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a person who was woken needs: what happened, what is left to do, and the commands for it."""

    # Of de-duplication: the same key is the same page, however often it is asked for. The id of the event that it is
    # about (the takeover's); ID/WHAT where one event has several pages.
    key: str
    at: datetime  # UTC
    summary: str  # one line: "www moved from lb1 to lb2: lb1 is dead"
    source: str  # who says so: "lb2"
    subject: str  # what it is about: "ip/www"
    severity: Severity = Severity.CRITICAL
    seen: tuple[str, ...] = ()  # the evidence
    done: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()  # "lb1 does not get the address back by itself"
    commands: Mapping[str, str] = field(default_factory=dict)  # what for -> command: look, rearm


class Fate(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far one page is on one channel. Kept on disk; counts, and no times: clocks are stepped."""

    fate: Fate = Fate.WAITING
    failures: int = 0
    refusals: int = 0  # of the failures, those that a person must mend: a wrong key
    said: str = ""  # what the channel said last


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A page in the outbox."""

    number: int  # in the order in which they were put
    page: Page
    deliveries: Mapping[str, Delivery]  # channel -> how far

    @property
    def waiting(self) -> bool:
        return any(delivery.fate is Fate.WAITING for delivery in self.deliveries.values())
