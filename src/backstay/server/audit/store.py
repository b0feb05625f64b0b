"""The audit's results, lease and asks in the database, beside what the server keeps: every server shows all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, update

from backstay.journal.model import Event
from backstay.journal.store import Database, append_in
from backstay.journal.wire import format_time, parse_time
from backstay.server.audit.model import Ask, AskKind, Key, Kind, Lease, Plain, Result
from backstay.server.audit.tables import ask, lease, result

_KEY = ("kind", "cluster", "indicator", "span")
_LIMIT = 100_000  # rows of one answer


class LeaseLost(Exception):
    """Another server collects by now: nothing was kept."""


class AuditStore:
    """Every method raises JournalError when the database does not answer; nothing was altered then."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the lease --------------------------------------------------------------------------------------------------

    def hold(self, me: str, now: datetime, until: datetime) -> bool:
        """Take or keep the lease until then. False: another server has it."""
        with self._database.writing() as connection:
            found = _lease(connection)
            if found is not None and found.holder != me and found.held(now):
                return False
            values = {"holder": me, "until": format_time(until)}
            connection.execute(
                insert(lease).values(one=1, **values) if found is None else update(lease).values(**values)
            )
            return True

    def release(self, me: str) -> None:
        """Let another server have it at once."""
        with self._database.writing() as connection:
            connection.execute(delete(lease).where(lease.c.holder == me))

    def holder(self) -> Lease | None:
        with self._database.reading() as connection:
            return _lease(connection)

    # --- results ----------------------------------------------------------------------------------------------------

    def keep(
        self,
        me: str,
        results: Sequence[Result],
        *,
        gone: Iterable[Key] = (),
        events: Sequence[Event] = (),
    ) -> None:
        """Keep these in place of those with the same keys, remove `gone`, journal the events: all or nothing.

        Raises LeaseLost: whoever was thought dead and is not must not overwrite what its successor found.
        """
        with self._database.writing() as connection:
            found = _lease(connection)
            if found is None or found.holder != me:
                raise LeaseLost(f"the audit is {found.holder if found else 'nobody'}'s by now")
            append_in(connection, events)
            for key in (*gone, *(one.key for one in results)):
                connection.execute(delete(result).where(_at(key)))
            if results:
                connection.execute(insert(result), [_row(one) for one in results])

    def find(self, key: Key) -> Result | None:
        """The one with that key, whole."""
        with self._database.reading() as connection:
            row = connection.execute(select(result).where(_at(key))).first()
        return None if row is None else _result(row, body=json.loads(row.body))

    def heads(self, kind: Kind, *, cluster: str | None = None, span: str | None = None) -> list[Result]:
        """All of a kind, without their bodies, by cluster, indicator and span."""
        columns = [result.c[name] for name in (*_KEY, "at", "head")]
        where = [result.c.kind == kind.value]
        where += [result.c.cluster == cluster] if cluster is not None else []
        where += [result.c.span == span] if span is not None else []
        query = select(*columns).where(*where).order_by(*(result.c[name] for name in _KEY)).limit(_LIMIT)
        with self._database.reading() as connection:
            return [_result(row) for row in connection.execute(query)]

    # --- asks -------------------------------------------------------------------------------------------------------

    def ask(self, one: Ask) -> bool:
        """Keep it for the server that has the lease. False: it was asked before."""
        with self._database.writing() as connection:
            if connection.execute(select(ask.c.id).where(ask.c.id == one.id)).first() is not None:
                return False
            connection.execute(
                insert(ask).values(
                    id=one.id,
                    kind=one.kind.value,
                    body=json.dumps(one.body),
                    actor=one.actor,
                    reason=one.reason,
                    at=format_time(one.at),
                )
            )
            return True

    def take(self, me: str, kinds: Iterable[AskKind], now: datetime) -> Ask | None:
        """The oldest of these kinds that nobody has taken; nobody else is given it after that."""
        with self._database.writing() as connection:
            query = select(ask).where(ask.c.taken_at.is_(None), ask.c.kind.in_([kind.value for kind in kinds]))
            query = query.order_by(ask.c.at, ask.c.id)
            row = connection.execute(query.limit(1)).first()
            if row is None:
                return None
            taken = update(ask).where(ask.c.id == row.id)
            connection.execute(taken.values(taken_at=format_time(now), taken_by=me))
            return _ask(row)

    def waiting(self) -> bool:
        """Is anything asked that nobody has taken? Cheap: asked all the time."""
        query = select(ask.c.id).where(ask.c.taken_at.is_(None)).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def unanswered(self) -> int:
        """How many there are."""
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).where(ask.c.answer.is_(None))).scalar_one()

    def orphaned(self, me: str) -> list[Ask]:
        """Taken by another server, which lost the lease before it answered: nobody knows what became of them."""
        query = select(ask).where(ask.c.taken_by != me, ask.c.answer.is_(None))
        with self._database.reading() as connection:
            return [_ask(row) for row in connection.execute(query)]

    def answer(self, ask_id: str, answer: Plain, events: Sequence[Event] = ()) -> None:
        """Once: what was answered stays."""
        with self._database.writing() as connection:
            put = update(ask).where(ask.c.id == ask_id, ask.c.answer.is_(None)).values(answer=json.dumps(answer))
            if connection.execute(put).rowcount:
                append_in(connection, events)

    def asked(self, ask_id: str) -> Ask | None:
        with self._database.reading() as connection:
            row = connection.execute(select(ask).where(ask.c.id == ask_id)).first()
        return None if row is None else _ask(row)

    def forget(self, before: datetime) -> None:
        """Remove asks of before; the journal still tells of them."""
        with self._database.writing() as connection:
            connection.execute(delete(ask).where(ask.c.at < format_time(before)))


def _lease(connection: Connection) -> Lease | None:
    row = connection.execute(select(lease)).first()
    return None if row is None else Lease(holder=row.holder, until=parse_time(row.until))


def _at(key: Key) -> ColumnElement[bool]:
    return and_(*(result.c[name] == str(getattr(key, name)) for name in _KEY))


def _row(one: Result) -> dict[str, Any]:
    key = {name: str(getattr(one.key, name)) for name in _KEY}
    return key | {"at": format_time(one.at), "head": json.dumps(one.head), "body": json.dumps(one.body)}


def _result(row: Row[Any], body: Plain | None = None) -> Result:
    key = Key(kind=Kind(row.kind), cluster=row.cluster, indicator=row.indicator, span=row.span)
    return Result(key=key, at=parse_time(row.at), head=json.loads(row.head), body=body or {})


def _ask(row: Row[Any]) -> Ask:
    return Ask(
        id=row.id,
        kind=AskKind(row.kind),
        body=json.loads(row.body),
        actor=row.actor,
        reason=row.reason,
        at=parse_time(row.at),
        taken_at=None if row.taken_at is None else parse_time(row.taken_at),
        answer=None if row.answer is None else json.loads(row.answer),
    )
