"""The control API's JSON, both ways: what the agent answers and what its clients read. Pure.

Times are ISO 8601 in UTC, durations in seconds, shares 1.0 for a full share. docs/agent.md tells the routes.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, ConfigDict, StringConstraints
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from backstay.balance.explain import Row
from backstay.change.wire import Line


class EngineView(TypedDict):
    kind: str
    version: str  # "1.31.3"
    binary: str
    origin: str  # "system", "wheel", "configured"
    running: bool
    missing: list[str]  # what this binary lacks, in words
    client_connections: int | None  # None: the engine is not up


class PoolSummary(TypedDict):
    pool: str
    protocol: str
    backends: int
    active: int
    draining: int
    down: int
    fail_open: bool  # every backend is down, so the last set is kept serving


class StatusView(TypedDict):
    lb: str
    tier: str
    estate: str
    estate_sha256: str
    estate_source: str  # "file", "applied", "server", "last-good"
    engine: EngineView
    revision: str | None  # that runs; None before the first apply
    in_sync: bool  # what runs is what is desired
    applied_at: str | None
    how: str | None  # "nothing", "runtime", "reload", "start"
    error: str | None  # why the last apply was refused or failed; None when it succeeded
    warnings: list[str]  # what needs a person: a bad estate file, a broken certificate, a full spool
    reloads: int  # since the agent's start
    changes: int  # in force
    events_waiting: int  # in the spool
    pools: list[PoolSummary]
    agent: AgentView
    server: ServerView | None  # None: not enrolled with any


class ServerView(TypedDict):
    """The server that an agent is enrolled with, as the agent sees it."""

    url: str
    id: str
    connected: bool  # it answers, and it is the right one
    since: str | None  # when that became so, or ceased; None: not tried yet
    revision: int  # that was followed last
    error: str | None  # why it is not connected, or what of its word is not followed
    refusals: int  # changes of its word that are not in force here


class AgentView(TypedDict):
    version: str
    pid: int
    started_at: str
    resident_mb: float


class BackendView(TypedDict):
    backend: str
    address: str
    port: int
    state: str  # "active", "draining", "down"
    share: float
    health: str
    in_flight: int | None  # None: the engine is not up
    engine_state: str | None  # the engine's own word
    reason: str


class PoolView(PoolSummary):
    balance: str
    members: list[BackendView]


class ExplainView(TypedDict):
    pool: str
    lb: str
    every_s: float | None  # None: this pool is not rescaled
    at: str | None  # None: no step yet
    frozen: str | None  # why no share may move
    p95_ms: float | None  # the tier's
    rows: list[Row]


class SignalsView(TypedDict):
    """The last closed window of this load balancer (balance.window.to_json)."""

    pool: str
    lb: str
    id: str
    at: str
    signals: list[dict[str, Any]]


class PlanView(TypedDict):
    lb: str
    digest: str  # give it to apply: it is refused when anything changed since
    in_sync: bool
    how: str  # what apply would do: "nothing", "runtime", "reload", "start"; "by the server"
    expected_resets: int | None  # None: by way of the server, which does not know
    words: list[str]
    diff: str  # unified


class AppliedView(TypedDict):
    lb: str
    revision: str
    how: str
    expected_resets: int | None  # None: by way of the server, which does not know
    took_s: float
    detail: str


class EndedView(TypedDict):
    by: str  # "undone", "expired"
    at: str
    actor: str
    reason: str


class ChangeView(TypedDict):
    """`change_json` and `ended_json` of change/wire.py."""

    id: str
    kind: str
    node: str
    pool: str | None
    factor: float | None
    parameter: NotRequired[str]  # of a parameter, which the server alone tells of
    value: NotRequired[Any]
    actor: str
    reason: str
    created_at: str
    forced: bool
    remaining_s: float | None
    expires_at: str | None
    ended: NotRequired[EndedView]  # absent: in force


class VerdictView(TypedDict):
    """`verdict_json` of change/wire.py."""

    allowed: bool
    code: str
    notes: NotRequired[list[str]]
    overridden: NotRequired[list[VerdictView]]
    sentence: NotRequired[str]
    pool: NotRequired[str | None]
    figures: NotRequired[dict[str, Any]]
    overridable: NotRequired[bool]


class ChangeAnswer(TypedDict):
    lb: str
    change: ChangeView
    verdict: VerdictView
    dry_run: bool


class ProofView(TypedDict):
    """A drain's proof on one load balancer (balance.drain.to_json), with what it comes to."""

    change: str
    lb: str
    node: str
    pool: str | None
    started_at: str
    in_flight_at_start: int
    in_flight: int
    finished: int
    cut: int
    refused: int
    started_after: int
    idle: int
    done: bool
    done_at: str | None
    seen_at: str | None  # None: the engine did not answer when the drain began
    lost: int  # cut and refused
    detail: str  # the same in words


class IpView(TypedDict):
    """A global IP as one candidate knows it."""

    ip: str
    lb: str  # who says so
    address: str
    candidates: list[str]
    owner: str | None  # the provider's word
    owner_known: bool
    owner_at: str | None  # when it was heard
    owner_error: str | None
    moving: bool
    state: str  # of this candidate: "active", "watching", "suspecting", "taking", "holding", "quarantined", "frozen"
    reason: str
    quarantined: str | None  # since when
    took: bool  # by itself, and not rearmed since
    frozen_for_s: float | None
    verified: str | None  # how its last takeover was verified
    on_disk: bool


class IpEvidenceView(TypedDict):
    death: str  # what it looks like: "host", "hung", "refused", "tls"
    silent_s: float
    patience_s: float
    log_likelihood: float  # nats
    threshold: float  # nats
    packet_loss: float  # 0.0..1.0
    misses: dict[str, int]
    answers: dict[str, int]
    convincing: bool


class IpProbeView(TypedDict):
    kind: str
    outcome: str | None  # of the last probe; None: none yet
    ago_s: float | None
    answered_ago_s: float | None
    rtt_ms: float | None  # smoothed
    detail: str
    strip: list[list[Any]]  # [seconds ago, outcome] of the last probes, oldest first


class IpCandidateView(TypedDict):
    lb: str
    answers: bool
    evidence: IpEvidenceView | None  # None: it answers
    quarantined: bool | None  # None: its agent was never reached
    took: bool | None
    icmp_filtered: bool
    silences: list[dict[str, Any]]
    probes: list[IpProbeView]


class IpExplainView(IpView):
    candidates_seen: list[IpCandidateView]
    own: list[IpProbeView]
    gateway: list[IpProbeView]
    trace: list[dict[str, Any]]  # how the evidence of the last suspicion grew: IpEvidenceView with ago_s and of


class SeenThroughView(TypedDict):
    lb: str | None
    detail: str
    nameless: bool  # somebody serves it, by a protocol that tells no name


class EventView(TypedDict):
    id: str
    time: str
    kind: str
    subject: str
    actor: str
    reason: str
    data: dict[str, Any]
    cause: str | None  # id of the event that led to it


class Problem(TypedDict):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: NotRequired[str]
    figures: NotRequired[dict[str, Any]]


# --- requests: what a client sends; changes and undos have theirs in change/wire.py -----------------------------


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid")


Ident = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{8,64}$")]


class PlanBody(_Body):
    estate: str


class ApplyBody(_Body):
    """Adopt `estate` (the text of the file), as planned in `plan` (the digest of that plan)."""

    estate: str
    plan: str
    actor: Line
    reason: Annotated[str, StringConstraints(max_length=500)] = ""


class AckBody(_Body):
    through: Ident
