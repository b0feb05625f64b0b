"""Nouns of look: what is asked of a target, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ProbeKind(StrEnum):
    ICMP = "icmp"
    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"


class Outcome(StrEnum):
    ANSWERED = "answered"
    REFUSED = "refused"  # the host lives, nothing listens
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"  # no route, network or host unreachable
    RESET = "reset"  # accepted, then cut
    BAD_STATUS = "bad_status"  # an HTTP answer, and not one that was expected
    BAD_CERTIFICATE = "bad_certificate"  # TLS: expired, wrong name, unknown authority
    BAD_ANSWER = "bad_answer"  # not the protocol that was asked for
    NOT_SENT = "not_sent"  # our own fault: no socket, no permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    kind: ProbeKind
    address: str
    port: int | None = None  # None for ICMP
    path: str = "/"
    host: str | None = None  # Host header, and SNI unless `server_name` says otherwise; None: the address
    server_name: str | None = None  # SNI, and the name that the certificate must be for; None: `host`
    ca_file: str | None = None  # HTTPS: authority to trust; None: the system's
    verify: bool = True
    expect_status: tuple[int, int] = (200, 399)  # inclusive
    body_limit_bytes: int = 256  # how much of the body is kept (agent-check words)
    source: str | None = None  # local address to probe from


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one probe saw, at a time, from a source."""

    target: Target
    time: datetime  # UTC, when the probe was sent
    outcome: Outcome
    rtt_s: float  # until the answer or the verdict
    status: int | None = None
    body: bytes = b""
    detail: str = ""  # what, where: for people
    connected: bool = False  # HTTP and HTTPS: the host took the connection, whatever came of it then

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.ANSWERED
