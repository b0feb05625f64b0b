"""What a warden is given, and what it knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backstay.change import ClockReading
from backstay.failover.handover import Handover
from backstay.failover.keep import Keep
from backstay.failover.model import Decision, Evidence, Reason, State, Stay
from backstay.failover.ports import IpProvider, Owner, Peers, Pen, SeenThrough, Standing
from backstay.failover.watch import Watcher
from backstay.notify.model import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the estate says of one address."""

    name: str
    address: str
    candidates: tuple[str, ...]
    witnesses: tuple[str, ...]  # load balancers that are no candidates: to them the address is somewhere else
    false_takeovers_per_year: float
    nodes: Mapping[str, str] = field(default_factory=dict)  # candidate -> its own address


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a warden works with."""

    provider: IpProvider
    watcher: Watcher
    peers: Peers
    pen: Pen
    page: Callable[[Page], None]
    keep: Keep
    see: Callable[[], Awaitable[SeenThrough]]  # the address, from here
    clock: Callable[[], ClockReading]
    handover: Handover | None = None  # None: a planned move cuts what is in flight


@dataclass(slots=True)
class Trace:
    """How the evidence grew, for people."""

    at_s: float
    of: str
    evidence: Evidence


@dataclass(slots=True)
class Known:
    """What this candidate knows now, and no disk."""

    owner: Owner | None = None  # the provider's last word
    owner_at_s: float | None = None
    owner_at: datetime | None = None
    owner_error: str = ""
    owner_due_s: float = 0.0
    nobody_since_s: float | None = None
    dead_since_s: dict[str, float] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    decision: Decision = field(default_factory=lambda: Stay(Reason.OWNER_UNKNOWN, State.WATCHING))
    verified: str = ""  # how the last takeover was verified
    stuck_since_s: float | None = None
    traces: list[Trace] = field(default_factory=list)
