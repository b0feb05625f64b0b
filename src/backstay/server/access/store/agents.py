"""Join tokens and agents' credentials. Every method raises JournalError when the database does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from backstay.journal.model import Event
from backstay.journal.store import Database, append_in
from backstay.journal.wire import format_time, parse_time
from backstay.server.access.model import AccessError, JoinToken
from backstay.server.access.store.tables import credential, join

JOINS_LIMIT = 5_000


class Agents:
    """A load balancer has one credential, or two while the older is being replaced."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_join(self, new: JoinToken, digest: str, events: Sequence[Event]) -> None:
        """Those before it for the same load balancer end."""
        values = {
            "id": new.id,
            "digest": digest,
            "lb": new.lb,
            "created_by": new.created_by,
            "created_at": format_time(new.created_at),
            "expires_at": format_time(new.expires_at),
        }
        with self._database.writing() as connection:
            connection.execute(delete(join).where(join.c.lb == new.lb))
            if connection.execute(select(func.count()).select_from(join)).scalar_one() >= JOINS_LIMIT:
                raise AccessError("invalid", f"{JOINS_LIMIT} join tokens wait already. They expire by themselves.")
            connection.execute(insert(join).values(values))
            append_in(connection, events)

    def joins(self, now: datetime) -> list[JoinToken]:
        """Those that are still good, newest first."""
        query = select(join).where(join.c.expires_at > format_time(now)).order_by(join.c.id.desc()).limit(JOINS_LIMIT)
        with self._database.reading() as connection:
            return [
                JoinToken(
                    id=row.id,
                    lb=row.lb,
                    created_by=row.created_by,
                    created_at=parse_time(row.created_at),
                    expires_at=parse_time(row.expires_at),
                )
                for row in connection.execute(query)
            ]

    def spend_join(self, digest: str, lb: str, new_digest: str, now: datetime) -> bool:
        """Give `lb` its one credential. False: the token is unknown, spent, expired, or another load balancer's."""
        good = (join.c.digest == digest, join.c.lb == lb, join.c.expires_at > format_time(now))
        with self._database.reading() as connection:  # a flood of wrong ones does not take the writers' turns
            if connection.execute(select(join.c.id).where(*good)).first() is None:
                return False
        with self._database.writing() as connection:
            if connection.execute(delete(join).where(*good)).rowcount != 1:
                return False
            connection.execute(delete(credential).where(credential.c.lb == lb))
            _add(connection, lb, new_digest, now)
        return True

    def rotate(self, lb: str, new_digest: str, now: datetime, events: Sequence[Event]) -> None:
        """A newer credential beside the one in use. One that was never used (its answer was lost) goes."""
        with self._database.writing() as connection:
            connection.execute(delete(credential).where(credential.c.lb == lb, credential.c.used.is_(False)))
            _add(connection, lb, new_digest, now)
            append_in(connection, events)

    def credentials(self) -> dict[str, tuple[str, bool]]:
        """Digest -> load balancer, and whether it was used. One row or two a load balancer."""
        query = select(credential.c.digest, credential.c.lb, credential.c.used)
        with self._database.reading() as connection:
            return {row.digest: (row.lb, row.used) for row in connection.execute(query)}

    def credential(self, digest: str) -> dict[str, tuple[str, bool]]:
        """As `credentials`, of one digest; empty: unknown."""
        query = select(credential.c.lb, credential.c.used).where(credential.c.digest == digest)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return {} if row is None else {digest: (row.lb, row.used)}

    def first_use(self, digest: str) -> bool:
        """The agent has it: what it replaces ends. False: it is gone."""
        with self._database.writing() as connection:
            lb = connection.execute(select(credential.c.lb).where(credential.c.digest == digest)).scalar()
            if lb is None:
                return False
            connection.execute(delete(credential).where(credential.c.lb == lb, credential.c.digest != digest))
            connection.execute(update(credential).where(credential.c.digest == digest).values(used=True))
        return True

    def revoke(self, lb: str) -> bool:
        """End every credential and join token of `lb`. False: it had none."""
        with self._database.writing() as connection:
            ended = connection.execute(delete(credential).where(credential.c.lb == lb)).rowcount
            waiting = connection.execute(delete(join).where(join.c.lb == lb)).rowcount
        return ended + waiting > 0

    def prune(self, now: datetime) -> None:
        with self._database.writing() as connection:
            connection.execute(delete(join).where(join.c.expires_at < format_time(now)))


def _add(connection: Connection, lb: str, digest: str, now: datetime) -> None:
    values = {"digest": digest, "lb": lb, "created_at": format_time(now), "used": False}
    connection.execute(insert(credential).values(values))
