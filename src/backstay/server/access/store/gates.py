"""What holds between requests, for all servers of one database: failed logins, answers, logins that are under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from backstay.journal.store import Database
from backstay.journal.wire import format_time, parse_time
from backstay.server.access.rules import FORGET_AFTER, Bucket, Throttle, count, wait_s
from backstay.server.access.store.tables import answer, bucket, passage

BUCKETS_LIMIT = 10_000
PASSAGES_LIMIT = 10_000
PASSAGE_LIFE = timedelta(minutes=10)
ANSWER_LIFE = timedelta(days=1)
UNDER_WAY_LIFE = timedelta(minutes=2)  # longer than any request may take: whoever carried it out is dead
ANSWERS_LIMIT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer that was given before."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A login by OpenID Connect that is under way."""

    nonce: str
    verifier: str
    back: str


class Fresh:
    """Nobody used this key: go on, and keep the answer."""


class UnderWay:
    """The same is being carried out at this moment."""


class Differs:
    """This key was used for something else."""


class Gates:
    """Every method raises JournalError when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- failed logins -------------------------------------------------------------------------------------------

    def try_login(self, throttles: Mapping[str, Throttle], now: datetime) -> float:
        """Seconds to wait; 0: go on, and this try counts as a failure until `succeeded` says otherwise.

        Counted before the password is looked at: a hundred tries at once are a hundred tries. Who must wait costs a
        reading alone: a flood does not take the writers' turns.
        """
        with self._database.reading() as connection:
            longest = _longest(_buckets(connection, throttles), throttles, now)
        if longest > 0:
            return longest
        with self._database.writing() as connection:
            found = _buckets(connection, throttles)
            longest = _longest(found, throttles, now)
            if longest > 0:
                return longest
            for name in throttles:
                _put(connection, name, count(found.get(name), now) + 1, now)
            _trim(connection)
        return 0.0

    def succeeded(self, account: str, others: Sequence[str]) -> None:
        """The login was good: the account starts anew; others, such as its address, get this one try back."""
        with self._database.writing() as connection:
            connection.execute(delete(bucket).where(bucket.c.name == account))
            where = (bucket.c.name.in_(others), bucket.c.failures > 0)
            connection.execute(update(bucket).where(*where).values(failures=bucket.c.failures - 1))

    # -- answers --------------------------------------------------------------------------------------------------

    def claim(self, principal: str, key: str, request: str, now: datetime) -> Fresh | UnderWay | Differs | Kept:
        """Who comes first carries it out. `request`: digest of method, path and body."""
        where = (answer.c.principal == principal, answer.c.key == key)
        with self._database.writing() as connection:
            row = connection.execute(select(answer).where(*where)).one_or_none()
            if row is not None:
                age = now - parse_time(row.created_at)
                if row.request != request and age < ANSWER_LIFE:
                    return Differs()
                if row.status is not None and age < ANSWER_LIFE:
                    return Kept(status=row.status, media_type=row.media_type, body=row.body)
                if row.status is None and age < UNDER_WAY_LIFE:
                    return UnderWay()
                connection.execute(delete(answer).where(*where))
            values = {"principal": principal, "key": key, "request": request, "created_at": format_time(now)}
            connection.execute(insert(answer).values(values))
        return Fresh()

    def keep(self, principal: str, key: str, kept: Kept) -> None:
        values = {"status": kept.status, "media_type": kept.media_type, "body": kept.body}
        where = (answer.c.principal == principal, answer.c.key == key)
        with self._database.writing() as connection:
            connection.execute(update(answer).where(*where).values(values))

    def release(self, principal: str, key: str) -> None:
        """Nothing was carried out: the key may be used again."""
        where = (answer.c.principal == principal, answer.c.key == key, answer.c.status.is_(None))
        with self._database.writing() as connection:
            connection.execute(delete(answer).where(*where))

    # -- logins that are under way ------------------------------------------------------------------------------

    def put_passage(self, digest: str, new: Passage, now: datetime) -> None:
        values = {
            "digest": digest,
            "nonce": new.nonce,
            "verifier": new.verifier,
            "back": new.back,
            "created_at": format_time(now),
        }
        with self._database.writing() as connection:
            newest = select(passage.c.digest).order_by(passage.c.created_at.desc()).offset(PASSAGES_LIMIT - 1)
            gone = connection.execute(newest).scalars().all()
            if gone:
                connection.execute(delete(passage).where(passage.c.digest.in_(gone)))
            connection.execute(insert(passage).values(values))

    def take_passage(self, digest: str, now: datetime) -> Passage | None:
        """Once. None: unknown, taken, or too old."""
        with self._database.writing() as connection:
            row = connection.execute(select(passage).where(passage.c.digest == digest)).one_or_none()
            connection.execute(delete(passage).where(passage.c.digest == digest))
        if row is None or now - parse_time(row.created_at) >= PASSAGE_LIFE:
            return None
        return Passage(nonce=row.nonce, verifier=row.verifier, back=row.back)

    # -- housekeeping ---------------------------------------------------------------------------------------------

    def prune(self, now: datetime) -> None:
        """Remove what has expired."""
        with self._database.writing() as connection:
            connection.execute(delete(bucket).where(bucket.c.last < format_time(now - FORGET_AFTER)))
            connection.execute(delete(passage).where(passage.c.created_at < format_time(now - PASSAGE_LIFE)))
            connection.execute(delete(answer).where(answer.c.created_at < format_time(now - ANSWER_LIFE)))
            newest = select(answer.c.created_at).order_by(answer.c.created_at.desc()).offset(ANSWERS_LIMIT).limit(1)
            cut = connection.execute(newest).scalar()
            if cut is not None:
                connection.execute(delete(answer).where(answer.c.created_at <= cut))


def _buckets(connection: Connection, names: Iterable[str]) -> dict[str, Bucket]:
    rows = connection.execute(select(bucket).where(bucket.c.name.in_(list(names))))
    return {row.name: Bucket(failures=row.failures, last=parse_time(row.last)) for row in rows}


def _longest(found: Mapping[str, Bucket], throttles: Mapping[str, Throttle], now: datetime) -> float:
    return max(wait_s(found.get(name), throttle, now) for name, throttle in throttles.items())


def _put(connection: Connection, name: str, failures: int, now: datetime) -> None:
    connection.execute(delete(bucket).where(bucket.c.name == name))
    connection.execute(insert(bucket).values(name=name, failures=failures, last=format_time(now)))


def _trim(connection: Connection) -> None:
    """Bounded: of too many the oldest go."""
    oldest = select(bucket.c.name).order_by(bucket.c.last.desc()).offset(BUCKETS_LIMIT)
    gone = connection.execute(oldest).scalars().all()
    if gone:
        connection.execute(delete(bucket).where(bucket.c.name.in_(gone)))
