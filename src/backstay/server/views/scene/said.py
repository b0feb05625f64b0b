"""An agent's report, read. Pure.

The shapes are those of link/views.py. An older agent leaves fields out, and a broken one sends what it likes: what
cannot be read is left out and said (`unreadable`), so that one load balancer never takes a page down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from backstay.link.wire import Report

_READ = ConfigDict(extra="ignore", allow_inf_nan=False)
Part = TypeVar("Part")


def _or_empty(value: object) -> object:
    return "" if value is None else value


Words = Annotated[str, BeforeValidator(_or_empty)]


@dataclass(frozen=True, slots=True, config=_READ)
class Backend:
    backend: str
    state: str = ""  # "active", "draining", "down"
    share: float = 1.0
    health: Words = ""
    in_flight: int | None = None
    reason: Words = ""
    address: Words = ""
    port: int = 0


@dataclass(frozen=True, slots=True, config=_READ)
class Pool:
    pool: str
    protocol: Words = ""
    balance: Words = ""
    fail_open: bool = False
    members: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True, config=_READ)
class Scale:
    """One backend in the rescaler's last step."""

    backend: str
    share_before: float = 1.0
    share: float = 1.0
    signal_ms: float | None = None
    unloaded_ms: float | None = None
    against_pool: float | None = None
    error_rate: float = 0.0
    samples: int = 0
    confidence: float = 0.0
    why: Words = ""


@dataclass(frozen=True, slots=True, config=_READ)
class Explain:
    pool: str
    every_s: float | None = None
    at: AwareDatetime | None = None
    frozen: Words = ""
    p95_ms: float | None = None
    rows: tuple[Scale, ...] = ()


@dataclass(frozen=True, slots=True, config=_READ)
class Engine:
    kind: Words = ""
    version: Words = ""
    origin: Words = ""
    running: bool = False
    client_connections: int | None = None


@dataclass(frozen=True, slots=True, config=_READ)
class Agent:
    version: Words = ""
    resident_mb: float | None = None
    started_at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True, config=_READ)
class Status:
    tier: Words = ""
    engine: Engine = field(default_factory=Engine)
    agent: Agent = field(default_factory=Agent)
    estate_sha256: Words = ""
    revision: Words = ""
    in_sync: bool = False
    applied_at: AwareDatetime | None = None
    error: Words = ""
    warnings: tuple[str, ...] = ()
    events_waiting: int = 0


@dataclass(frozen=True, slots=True, config=_READ)
class Ended:
    by: Words = ""
    at: AwareDatetime | None = None
    actor: Words = ""
    reason: Words = ""


@dataclass(frozen=True, slots=True, config=_READ)
class Change:
    id: str
    kind: str
    node: str
    pool: str | None = None
    factor: float | None = None
    actor: Words = ""
    reason: Words = ""
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    forced: bool = False
    ended: Ended | None = None


@dataclass(frozen=True, slots=True, config=_READ)
class Proof:
    """One drain on one load balancer; all numbers are requests."""

    change: str
    node: str
    lb: Words = ""
    in_flight_at_start: int = 0
    in_flight: int = 0
    finished: int = 0
    cut: int = 0
    refused: int = 0
    started_after: int = 0
    done: bool = False
    started_at: AwareDatetime | None = None
    done_at: AwareDatetime | None = None
    seen_at: AwareDatetime | None = None

    @property
    def lost(self) -> int:
        return self.cut + self.refused


@dataclass(frozen=True, slots=True, config=_READ)
class Evidence:
    """Nats of evidence that one candidate is dead, as another weighed them."""

    death: Words = ""
    silent_s: float = 0.0
    patience_s: float = 0.0
    log_likelihood: float = 0.0
    threshold: float = 0.0
    packet_loss: float = 0.0
    convincing: bool = False
    ago_s: float = 0.0
    of: Words = ""


@dataclass(frozen=True, slots=True, config=_READ)
class Probe:
    kind: str
    outcome: Words = ""
    ago_s: float | None = None
    answered_ago_s: float | None = None
    rtt_ms: float | None = None
    detail: Words = ""
    strip: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True, config=_READ)
class Candidate:
    """What the reporting load balancer sees of another candidate."""

    lb: str
    answers: bool = False
    evidence: Evidence | None = None
    quarantined: bool | None = None
    took: bool | None = None
    icmp_filtered: bool = False
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True, config=_READ)
class Ip:
    ip: str
    owner: str | None = None
    owner_known: bool = False
    owner_at: AwareDatetime | None = None
    owner_error: Words = ""
    moving: bool = False
    state: str = ""
    reason: Words = ""
    quarantined: AwareDatetime | None = None
    took: bool = False
    frozen_for_s: float | None = None
    verified: Words = ""
    on_disk: bool = True
    candidates_seen: tuple[Candidate, ...] = ()
    own: tuple[Probe, ...] = ()
    gateway: tuple[Probe, ...] = ()
    trace: tuple[Evidence, ...] = ()


class _Reader(Generic[Part]):
    """Reads a list of parts; one that cannot be read is left out, and said once."""

    def __init__(self, name: str, part: type[Part]) -> None:
        self._name = name
        self._all: TypeAdapter[tuple[Part, ...]] = TypeAdapter(tuple[part, ...])  # type: ignore[valid-type]
        self._one: TypeAdapter[Part] = TypeAdapter(part)

    def read(self, given: list[dict[str, Any]], unreadable: list[str]) -> tuple[Part, ...]:
        try:
            return self._all.validate_python(given)
        except ValidationError:
            pass  # which one it is
        parts: list[Part] = []
        for place, plain in enumerate(given):
            try:
                parts.append(self._one.validate_python(plain))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False, include_context=False)[0]
                where = ".".join(map(str, (self._name, place, *first["loc"])))
                unreadable.append(f"{where}: {first['msg']}")
        return tuple(parts)


_POOLS, _EXPLAINS = _Reader("pools", Pool), _Reader("explains", Explain)
_CHANGES, _PROOFS, _IPS = _Reader("changes", Change), _Reader("proofs", Proof), _Reader("ips", Ip)
_STATUS = _Reader("status", Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One load balancer's word of itself."""

    lb: str
    at: datetime  # by the agent's clock
    revision: int  # of what is desired, that it follows
    error: str
    refusals: Mapping[str, str]  # change -> why it is not in force there
    status: Status
    pools: Mapping[str, Pool]
    explains: Mapping[str, Explain]
    changes: tuple[Change, ...]
    proofs: tuple[Proof, ...]
    ips: Mapping[str, Ip]
    unreadable: tuple[str, ...]  # what of it could not be read


def read(report: Report) -> Said:
    """The report, in our own nouns."""
    unreadable: list[str] = []
    status = _STATUS.read([report.status], unreadable)
    return Said(
        lb=report.lb,
        at=report.at,
        revision=report.revision,
        error=report.error,
        refusals={refusal.id: refusal.detail for refusal in report.refusals},
        status=status[0] if status else Status(),
        pools={pool.pool: pool for pool in _POOLS.read(report.pools, unreadable)},
        explains={one.pool: one for one in _EXPLAINS.read(report.explains, unreadable)},
        changes=_CHANGES.read(report.changes, unreadable),
        proofs=_PROOFS.read(report.proofs, unreadable),
        ips={ip.ip: ip for ip in _IPS.read(report.ips, unreadable)},
        unreadable=tuple(unreadable),
    )
