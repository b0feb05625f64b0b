"""Users, tokens and agents as admins keep them: checked, journaled and stored in one transaction. Synchronous.

The command line works on it beside a server or without one, over the same database; the server runs it in threads.
Every method raises AccessError for what cannot be, and StoreError or JournalError when the database does not answer.
A secret is returned once, when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backstay.journal import Event, new_id
from backstay.journal.store import Database
from backstay.server.access.model import AccessError, ApiToken, JoinToken, User
from backstay.server.access.passwords import Passwords
from backstay.server.access.rules import check_name, check_password, check_user
from backstay.server.access.store import Agents, Gates, People, Tokens
from backstay.server.access.tokens import Secret, digest, mint
from backstay.server.model import Role
from backstay.server.store.schema import MIGRATIONS

LINK_LIFE = timedelta(hours=24)
JOIN_LIFE = timedelta(hours=24)
TOKEN_LIFE_LIMIT = timedelta(days=3660)
ROOMS_LIMIT = 30
REASON_LIMIT_CHARS = 500


def utc_now() -> datetime:
    return datetime.now(UTC)


class Registry:
    """Over one database, whose tables it makes or upgrades."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        passwords: Passwords | None = None,
    ) -> None:
        database.migrate(MIGRATIONS)
        self.people = People(database)
        self.tokens = Tokens(database)
        self.agents = Agents(database)
        self.gates = Gates(database)
        self.passwords = passwords or Passwords()
        self.clock = clock

    def event(self, kind: str, subject: str, actor: str, reason: str, data: dict[str, Any] | None = None) -> Event:
        return Event(
            id=new_id(), time=self.clock(), kind=kind, subject=subject, actor=actor, reason=reason, data=data or {}
        )

    # -- users ---------------------------------------------------------------------------------------------------

    def add_user(self, name: str, role: Role, *, actor: str, reason: str) -> User:
        """A user without a password: give them a link, or set one."""
        user = User(name=check_user(name), role=role, created_at=self.clock())
        data = {"role": role.value}
        self.people.add(user, [self._told("user.added", f"user/{user.name}", actor, reason, data)])
        return user

    def make_link(self, name: str, *, actor: str, reason: str, life: timedelta = LINK_LIFE) -> tuple[str, datetime]:
        """A secret by which `name` sets a password, once, and until when (`link_path` makes it an address)."""
        plain = check_name(name)
        secret, expires_at = mint(Secret.LINK), self.clock() + life
        event = self._told("user.link_made", f"user/{plain}", actor, reason)
        self.people.make_link(digest(secret), plain, expires_at, [event])
        return secret, expires_at

    def set_password(self, name: str, password: str, *, actor: str, reason: str) -> None:
        """All sessions of that user end."""
        plain = check_name(name)
        check_password(password, plain)
        event = self._told("user.password_set", f"user/{plain}", actor, reason)
        self.people.set_password(plain, self.passwords.hash_now(password), [event])

    def set_role(self, name: str, role: Role, *, actor: str, reason: str) -> None:
        plain = check_name(name)
        event = self._told("user.role_set", f"user/{plain}", actor, reason, {"role": role.value})
        self.people.set_role(plain, role, [event])

    def set_enabled(self, name: str, enabled: bool, *, actor: str, reason: str) -> None:
        """All sessions of who is disabled end, and their tokens are refused."""
        plain = check_name(name)
        kind = "user.enabled" if enabled else "user.disabled"
        self.people.set_enabled(plain, enabled, [self._told(kind, f"user/{plain}", actor, reason)])

    def end_sessions(self, name: str, *, actor: str, reason: str) -> None:
        plain = check_name(name)
        self.people.end_sessions(plain, [self._told("user.sessions_ended", f"user/{plain}", actor, reason)])

    # -- API tokens ------------------------------------------------------------------------------------------------

    def create_token(
        self,
        name: str,
        role: Role,
        *,
        actor: str,
        reason: str,
        owner: str | None = None,
        rooms: Sequence[str] | None = None,
        life: timedelta | None = None,
    ) -> tuple[ApiToken, str]:
        """The token and its secret. `life`: None: until it is revoked."""
        now = self.clock()
        if life is not None and not timedelta(0) < life <= TOKEN_LIFE_LIMIT:
            raise AccessError("invalid", f"A token lasts up to {TOKEN_LIFE_LIMIT.days} days, or until it is revoked.")
        token = ApiToken(
            id=new_id(),
            name=check_name(name),
            role=role,
            rooms=None if rooms is None else _check_rooms(rooms),
            owner=owner,
            created_at=now,
            expires_at=None if life is None else now + life,
        )
        secret = mint(Secret.TOKEN)
        data = {"role": role.value, "owner": owner, "rooms": None if rooms is None else sorted(rooms)}
        event = self._told("token.created", f"token/{token.name}", actor, reason, data)
        self.tokens.add(token, digest(secret), [event])
        return token, secret

    def revoke_token(self, token_id: str, *, actor: str, reason: str, owner: str | None = None) -> None:
        """`owner`: it must be that user's own; None: anybody's."""
        named = {one.id: one.name for one in self.tokens.tokens(owner)}
        if token_id not in named:
            raise AccessError("unknown", f"There is no token {token_id[:64]}. See backstay token list")
        event = self._told("token.revoked", f"token/{named[token_id]}", actor, reason)
        self.tokens.revoke(token_id, owner, self.clock(), [event])

    # -- agents ----------------------------------------------------------------------------------------------------

    def make_join_token(
        self, lb: str, *, actor: str, reason: str, life: timedelta = JOIN_LIFE
    ) -> tuple[JoinToken, str]:
        """Good for one enrolment of that load balancer's agent; those before it end."""
        now = self.clock()
        join = JoinToken(id=new_id(), lb=_check_lb(lb), created_by=actor, created_at=now, expires_at=now + life)
        secret = mint(Secret.JOIN)
        event = self._told("agent.join_token_made", f"lb/{lb}", actor, reason, {"expires_at": str(join.expires_at)})
        self.agents.add_join(join, digest(secret), [event])
        return join, secret

    def spend_join_token(self, lb: str, join_secret: str) -> str | None:
        """The agent's credential. None: this token is unknown, spent, expired, or another load balancer's."""
        secret = mint(Secret.CREDENTIAL)
        spent = self.agents.spend_join(digest(join_secret), lb, digest(secret), self.clock())
        return secret if spent else None

    def rotate_credential(self, lb: str) -> str:
        """A new credential for an agent that shows its own. The old one is good until the new one is first used."""
        secret = mint(Secret.CREDENTIAL)
        event = self.event("agent.credential_rotated", f"lb/{lb}", f"agent/{lb}", "the agent asked for a new one")
        self.agents.rotate(lb, digest(secret), self.clock(), [event])
        return secret

    def _told(self, kind: str, subject: str, actor: str, reason: str, data: dict[str, Any] | None = None) -> Event:
        return self.event(kind, subject, actor, check_reason(reason), data)


def link_path(secret: str) -> str:
    """Below the server's base URL: the page that sets a password."""
    return f"/welcome/{secret}"


def check_reason(reason: str) -> str:
    """One line. Raises AccessError."""
    plain = reason.strip()
    if not plain or len(plain) > REASON_LIMIT_CHARS or not plain.isprintable():
        raise AccessError("invalid", f"Say why, in one line of 1 to {REASON_LIMIT_CHARS} characters.")
    return plain


def _check_lb(lb: str) -> str:
    if not lb or len(lb) > 63 or not lb.isprintable() or "/" in lb:
        raise AccessError("invalid", "Name a load balancer as the estate names it.")
    return lb


def _check_rooms(rooms: Sequence[str]) -> frozenset[str]:
    plain = frozenset(check_name(one) for one in rooms)
    if not plain or len(plain) > ROOMS_LIMIT:
        raise AccessError("invalid", f"Name 1 to {ROOMS_LIMIT} rooms: the first words below /api/v1/.")
    return plain
