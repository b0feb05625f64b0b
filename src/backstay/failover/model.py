"""Nouns of failover: what is known of a global IP, of its candidates, and what may be decided.

Times are seconds of a clock that is never stepped (CLOCK_BOOTTIME); wall time is for people and lives in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from backstay.look.model import Outcome, ProbeKind


class Death(StrEnum):
    """How a load balancer can be dead for its users. Each has its own history of false alarms."""

    HOST = "host"  # nothing answers, by any kind
    HUNG = "hung"  # the host answers, the engine accepts or not, and says nothing
    REFUSED = "refused"  # the host says that nothing listens; the agent may be restarting the engine
    GONE = "gone"  # as before, and the agent does not run either: nobody brings the engine back
    TLS = "tls"  # HTTP answers, HTTPS does not: users are redirected into a wall


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One probe of one candidate, as the watcher takes it in."""

    at_s: float  # when it was sent
    kind: ProbeKind
    outcome: Outcome
    rtt_s: float
    connected: bool = False  # the host took the connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A false alarm: the candidate fell silent and came back by itself."""

    death: Death
    ended_at_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Normal:
    """What is normal for one candidate, learnt while it answers. Bounded, and kept across restarts."""

    watched_s: float = 0.0
    packets_sent: float = 0.0  # ICMP, decayed: recent loss counts, last month's does not
    packets_lost: float = 0.0
    alarms: float = 0.0  # suspicions begun, decayed like the packets
    updated_at_s: float | None = None
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A suspicion that is open: what was seen since the first miss."""

    began_at_s: float  # when the first missed probe was sent
    misses: Mapping[ProbeKind, int] = field(default_factory=dict)
    last: Mapping[ProbeKind, Outcome] = field(default_factory=dict)
    host_spoke: bool = False  # an answer, a refusal or a reset: somebody is at home
    looked_like: Death = Death.HOST  # at the last miss; what is learnt when it ends
    answers: Mapping[ProbeKind, int] = field(default_factory=dict)
    mute: Mapping[ProbeKind, int] = field(default_factory=dict)  # of the misses: connected, and then nothing
    agent_gone: bool = False  # its agent does not run: what was refused stays so


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """All that is known of whether one candidate lives."""

    normal: Normal = field(default_factory=Normal)
    episode: Episode | None = None
    seen_at_s: Mapping[ProbeKind, float] = field(default_factory=dict)  # last answer of each kind
    icmp_only_since_s: float | None = None  # ICMP is silent while the rest answers: a filter, reported once


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why a candidate is, or is not, held for dead. `explain` prints it."""

    death: Death
    silent_s: float
    patience_s: float  # how long a silence of this sort must last before it counts
    log_likelihood: float  # nats: dead over merely unlucky
    threshold: float  # nats
    packet_loss: float
    misses: Mapping[ProbeKind, int]
    answers: Mapping[ProbeKind, int]

    @property
    def convincing(self) -> bool:
        return self.silent_s >= self.patience_s and self.log_likelihood >= self.threshold


class State(StrEnum):
    """Of a candidate, for one address."""

    ACTIVE = "active"  # holds it, as declared or moved by a person
    WATCHING = "watching"
    SUSPECTING = "suspecting"
    TAKING = "taking"
    HOLDING = "holding"  # took it over; people have not looked yet
    QUARANTINED = "quarantined"
    FROZEN = "frozen"


class Reason(StrEnum):
    HOLDER_ANSWERS = "holder_answers"
    NOT_CONVINCED = "not_convinced"
    HOLDER_DEAD = "holder_dead"
    NO_HOLDER = "no_holder"
    I_HOLD = "i_hold"
    QUARANTINED = "quarantined"
    FROZEN = "frozen"
    ISOLATED = "isolated"
    SELF_UNHEALTHY = "self_unhealthy"
    FOREIGN_OWNER = "foreign_owner"  # a person routed it to a machine that is no candidate: theirs to undo
    OWNER_UNKNOWN = "owner_unknown"  # the provider has not answered yet: its word is the truth
    IN_FLIGHT = "in_flight"  # one takeover at a time
    NOT_MY_TURN = "not_my_turn"  # a preferred candidate lives, or has been given its time
    LOST_ADDRESS = "lost_address"
    TAKEN_ALREADY = "taken_already"  # one automatic move to a candidate; a person looks before the next


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one candidate knows of one address at a moment."""

    candidates: tuple[str, ...]  # preferred first
    owner: str | None  # the provider's word; None: nobody
    owner_known: bool
    quarantined: frozenset[str] = frozenset()
    frozen_until_s: float | None = None
    taken_by: frozenset[str] = frozenset()  # took it automatically and were not rearmed since
    evidence: Mapping[str, Evidence | None] = field(default_factory=dict)  # candidate -> None: it answers
    own_engine_answers: bool = True
    references_answer: bool = True  # gateway, provider API, other candidates: at least one does
    in_flight: bool = False
    was_mine: bool = False  # the last owner that I knew of was me
    dead_since_s: float | None = None  # when the holder's evidence became convincing


@dataclass(frozen=True, slots=True)
class Stay:
    reason: Reason
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    reason: Reason
    holder: str | None  # what the provider must still say when we assign
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Quarantine:
    """I lost the address: I stay out until a person rearms me."""

    reason: Reason


Decision = Stay | TakeOver | Quarantine
