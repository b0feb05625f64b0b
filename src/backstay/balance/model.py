"""Nouns of the load-balancer tier: what an engine shall run, what it did, and what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backstay.estate.model import Balance, Check, EngineKind, Fastcgi, Protocol, TlsProfile

SHARE_FLOOR = 0.05  # of a full share; a floored backend is still measured by canary requests
SHARE_CAP = 3.0


Key = tuple[str, str]  # pool, node: one backend


class BackendState(StrEnum):
    ACTIVE = "active"
    DRAINING = "draining"  # no new requests; what is in flight finishes
    DOWN = "down"  # no requests: its check fails, or its live traffic does


class HealthState(StrEnum):
    UNCHECKED = "unchecked"  # since the start; not served until its first check, unless nothing else is there
    UP = "up"
    DOWN = "down"  # its checks fail
    EJECTED = "ejected"  # its check says ready, and its live traffic fails
    PROBATION = "probation"  # after an ejection: a canary's share until its live traffic is good


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the checks, the backend's own words and its live traffic say of one backend."""

    state: HealthState
    reason: str = ""  # for people
    draining: bool = False  # the backend said `drain`, `maint` or `stopped`
    factor: float = 1.0  # the backend's own word ("50%"), or a canary's share during probation

    @property
    def serving(self) -> bool:
        return self.state in (HealthState.UP, HealthState.PROBATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the rescaler gives one backend, and why."""

    share: float = 1.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    name: str  # the node
    address: str
    port: int
    state: BackendState = BackendState.ACTIVE
    share: float = 1.0  # 1.0 is a full share; SHARE_FLOOR..SHARE_CAP
    reason: str = ""  # why this state and share, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredPool:
    name: str
    protocol: Protocol
    balance: Balance
    backends: tuple[Backend, ...]
    check: Check | None
    slow_start_s: float
    connect_timeout_s: float
    response_timeout_s: float
    fastcgi: Fastcgi | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredTls:
    certificate_file: str  # absolute; PEM chain, leaf first
    key_file: str
    fingerprint: str  # of both files' bytes, so that a renewed certificate is a new revision
    profile: TlsProfile
    hsts_max_age_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredRoute:
    path: str
    pool: str
    websocket: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpService:
    name: str
    hostnames: tuple[str, ...]
    http_port: int
    https_port: int
    tls: DesiredTls | None
    redirect_http: bool
    header_limit_kb: int
    body_limit_mb: int
    routes: tuple[DesiredRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpService:
    name: str
    port: int
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What one load balancer shall run. Deterministic: equal inputs give an equal `revision`."""

    estate: str
    lb: str
    engine: EngineKind
    listen: tuple[str, ...]  # addresses to bind; ("*",) for all
    services: tuple[HttpService | TcpService, ...]
    pools: tuple[DesiredPool, ...]
    revision: str  # hash over everything above, but for the backends' `reason`: words alter no engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVersion:
    kind: EngineKind
    binary: str
    version: tuple[int, int, int]
    origin: str  # "system", "wheel", "configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this binary can do; what it cannot is rendered another way, and `doctor` says so."""

    version: EngineVersion
    least_time: bool
    keepalive_min_timeout: bool  # reloads close no idle client connection under a request
    runtime_changes: bool  # weight and drain without a reload
    active_checks: bool
    slow_start: bool
    uwsgi: bool
    fastcgi: bool
    http2: bool
    tcp: bool
    missing: tuple[str, ...] = ()  # what the binary lacks, in words


Files = Mapping[str, str]  # path relative to the engine's folder -> content


class How(StrEnum):
    NOTHING = "nothing"  # already so
    RUNTIME = "runtime"
    RELOAD = "reload"
    START = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    revision: str
    how: How
    expected_resets: int  # client connections that this apply was expected to reset
    took_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStats:
    """One backend as the engine sees it now. Counters are since the engine's start and may reset."""

    pool: str
    backend: str
    in_flight: int  # requests (HTTP) or connections (TCP) at this moment
    engine_state: str  # the engine's own word


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    time: datetime
    running: bool
    client_connections: int
    backends: tuple[BackendStats, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request (or TCP session) as the engine's access log tells it; a retried request is one sample a try."""

    time: datetime
    request_id: str
    service: str
    route: str  # the route's path: the route class of the rescaler
    pool: str
    backend: str
    status: int  # of this try; 0 when the backend gave none
    connect_time_s: float | None
    header_time_s: float | None  # from sending the request to the response's header; None when none came
    total_time_s: float
    final: bool  # this try's answer went to the client
    cut: bool  # the answer was begun and not finished by the backend or the engine

    @property
    def error(self) -> bool:
        """The backend failed: no answer, or a 5xx that is its own."""
        return self.status == 0 or self.status >= 500 or self.cut
