"""Nouns of the server: who asks, what is kept, and one moment's view of the whole. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from backstay.change import ChangeKind, EndedBy
from backstay.estate import Estate
from backstay.link.wire import Order, OrderOutcome, Report

PATIENCE_S = 40.0  # an agent that was heard of since is there: a poll lasts 30 s

# --- who asks ------------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """Each may what the one before it may."""

    VIEWER = "viewer"  # sees everything but secrets
    OPERATOR = "operator"  # transient changes, addresses, undo
    ADMIN = "admin"  # the estate, agents, users, tokens

    def covers(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class PrincipalKind(StrEnum):
    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind of principal
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: as the journal names them. An agent has no role: it may speak for its own load balancer alone."""

    name: str  # "alice", "token/deploy", "agent/lb1"
    kind: PrincipalKind
    role: Role | None = None
    lb: str | None = None  # AGENT only
    session: str | None = None  # id of the browser's session; what a CSRF token is bound to
    rooms: frozenset[str] | None = None  # TOKEN: first words below /api/v1/ that it is good for; None: all


# --- what is kept --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EstateRevision:
    """An estate that was adopted. The newest is in force."""

    number: int  # 1, 2, ...
    text: str
    sha256: str
    actor: str
    reason: str
    at: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedChange:
    by: EndedBy
    at: datetime  # UTC
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChange:
    """A change as the server keeps it: for one node. A change of a zone is many, of one `batch`.

    Its end is by the wall clock: several servers share it. Each agent makes a deadline of its own clocks of what is
    left when it hears of it.
    """

    id: str
    batch: str  # id of the first change of what was asked for in one go
    selector: str  # what was asked for: "node/web2", "zone/wdc01", "cluster/web", "nodes/web*"
    kind: ChangeKind
    node: str
    pool: str | None = None
    factor: float | None = None  # WEIGHT
    parameter: str | None = None  # PARAMETER: its name, as Puppet knows it
    value: Any = None  # PARAMETER: JSON
    actor: str
    reason: str
    created_at: datetime  # UTC
    expires_at: datetime | None = None  # UTC; None: until undone
    forced: bool = False
    event: str | None = None  # id of the journal's event that tells of it
    ended: EndedChange | None = None  # None: in force


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOrder:
    """Something done once, by one load balancer, with its outcome as soon as it is known."""

    lb: str
    order: Order
    created_at: datetime  # UTC
    expires_at: datetime  # UTC
    event: str | None = None  # id of the journal's event that tells of it
    outcome: OrderOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """A load balancer's agent, as the server knows it."""

    lb: str
    enrolled_at: datetime  # UTC
    revoked_at: datetime | None = None
    seen_at: datetime | None = None  # UTC, by the server's clock: a poll or a report
    report: Report | None = None  # the newest
    reported_at: datetime | None = None  # UTC, by the server's clock

    def connected(self, now: datetime, patience_s: float = PATIENCE_S) -> bool:
        return (
            self.revoked_at is None and self.seen_at is not None and (now - self.seen_at).total_seconds() < patience_s
        )


# --- one moment ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a page, an answer or a metric is made of. Taken once a change of any of it; never altered."""

    at: datetime  # UTC
    server: str  # identity
    revision: int  # of what is desired; grows with every change, estate and order
    adopted: EstateRevision | None = None  # None: a new server, to which no estate was given yet
    estate: Estate | None = None  # `adopted`, parsed
    changes: tuple[ServerChange, ...] = ()  # in force, oldest first
    ended: tuple[ServerChange, ...] = ()  # lately, newest first
    orders: tuple[ServerOrder, ...] = ()  # lately, newest first
    agents: Mapping[str, AgentRecord] = field(default_factory=dict)  # by load balancer
    trouble: tuple[str, ...] = ()  # what is wrong with the server itself ("the database does not answer, since ...")
