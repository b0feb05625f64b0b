"""Nouns of fixes: what was registered, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

from backstay.audit.model import Effect
from backstay.audit.planned import Planned


class FixRefused(Exception):
    """The fix cannot be registered, or there is none of this name: what, where, what next."""


class Outcome(StrEnum):
    """Where a fix stands."""

    WAITING = "waiting"  # the fact has not changed yet
    TOO_EARLY = "too early"  # it has, and nothing can be said yet
    CONFIRMED = "confirmed"  # the expected effect came, on the fixed nodes, with the change: the finding is closed
    NOT_CONFIRMED = "not confirmed"  # it did not: the finding is open again
    CONTRADICTED = "contradicted"  # the opposite came
    REOPENED = "reopened"  # it was confirmed, and then the effect went, or the fact was changed back


class Reason(StrEnum):
    """Why. Words for people are in story.py."""

    NOT_CHANGED = "not changed"
    OVERDUE = "overdue"  # not changed by the time that was given
    LATE = "late"  # changed before the fix was registered: what was expected was not told beforehand
    NO_PEERS = "no peers"  # no node of the cluster kept the fact: nothing to compare with
    NO_VALUES = "no values"  # the indicator has none before, or none after
    SHORT = "short"  # too little time after
    WIDE = "wide"  # the interval has room for the effect, and for none
    NEVER = "never"  # the time before is so short, or so noisy, that waiting alone does not help
    CAME = "came"
    NO_EFFECT = "no effect"
    SMALLER = "smaller"  # an effect, but less than half of what was expected
    CAME_BEFORE = "came before"  # the level moved before the change
    DRIFT = "drift"  # the nodes were going that way anyway
    EVERYWHERE = "everywhere"  # the unchanged peers moved as much
    OPPOSITE = "opposite"
    WENT = "went"  # the effect came, and is gone
    CHANGED_BACK = "changed back"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEffect:
    """What happened on one fixed node."""

    node: str
    changed: datetime
    estimate: float  # beside unchanged peers, after less before; NaN: no values
    gone: bool = False  # the fact was changed back


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of a fix, at one time. Effects are log ratios unless `effect.unit` says otherwise."""

    outcome: Outcome
    reason: Reason
    time: datetime  # when it was judged
    effect: Effect | None = None  # of the change, beside unchanged peers
    expected: float | None = None  # in the same unit
    p: float | None = None  # share of placebos that reach the effect, itself among them
    placebos: int = 0
    log_odds: float = 0.0  # of the expected effect against none; at most log(placebos + 1)
    nodes: tuple[NodeEffect, ...] = ()  # those that have changed
    missing: tuple[str, ...] = ()  # those that have not
    own: float | None = None  # change of the fixed nodes by themselves
    peers: float | None = None  # and of their unchanged peers
    before_s: float = 0.0  # how long the time before and after is
    after_s: float = 0.0
    wait_s: float | None = None  # about how long until it can be said; None: it can, or nobody knows
    together: tuple[str, ...] = ()  # facts that changed with it on every fixed node: not told apart from it
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix(Planned):
    """A planned change that is registered."""

    id: str  # CLUSTER-INDICATOR-N; empty: the register gives it
    registered: datetime
    verdict: Verdict | None = None  # the last one
    confirmed: Verdict | None = None  # the last that confirmed it; kept when it is reopened

    @classmethod
    def of(cls, planned: Planned, registered: datetime) -> Fix:
        return cls(id="", registered=registered, **{one.name: getattr(planned, one.name) for one in fields(planned)})

    @property
    def outcome(self) -> Outcome:
        return self.verdict.outcome if self.verdict else Outcome.WAITING
