"""API tokens. Every method raises JournalError when the database does not answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update

from backstay.journal.model import Event
from backstay.journal.store import Database, append_in
from backstay.journal.wire import format_time, parse_time
from backstay.server.access.model import AccessError, ApiToken
from backstay.server.access.rules import SEEN_EVERY
from backstay.server.access.store.tables import token, user
from backstay.server.model import Role

TOKENS_LIMIT = 10_000


class Tokens:
    """A token keeps its row when it is revoked: the journal names it, and its name is never given again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: ApiToken, digest: str, events: Sequence[Event]) -> None:
        """Raises AccessError when the name is taken."""
        values = {
            "id": new.id,
            "digest": digest,
            "name": new.name,
            "role": new.role.value,
            "rooms": None if new.rooms is None else json.dumps(sorted(new.rooms)),
            "owner": new.owner,
            "created_at": format_time(new.created_at),
            "expires_at": None if new.expires_at is None else format_time(new.expires_at),
        }
        with self._database.writing() as connection:
            if connection.execute(select(token.c.id).where(token.c.name == new.name)).first() is not None:
                raise AccessError("taken", f"There is, or was, a token {new.name}. Give it a name of its own.")
            if connection.execute(select(func.count()).select_from(token)).scalar_one() >= TOKENS_LIMIT:
                raise AccessError("invalid", f"There are {TOKENS_LIMIT} tokens already.")
            connection.execute(insert(token).values(values))
            append_in(connection, events)

    def tokens(self, owner: str | None = None) -> list[ApiToken]:
        """Newest first; of one user, or all."""
        query = select(token).order_by(token.c.id.desc()).limit(TOKENS_LIMIT)
        if owner is not None:
            query = query.where(token.c.owner == owner)
        with self._database.reading() as connection:
            return [_token(row) for row in connection.execute(query)]

    def token(self, digest: str, now: datetime) -> tuple[ApiToken, Role] | None:
        """The token and what it may now: its role, or its owner's when that is less.

        None: unknown, expired, revoked, or its owner is disabled.
        """
        query = (
            select(token, user.c.role.label("owner_role"), user.c.enabled.label("owner_enabled"))
            .join(user, user.c.name == token.c.owner, isouter=True)
            .where(token.c.digest == digest, token.c.revoked_at.is_(None))
            .where(or_(token.c.expires_at.is_(None), token.c.expires_at > format_time(now)))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        found = _token(row)
        if found.owner is None:
            return found, found.role
        if not row.owner_enabled:
            return None
        return found, min(found.role, Role(row.owner_role), key=list(Role).index)

    def touch(self, token_id: str, now: datetime) -> None:
        """It was used. Written at most once a minute (rules.SEEN_EVERY)."""
        stale = format_time(now - SEEN_EVERY)
        where = (token.c.id == token_id, or_(token.c.last_used.is_(None), token.c.last_used <= stale))
        with self._database.writing() as connection:
            connection.execute(update(token).where(*where).values(last_used=format_time(now)))

    def revoke(self, token_id: str, owner: str | None, now: datetime, events: Sequence[Event]) -> None:
        """For good. `owner`: it must be that user's; None: anybody's. Raises AccessError when there is none."""
        where = [token.c.id == token_id, token.c.revoked_at.is_(None)]
        if owner is not None:
            where.append(token.c.owner == owner)
        with self._database.writing() as connection:
            done = connection.execute(update(token).where(*where).values(revoked_at=format_time(now)))
            if done.rowcount != 1:
                raise AccessError("unknown", f"There is no token {token_id[:64]} in use. See backstay token list")
            append_in(connection, events)


def _token(row: Row[Any]) -> ApiToken:
    times = {
        name: None if getattr(row, name) is None else parse_time(getattr(row, name))
        for name in ("expires_at", "last_used", "revoked_at")
    }
    return ApiToken(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        rooms=None if row.rooms is None else frozenset(json.loads(row.rooms)),
        owner=row.owner,
        created_at=parse_time(row.created_at),
        **times,
    )
