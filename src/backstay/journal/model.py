"""Nouns of the journal: an event, and its link in the chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. Append-only: an event is never altered, only followed by another.

    `kind` is a dotted past-tense phrase of the domain ("drain.started", "engine.applied", "backend.ejected").
    """

    id: str  # time-ordered, unique without co-ordination (`new_id`); the key of de-duplication
    time: datetime  # UTC
    kind: str
    subject: str  # what it is about: "node/web2", "pool/web", "lb/lb1", "ip/www", "estate"
    actor: str  # who did it: "alice", "agent/lb1", "lab"
    reason: str
    data: Json = field(default_factory=dict)  # JSON values only
    cause: str | None = None  # id of the event that led to this one


class Journal(Protocol):
    """Where a room writes what happened. The agent's is its spool; the server's and the lab's a store."""

    def append(self, event: Event) -> None:
        """Return once the event is durable. Raises JournalError when it cannot be made so."""
        ...


class JournalError(Exception):
    """The event could not be made durable: what happened, where, and what next."""
