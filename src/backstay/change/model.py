"""Nouns of change: the one way to alter the world, with who, what, why, until when, its guard and its undo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    DRAIN = "drain"  # no new requests; what is in flight finishes
    WEIGHT = "weight"  # a factor on the backend's share
    MAINTENANCE = "maintenance"  # a drain that also silences health events of the node


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
