"""Nouns of access: people, their sessions and tokens, and what agents hold. Pure. No secret is among them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backstay.server.model import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. Of an OpenID provider (`issuer`, `subject`), or with a password here; a link sets the first one."""

    name: str  # as the journal names them; never given to another
    role: Role
    enabled: bool = True
    has_password: bool = False
    issuer: str | None = None
    subject: str | None = None
    created_at: datetime  # UTC
    last_login: datetime | None = None


class Via(StrEnum):
    """How a session began."""

    PASSWORD = "password"  # noqa: S105
    LINK = "link"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that is logged in."""

    id: str
    user: str
    via: Via
    address: str  # at the login
    created_at: datetime  # UTC
    seen_at: datetime  # UTC, to the minute


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """What a program shows. It may what its role may, in its rooms; never more than its owner may at that time."""

    id: str
    name: str  # the journal's "token/NAME"
    role: Role
    rooms: frozenset[str] | None = None  # first words below /api/v1/; None: all
    owner: str | None = None  # a user; None: a machine's, made by an admin
    created_at: datetime  # UTC
    expires_at: datetime | None = None  # UTC; None: until revoked
    last_used: datetime | None = None  # UTC, to the minute
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """Lets the agent of one load balancer enrol, once."""

    id: str
    lb: str
    created_by: str
    created_at: datetime  # UTC
    expires_at: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Lets whoever opens it first set the password of `user`."""

    user: str
    role: Role
    expires_at: datetime  # UTC


class AccessError(Exception):
    """It cannot be so: what, where, what next. `code`: "unknown", "taken", "invalid", "last_admin"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
