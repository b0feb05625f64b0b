"""Users, their sessions and links. Every method raises JournalError when the database does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from backstay.journal.model import Event
from backstay.journal.store import Database, append_in
from backstay.journal.wire import format_time, parse_time
from backstay.server.access.model import AccessError, Link, Session, User, Via
from backstay.server.access.rules import SEEN_EVERY
from backstay.server.access.store.tables import link, session, user
from backstay.server.model import Role

USERS_LIMIT = 10_000
SESSIONS_LIMIT = 50  # of one user; the oldest makes room


class People:
    """What alters something takes the events that tell of it, and stores both in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- users -------------------------------------------------------------------------------------------------

    def users(self) -> list[User]:
        with self._database.reading() as connection:
            return [_user(row) for row in connection.execute(select(user).order_by(user.c.name).limit(USERS_LIMIT))]

    def user(self, name: str) -> User | None:
        with self._database.reading() as connection:
            row = _row(connection, name)
        return None if row is None else _user(row)

    def password(self, name: str) -> str | None:
        """The hash; None: no such user, or without a password."""
        with self._database.reading() as connection:
            row = _row(connection, name)
        return None if row is None else row.password

    def add(self, new: User, events: Sequence[Event]) -> None:
        """Raises AccessError when the name is taken."""
        with self._database.writing() as connection:
            if _row(connection, new.name) is not None:
                raise AccessError("taken", f"There is a user {new.name} already. See backstay user list")
            if connection.execute(select(func.count()).select_from(user)).scalar_one() >= USERS_LIMIT:
                raise AccessError("invalid", f"There are {USERS_LIMIT} users already.")
            _insert(connection, new)
            append_in(connection, events)

    def set_role(self, name: str, role: Role, events: Sequence[Event]) -> None:
        """Raises AccessError for an unknown user and for the last admin."""
        with self._database.writing() as connection:
            _known(connection, name)
            if role is not Role.ADMIN:
                _not_the_last_admin(connection, name)
            connection.execute(update(user).where(user.c.name == name).values(role=role.value))
            append_in(connection, events)

    def set_enabled(self, name: str, enabled: bool, events: Sequence[Event]) -> None:
        """Ends the sessions of who is disabled. Raises AccessError for an unknown user and for the last admin."""
        with self._database.writing() as connection:
            _known(connection, name)
            if not enabled:
                _not_the_last_admin(connection, name)
                _end_all(connection, name)
            connection.execute(update(user).where(user.c.name == name).values(enabled=enabled))
            append_in(connection, events)

    def set_password(self, name: str, password: str, events: Sequence[Event]) -> None:
        """Set the hash, and end all sessions and links of that user. Raises AccessError for an unknown user."""
        with self._database.writing() as connection:
            _local(connection, name)
            _end_all(connection, name)
            connection.execute(update(user).where(user.c.name == name).values(password=password))
            append_in(connection, events)

    def refresh_password(self, name: str, old: str, new: str) -> None:
        """The same password under newer parameters."""
        with self._database.writing() as connection:
            connection.execute(update(user).where(user.c.name == name, user.c.password == old).values(password=new))

    def of_provider(self, found: User, events: Sequence[Event]) -> User:
        """The user of an OpenID provider's subject, with the role of this login; a new one gets `found`'s name.

        `events` tell of a new user. Raises AccessError when the name is another's.
        """
        with self._database.writing() as connection:
            where = (user.c.issuer == found.issuer, user.c.subject == found.subject)
            row = connection.execute(select(user).where(*where)).one_or_none()
            if row is not None:
                connection.execute(update(user).where(*where).values(role=found.role.value))
                return _user(connection.execute(select(user).where(*where)).one())
            if _row(connection, found.name) is not None:
                raise AccessError(
                    "taken",
                    f"{found.name} is another user's name here. An admin gives one of the two another name.",
                )
            _insert(connection, found)
            append_in(connection, events)
            return found

    # -- sessions ----------------------------------------------------------------------------------------------

    def begin_session(self, new: Session, digest: str, events: Sequence[Event]) -> None:
        """Log in. Beyond SESSIONS_LIMIT the user's oldest session ends."""
        with self._database.writing() as connection:
            _begin(connection, new, digest)
            append_in(connection, events)

    def session(self, digest: str) -> tuple[Session, User] | None:
        """The session of a secret, and whose it is. Whether it still lives: rules.session_lives."""
        query = select(session).where(session.c.digest == digest)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            owner = None if row is None else _row(connection, row.user)
        return None if row is None or owner is None else (_session(row), _user(owner))

    def sessions(self, name: str) -> list[Session]:
        """Newest first."""
        query = select(session).where(session.c.user == name).order_by(session.c.created_at.desc())
        with self._database.reading() as connection:
            return [_session(row) for row in connection.execute(query.limit(SESSIONS_LIMIT))]

    def touch_session(self, session_id: str, now: datetime) -> None:
        """It was used. Written at most once a minute (rules.SEEN_EVERY)."""
        stale = format_time(now - SEEN_EVERY)
        with self._database.writing() as connection:
            where = (session.c.id == session_id, session.c.seen_at <= stale)
            connection.execute(update(session).where(*where).values(seen_at=format_time(now)))

    def end_session(self, session_id: str, events: Sequence[Event]) -> None:
        with self._database.writing() as connection:
            connection.execute(delete(session).where(session.c.id == session_id))
            append_in(connection, events)

    def end_sessions(self, name: str, events: Sequence[Event]) -> None:
        """All of a user's."""
        with self._database.writing() as connection:
            _known(connection, name)
            connection.execute(delete(session).where(session.c.user == name))
            append_in(connection, events)

    # -- links -------------------------------------------------------------------------------------------------

    def make_link(self, digest: str, name: str, expires_at: datetime, events: Sequence[Event]) -> None:
        """A link by which `name` sets a password; those before it end. Raises AccessError for an unknown user."""
        with self._database.writing() as connection:
            _local(connection, name)
            connection.execute(delete(link).where(link.c.user == name))
            values = {"digest": digest, "user": name, "expires_at": format_time(expires_at)}
            connection.execute(insert(link).values(values))
            append_in(connection, events)

    def link(self, digest: str, now: datetime) -> Link | None:
        """None: unknown, used, expired, or the user is disabled."""
        with self._database.reading() as connection:
            return _link(connection, digest, now)

    def use_link(
        self, digest: str, password: str, begun: Session, session_digest: str, events: Sequence[Event]
    ) -> bool:
        """Set the password and begin `begun`, once. False: somebody was faster, or it expired."""
        with self._database.writing() as connection:
            found = _link(connection, digest, begun.created_at)
            if found is None or found.user != begun.user:
                return False
            _end_all(connection, found.user)
            connection.execute(update(user).where(user.c.name == found.user).values(password=password))
            _begin(connection, begun, session_digest)
            append_in(connection, events)
        return True

    # -- housekeeping ------------------------------------------------------------------------------------------

    def prune(self, now: datetime, *, idle_s: float, absolute_s: float) -> None:
        """Remove what has expired."""
        idle, old = (format_time(now - timedelta(seconds=one)) for one in (idle_s, absolute_s))
        with self._database.writing() as connection:
            connection.execute(delete(session).where((session.c.seen_at < idle) | (session.c.created_at < old)))
            connection.execute(delete(link).where(link.c.expires_at < format_time(now)))


def _row(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(user).where(user.c.name == name)).one_or_none()


def _known(connection: Connection, name: str) -> Row[Any]:
    row = _row(connection, name)
    if row is None:
        raise AccessError("unknown", f"There is no user {name[:64]}. See backstay user list")
    return row


def _local(connection: Connection, name: str) -> None:
    if _known(connection, name).issuer is not None:
        raise AccessError("invalid", f"{name} logs in by the OpenID provider, and has no password here.")


def _not_the_last_admin(connection: Connection, name: str) -> None:
    admins = select(user.c.name).where(user.c.role == Role.ADMIN.value, user.c.enabled.is_(True)).limit(2)
    if connection.execute(admins).scalars().all() == [name]:
        raise AccessError("last_admin", f"{name} is the last admin. Make another first: backstay user add")


def _insert(connection: Connection, new: User) -> None:
    values = {
        "name": new.name,
        "role": new.role.value,
        "enabled": new.enabled,
        "issuer": new.issuer,
        "subject": new.subject,
        "created_at": format_time(new.created_at),
    }
    connection.execute(insert(user).values(values))


def _begin(connection: Connection, new: Session, digest: str) -> None:
    mine = select(session.c.id).where(session.c.user == new.user).order_by(session.c.created_at.desc())
    gone = connection.execute(mine.offset(SESSIONS_LIMIT - 1)).scalars().all()
    connection.execute(delete(session).where(session.c.id.in_(gone)))
    values = {
        "id": new.id,
        "digest": digest,
        "user": new.user,
        "via": new.via.value,
        "address": new.address[:64],
        "created_at": format_time(new.created_at),
        "seen_at": format_time(new.seen_at),
    }
    connection.execute(insert(session).values(values))
    connection.execute(update(user).where(user.c.name == new.user).values(last_login=format_time(new.created_at)))


def _end_all(connection: Connection, name: str) -> None:
    connection.execute(delete(session).where(session.c.user == name))
    connection.execute(delete(link).where(link.c.user == name))


def _link(connection: Connection, digest: str, now: datetime) -> Link | None:
    query = select(link.c.user, link.c.expires_at, user.c.role).join(user, user.c.name == link.c.user)
    where = (link.c.digest == digest, link.c.expires_at > format_time(now), user.c.enabled.is_(True))
    row = connection.execute(query.where(*where)).one_or_none()
    return None if row is None else Link(user=row.user, role=Role(row.role), expires_at=parse_time(row.expires_at))


def _user(row: Row[Any]) -> User:
    return User(
        name=row.name,
        role=Role(row.role),
        enabled=row.enabled,
        has_password=row.password is not None,
        issuer=row.issuer,
        subject=row.subject,
        created_at=parse_time(row.created_at),
        last_login=None if row.last_login is None else parse_time(row.last_login),
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        user=row.user,
        via=Via(row.via),
        address=row.address,
        created_at=parse_time(row.created_at),
        seen_at=parse_time(row.seen_at),
    )
