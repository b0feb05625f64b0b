"""Between an agent and its server: enrolment, what is desired, orders, reports and events. Pure.

Times are ISO 8601 in UTC, durations in seconds. What is desired is declarative (all changes in force), so an agent that
missed a hundred revisions needs only the last. An order is done once, and its outcome is reported until it is known.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from backstay.change.durations import DURATION_LIMIT_S
from backstay.change.wire import ChangeRequest, Line
from backstay.estate.model import Name

ESTATE_LIMIT_CHARS = 4_000_000
CHANGES_LIMIT = 10_000  # in one word of the server's
ORDERS_LIMIT = 1_000
EVENTS_LIMIT = 1_000  # in one delivery
WAIT_LIMIT_S = 30.0  # of a long poll

Ident = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Secret = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{20,200}$")]
Revision = Annotated[int, Field(ge=0)]


class Wire(BaseModel):
    """Unknown fields are left aside, so that an older agent understands a newer server, and the other way round."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="ignore", allow_inf_nan=False)


# --- enrolment -----------------------------------------------------------------------------------------------------


class Enrol(Wire):
    """An agent's first word: it has a join token, which is good once."""

    lb: Name
    join_token: Secret
    version: Annotated[str, StringConstraints(max_length=64)] = ""


class Enrolled(Wire):
    """The agent's own credential. The server keeps its hash alone: it is told once."""

    server: Ident  # this server's identity; of all servers on one database the same
    estate: Name
    lb: Name
    credential: Secret


class Renewed(Wire):
    """A new credential. The one before is good until this one is first used: an answer that is lost loses nothing."""

    credential: Secret


# --- what is desired -----------------------------------------------------------------------------------------------


class OrderKind(StrEnum):
    """Something done once to a global IP, as a person asked. What lasts is a change."""

    EXPECT = "expect"  # a person is about to move it to `to`: losing it quarantines nobody
    MOVE = "move"  # asked of its target
    REARM = "rearm"
    FREEZE = "freeze"  # for `for_s`; 0 ends a freeze


class Order(Wire):
    id: Ident
    kind: OrderKind
    ip: Name
    to: Name | None = None  # EXPECT, MOVE
    for_s: Annotated[float, Field(ge=0, le=DURATION_LIMIT_S)] | None = None  # FREEZE
    false_alarm: bool = False  # REARM: the takeover was no death
    actor: Line
    reason: Line
    expires_in_s: float  # not begun after that: nobody waits for it any more


class Ending(Wire):
    """Who ended a change that the server had put, and why."""

    id: Ident
    actor: Line
    reason: Line


class Desired(Wire):
    """What the server wants of one load balancer, whole. Revisions grow; the same one says the same."""

    server: Ident
    estate: Name
    lb: Name
    revision: Revision
    estate_sha256: Digest
    estate_text: Annotated[str, StringConstraints(max_length=ESTATE_LIMIT_CHARS)] | None = None  # None: you have it
    estate_actor: Line
    estate_reason: Annotated[str, StringConstraints(max_length=500)] = ""
    changes: Annotated[tuple[ChangeRequest, ...], Field(max_length=CHANGES_LIMIT)] = ()  # all that the server has put
    # and that are in force; `duration_s` is what is left
    ended: Annotated[tuple[Ending, ...], Field(max_length=CHANGES_LIMIT)] = ()  # lately
    orders: Annotated[tuple[Order, ...], Field(max_length=ORDERS_LIMIT)] = ()  # whose outcome the server does not know
    report_every_s: Annotated[float, Field(ge=1, le=300)] = 5.0  # at rest; at once after following


# --- what is reported ------------------------------------------------------------------------------------------------


class OrderOutcome(Wire):
    id: Ident
    done: bool
    detail: Annotated[str, StringConstraints(max_length=2_000)] = ""  # why not; what is so now


class ChangeRefusal(Wire):
    """A change that this load balancer could not put in force."""

    id: Ident
    detail: Annotated[str, StringConstraints(max_length=2_000)]


class Report(Wire):
    """How one load balancer stands. The newest replaces the one before it."""

    lb: Name
    at: AwareDatetime  # by the agent's clock
    revision: Revision  # that was followed last; 0 before the first
    error: Annotated[str, StringConstraints(max_length=4_000)] = ""  # why a newer one is not followed
    refusals: Annotated[tuple[ChangeRefusal, ...], Field(max_length=CHANGES_LIMIT)] = ()
    orders: Annotated[tuple[OrderOutcome, ...], Field(max_length=ORDERS_LIMIT)] = ()
    # As the control API says it (views.py); None where it has nothing to say.
    status: dict[str, Any]  # StatusView
    pools: list[dict[str, Any]]  # PoolView
    explains: list[dict[str, Any]] = []  # ExplainView
    changes: list[dict[str, Any]] = []  # ChangeView: in force and lately ended, whoever put them
    proofs: list[dict[str, Any]] = []  # ProofView of the drains in force
    ips: list[dict[str, Any]] = []  # IpExplainView


class Reported(Wire):
    """The server has it. `orders`: outcomes that need not be told again."""

    orders: tuple[Ident, ...] = ()


class Delivery(Wire):
    """Events out of the spool, oldest first. Delivered at least once; the server stores each id once."""

    events: Annotated[list[dict[str, Any]], Field(max_length=EVENTS_LIMIT)]  # EventView


class Delivered(Wire):
    through: Ident | None  # all up to this one are durable: the spool may forget them
