"""Nouns of change: the one way to alter the world, with who, what, why, until when, its guard and its undo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    DRAIN = "drain"  # no new requests; what is in flight finishes
    WEIGHT = "weight"  # a factor on the backend's share
    MAINTENANCE = "maintenance"  # a drain that also silences health events of the node
    PARAMETER = "parameter"  # a value for Puppet or Ansible; kept by the server, no load balancer has to do with it


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Both clocks at one moment. CLOCK_BOOTTIME is not stepped, but starts anew with each boot."""

    wall: datetime  # UTC
    boot_id: str  # /proc/sys/kernel/random/boot_id
    boottime_s: float  # seconds since that boot, suspend included


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When a change expires. Within one boot by CLOCK_BOOTTIME, so a clock step moves nothing; across boots by wall."""

    wall: datetime
    boot_id: str
    boottime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A transient change. `id` is made by whoever asks, so that the same change sent twice is one change."""

    id: str
    kind: ChangeKind
    node: str
    pool: str | None = None  # None: every pool that the node serves in
    factor: float | None = None  # WEIGHT only: 0.0 < factor <= 4.0, 1.0 is the full share
    actor: str
    reason: str
    created_at: datetime  # UTC
    deadline: Deadline | None = None  # None: until undone
    forced: bool = False  # a guard's refusal was overridden


class EndedBy(StrEnum):
    UNDONE = "undone"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A change that is no longer in force, and why."""

    change: Change
    by: EndedBy
    at: datetime  # UTC
    actor: str  # who undid it; "expiry" when nobody did
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What all changes in force do together to one node in one pool."""

    draining: bool = False
    quiet: bool = False  # under maintenance: its health events are not told
    factor: float = 1.0  # on its share
    changes: tuple[str, ...] = ()  # ids, oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLoad:
    """How much one backend carries. None: not known."""

    in_flight: float | None = None  # mean number of requests at one moment, over the last minute or so
    utilisation: float | None = None  # 0.0..1.0 of what it can carry
    error_ratio: float | None = None  # 0.0..1.0 of its requests


class ChangeError(Exception):
    """A change that could not be made: what, where, what next."""


class ChangeInvalid(ChangeError):
    """The request itself is wrong (bad input); the same request will never do."""


class ChangeUnknown(ChangeError):
    """No change with that id."""


class BookFull(ChangeError):
    """Too many changes in force."""


class BookNotSaved(ChangeError):
    """The book could not be made durable, so the change is not in force."""
