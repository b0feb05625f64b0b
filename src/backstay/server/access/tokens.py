"""Secrets that this server makes: their shapes, their hashes, the cookie of a session, and the CSRF token bound to it.

A secret has 256 random bits, so that one round of SHA-256 keeps it as well as any slow hash would; the database has
the hash alone. The prefix says what it is, to people and to programs that look for leaked secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import Request

    from backstay.server.settings import Settings

CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
SECRET_LIMIT_CHARS = 200


class Secret(StrEnum):
    """What a secret is good for: its prefix."""

    SESSION = "bss_"
    TOKEN = "bst_"  # an API token  # noqa: S105
    CREDENTIAL = "bsa_"  # an agent's
    JOIN = "bsj_"  # to enrol an agent, once
    LINK = "bsl_"  # to set a password, once
    STATE = "bso_"  # of a login by OpenID Connect that is under way


def mint(kind: Secret) -> str:
    """A new secret, 47 letters and digits."""
    return kind + secrets.token_urlsafe(32)


def is_a(kind: Secret, text: str) -> bool:
    """Could `text` be such a secret? It keeps what is none from the database."""
    return text.startswith(kind) and len(text) <= SECRET_LIMIT_CHARS


def digest(secret: str) -> str:
    """What the database keeps of a secret: a look-up by it compares nothing that an attacker could time."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def session_cookie(settings: Settings) -> str:
    """Name of the session's cookie. `__Host-`: browsers take it by TLS and from this host alone (RFC 6265bis)."""
    return "__Host-backstay" if settings.secure else "backstay"


def session_secret(request: Request) -> str | None:
    """The secret in the session's cookie; None: there is none that could be one."""
    found = request.cookies.get(session_cookie(request.app.state.settings), "")
    return found if is_a(Secret.SESSION, found) else None


def csrf_token(request: Request) -> str:
    """What forms of this browser's session must carry; "" without a session.

    Made of the session's secret, so that it needs no place of its own, ends with the session, and nobody who only
    reads the database can make it.
    """
    secret = session_secret(request)
    return "" if secret is None else csrf_of(secret)


def csrf_of(secret: str) -> str:
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()
