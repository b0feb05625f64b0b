"""What one candidate keeps for one address across restarts, and how each act alters it. Pure.

    held        the last owner that I knew of was me: when another has it now, I lost it
    took        I took it by myself, and no person has looked since
    quarantined I lost it, and stay out until a person rearms me
    takeover    the last one that was mine: what a person may find to have been false
    taking      a takeover that was begun: written before the provider is called, gone when its outcome is known
    unverified  one that arrived, until the address itself has been asked
    expected    a person is moving it away from me: losing it then is no loss
    frozen      no automatic takeover, until a deadline that no clock step moves (change/expiry.py)
    normal      what is normal for each other candidate, learnt while it answered

A crash at any line is safe: `taking` on disk with the provider saying that I hold it is a takeover that is to be
finished; with the provider saying anything else it is one that did not come about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backstay.change import ClockReading, deadline_at, is_due, remaining_s
from backstay.change.model import Deadline
from backstay.failover.model import Death, Normal, Silence

FORMAT = 1
EXPECTED_FOR_S = 300.0  # a planned move takes a minute at the slowest provider; then losing it is a loss again
REASON_LIMIT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """A takeover, or a planned move to me, that is under way."""

    id: str  # of the journal's event that began it: what pages are de-duplicated by
    holder: str | None  # from whom
    at: datetime  # UTC
    planned: bool  # a person asked for it
    why: str
    death: Death | None = None  # what the holder looked like
    silent_s: float = 0.0  # for how long it had been silent then


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    at: datetime  # UTC
    owner: str | None  # who had the address then
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    until: Deadline
    actor: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A person moves the address to `to`."""

    to: str
    until: Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    held: bool = False
    took: bool = False
    quarantined: Quarantined | None = None
    taking: Taking | None = None
    unverified: Taking | None = None
    takeover: Taking | None = None
    frozen: Frozen | None = None
    expected: Expected | None = None
    normal: Mapping[str, Normal] = field(default_factory=dict)  # by candidate


def intend(memory: Memory, taking: Taking) -> Memory:
    """Before the provider is called."""
    assert memory.taking is None, "one takeover of an address at a time"
    assert memory.quarantined is None, "a quarantined candidate never takes"
    return replace(memory, taking=taking)


def arrived(memory: Memory) -> Memory:
    """The provider says that I hold it: by what I began, by a person's hand, or as ever."""
    taking = memory.taking
    # Where a person put it, a person has looked.
    took = memory.took if taking is None else not taking.planned
    takeover = memory.takeover if taking is None or taking.planned else taking
    unverified = memory.unverified if taking is None else taking
    return replace(memory, held=True, taking=None, unverified=unverified, took=took, takeover=takeover, expected=None)


def verified(memory: Memory) -> Memory:
    """The address was asked, whatever it said."""
    return replace(memory, unverified=None)


def abandoned(memory: Memory) -> Memory:
    """What I began did not come about."""
    return replace(memory, taking=None)


def lost(memory: Memory, quarantined: Quarantined) -> Memory:
    return replace(memory, held=False, took=False, quarantined=quarantined, taking=None, unverified=None)


def handed_over(memory: Memory) -> Memory:
    """It left me because a person moved it: no quarantine."""
    return replace(memory, held=False, took=False, taking=None, unverified=None, expected=None)


def settled(memory: Memory) -> Memory:
    """The move that was announced is over."""
    return replace(memory, expected=None)


def rearmed(memory: Memory) -> Memory:
    """A person has looked: whatever was lost, or is about to be found lost, is known. Whether I hold it the provider
    says at its next word."""
    return replace(memory, quarantined=None, took=False, held=False)


def found_false(memory: Memory) -> Memory:
    """A person has found that my last takeover was for nothing; that is said once."""
    return replace(memory, takeover=None)


def freeze(memory: Memory, reading: ClockReading, duration_s: float, actor: str, why: str) -> Memory:
    """No automatic takeover for `duration_s`. Raises ChangeInvalid for a bad duration."""
    return replace(memory, frozen=Frozen(until=deadline_at(reading, duration_s), actor=actor, why=why[:REASON_LIMIT]))


def thaw(memory: Memory) -> Memory:
    return replace(memory, frozen=None)


def expect(memory: Memory, reading: ClockReading, to: str) -> Memory:
    return replace(memory, expected=Expected(to=to, until=deadline_at(reading, EXPECTED_FOR_S)))


def frozen_for_s(memory: Memory, reading: ClockReading) -> float | None:
    """Seconds that the freeze still lasts; None without one."""
    if memory.frozen is None or is_due(memory.frozen.until, reading):
        return None
    return remaining_s(memory.frozen.until, reading)


def expects(memory: Memory, reading: ClockReading, owner: str | None) -> bool:
    """A person said that it would go to `owner`."""
    expected = memory.expected
    return expected is not None and expected.to == owner and not is_due(expected.until, reading)


def expected_no_more(memory: Memory, reading: ClockReading) -> bool:
    """What was announced did not come in its time."""
    return memory.expected is not None and is_due(memory.expected.until, reading)


# --- on disk ----------------------------------------------------------------------------------------------------------

_ADAPTER = TypeAdapter(Memory)


def to_json(memory: Memory, now_s: float) -> dict[str, Any]:
    """JSON values. Times of the clock that starts anew with each boot are written as ages."""
    aged = {name: _shifted(normal, -now_s) for name, normal in memory.normal.items()}
    plain: dict[str, Any] = _ADAPTER.dump_python(replace(memory, normal=aged), mode="json")
    return {"format": FORMAT, **plain}


def from_json(plain: object, now_s: float) -> Memory:
    """Raises ValueError for what is no memory. Time spent away ages nothing: nobody watched."""
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ValueError("no memory of this version")
    try:
        memory = _ADAPTER.validate_python({key: value for key, value in plain.items() if key != "format"})
    except ValidationError as error:
        raise ValueError(f"{error.error_count()} faults in it") from error
    return replace(memory, normal={name: _shifted(normal, now_s) for name, normal in memory.normal.items()})


def _shifted(normal: Normal, by_s: float) -> Normal:
    return replace(
        normal,
        updated_at_s=None if normal.updated_at_s is None else normal.updated_at_s + by_s,
        silences=tuple(
            Silence(death=s.death, ended_at_s=s.ended_at_s + by_s, duration_s=s.duration_s) for s in normal.silences
        ),
    )
