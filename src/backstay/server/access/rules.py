"""Who may log in, how soon again, and until when: decided. Pure; the time is an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Any

from backstay.server.access.model import AccessError
from backstay.server.model import Role

PASSWORD_LEAST_CHARS = 12
PASSWORD_LIMIT_CHARS = 256
CLAIMS_LIMIT = 1_000  # values of one claim that are looked at
FORGET_AFTER = timedelta(hours=1)  # a bucket of failures that rested for so long is empty
SEEN_EVERY = timedelta(minutes=1)  # a use is noted at most so often

RESERVED = {"server", "nobody", "many", "root"}  # "many": of refusals that share a line

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}", re.ASCII)


# --- how soon again --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """How many failures are free, and how long the next ones cost: 1 s, 2 s, 4 s ... up to the limit."""

    free: int
    limit_s: float


# Who knows the name alone cannot lock its owner out for long; one address that tries many names is stopped for longer.
ACCOUNT = Throttle(free=5, limit_s=60.0)
ADDRESS = Throttle(free=20, limit_s=900.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Failures of one account, or from one address."""

    failures: int
    last: datetime  # of them


def wait_s(bucket: Bucket | None, throttle: Throttle, now: datetime) -> float:
    """Seconds until the next try may be looked at; 0: now."""
    failures = count(bucket, now)
    if bucket is None or failures < throttle.free:
        return 0.0
    pause_s = min(throttle.limit_s, 2.0 ** min(failures - throttle.free, 30))
    # A clock that was stepped back must not lock anybody out for longer than the limit.
    return max(0.0, min(pause_s, pause_s - (now - bucket.last).total_seconds()))


def count(bucket: Bucket | None, now: datetime) -> int:
    """Failures that still count."""
    return 0 if bucket is None or now - bucket.last >= FORGET_AFTER else bucket.failures


def account_bucket(name: str) -> str:
    return f"account/{name.strip().lower()[:64]}"


def address_bucket(address: str) -> str:
    """One a household: a /64 of IPv6 is at one user's command."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"address/{address[:64]}"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return f"address/{IPv6Address(int(parsed) >> 64 << 64)}/64"
        parsed = parsed.ipv4_mapped
    return f"address/{parsed}"


# --- until when ------------------------------------------------------------------------------------------------------


def session_lives(created_at: datetime, seen_at: datetime, now: datetime, *, idle_s: float, absolute_s: float) -> bool:
    """Was it used lately, and is the login not too long ago?"""
    return (now - seen_at).total_seconds() < idle_s and (now - created_at).total_seconds() < absolute_s


# --- who -------------------------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """The name of a user or a token, in lower case. Raises AccessError."""
    plain = name.strip().lower()
    if not _NAME.fullmatch(plain):
        raise AccessError(
            "invalid", "A name has 1 to 64 letters, digits and . _ @ + - and begins with one of the first two."
        )
    return plain


def check_user(name: str) -> str:
    """As `check_name`, and none that the journal gives to somebody else. Raises AccessError."""
    plain = check_name(name)
    if plain in RESERVED:
        raise AccessError("invalid", f"{plain} is how the journal names somebody else. Take another name.")
    return plain


def check_password(password: str, user: str) -> None:
    """Long, and not the obvious one (NIST SP 800-63B: length counts, composition rules do not). Raises AccessError."""
    if not PASSWORD_LEAST_CHARS <= len(password) <= PASSWORD_LIMIT_CHARS:
        raise AccessError("invalid", f"A password has {PASSWORD_LEAST_CHARS} to {PASSWORD_LIMIT_CHARS} characters.")
    plain = password.lower()
    if len(set(plain)) < 5 or user in plain or "backstay" in plain:
        raise AccessError("invalid", "This password is easily guessed. Take a few words that do not belong together.")


def role_of(claims: Mapping[str, Any], role_claim: str, roles: Mapping[str, Role]) -> Role | None:
    """The highest role that the provider's claim gives; None: nobody here."""
    value = claims.get(role_claim)
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    given = {roles[one] for one in values[:CLAIMS_LIMIT] if isinstance(one, str) and one in roles}
    return max(given, key=list(Role).index, default=None)
