"""The Store of ports.py over the journal's Database: what is desired, with the events that tell of it, or neither.

Writers take turns (`Database.writing`), so the one row of `server_state` counts revisions without a gap, and whoever
reads sees a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from backstay.journal.model import Event, JournalError
from backstay.journal.store import Database, append_in
from backstay.journal.wire import encode, format_time, parse_time
from backstay.link.wire import OrderOutcome, Report
from backstay.server.model import AgentRecord, EndedChange, EstateRevision, ServerChange, ServerOrder
from backstay.server.ports import Kept, Marks, StaleRevision, StoreError
from backstay.server.store import rows
from backstay.server.store.schema import MIGRATIONS, agent, change, estate, order, seen, state

_IDS = 500  # in one statement: SQLite takes so many parameters


class DatabaseStore:
    """Safe to use from several threads and processes at once."""

    def __init__(self, database: Database) -> None:
        """Make or upgrade the tables. Raises StoreError."""
        self._database = database
        with _errors():
            database.migrate(MIGRATIONS)

    # --- one state --------------------------------------------------------------------------------------------------

    def identity(self) -> str:
        with self._reading() as connection:
            return str(connection.execute(select(state.c.identity)).scalar_one())

    def marks(self) -> Marks:
        with self._reading() as connection:
            row = connection.execute(select(state.c.revision, state.c.agents)).one()
            return Marks(revision=row.revision, agents=row.agents)

    def kept(self, after: int, *, ended_limit: int, orders_limit: int) -> Kept:
        newer = select(estate).where(estate.c.altered > after).order_by(estate.c.number.desc()).limit(1)
        in_force = select(change).where(change.c.altered > after, change.c.ended_by.is_(None))
        in_force = in_force.order_by(change.c.revision, change.c.place)
        ended = select(change).where(change.c.altered > after, change.c.ended_by.is_not(None))
        ended = ended.order_by(change.c.ended_at.desc(), change.c.revision.desc(), change.c.place).limit(ended_limit)
        orders = select(order).where(order.c.altered > after)
        orders = orders.order_by(order.c.revision.desc(), order.c.place).limit(orders_limit)
        with self._reading() as connection:
            newest = connection.execute(newer).one_or_none()
            return Kept(
                revision=_revision(connection),
                estate=None if newest is None else rows.to_estate(newest._asdict()),
                changes=_changes(connection, in_force),
                ended=_changes(connection, ended),
                orders=tuple(rows.to_order(row._asdict()) for row in connection.execute(orders)),
            )

    # --- estates ----------------------------------------------------------------------------------------------------

    def estates(self, limit: int) -> list[EstateRevision]:
        with self._reading() as connection:
            found = connection.execute(select(estate).order_by(estate.c.number.desc()).limit(limit))
            return [rows.to_estate(row._asdict()) for row in found]

    def adopt(self, one: EstateRevision, events: Sequence[Event], *, expect: int | None = None) -> int:
        with self._writing(events) as connection:
            newest = connection.execute(select(estate).order_by(estate.c.number.desc()).limit(1)).one_or_none()
            if newest is not None and newest.sha256 == one.sha256:
                return _revision(connection)
            _expect(connection, expect)
            number = 1 if newest is None else newest.number + 1
            revision = _next_revision(connection, events)
            connection.execute(insert(estate).values(rows.estate_row(one) | {"number": number, "altered": revision}))
            return revision

    # --- changes ----------------------------------------------------------------------------------------------------

    def batch(self, batch: str) -> list[ServerChange]:
        with self._reading() as connection:
            query = select(change).where(change.c.batch == batch).order_by(change.c.place)
            return list(_changes(connection, query))

    def find_changes(self, ids: Sequence[str]) -> list[ServerChange]:
        with self._reading() as connection:
            return [
                one
                for part in _parts(ids)
                for one in _changes(connection, select(change).where(change.c.id.in_(part)))
            ]  # fmt: skip

    def put_changes(
        self, changes: Sequence[ServerChange], events: Sequence[Event], *, expect: int | None = None
    ) -> int:
        assert changes
        with self._writing(events) as connection:
            there = select(change.c.id).where(change.c.batch == changes[0].batch).limit(1)
            if connection.execute(there).first() is not None:
                return _revision(connection)
            _expect(connection, expect)
            revision = _next_revision(connection, events)
            values = [rows.change_row(one, revision, place) for place, one in enumerate(changes)]
            connection.execute(insert(change), values)
            return revision

    def end_changes(self, ids: Sequence[str], ended: EndedChange, events: Mapping[str, Event]) -> tuple[int, list[str]]:
        gone: list[str] = []
        with self._writing(list(events.values())) as connection:
            values = rows.ended_row(ended) | {"altered": _revision(connection) + 1}
            for part in _parts(ids):
                # Several servers come to this for one expiry: the row that is no longer in force is not theirs.
                end = update(change).where(change.c.id.in_(part), change.c.ended_by.is_(None))
                gone += connection.execute(end.values(values).returning(change.c.id)).scalars()
            if not gone:
                return _revision(connection), []
            mine = set(gone)
            return _next_revision(connection, [event for one, event in events.items() if one in mine]), gone

    # --- orders -----------------------------------------------------------------------------------------------------

    def put_orders(self, orders: Sequence[ServerOrder], events: Sequence[Event]) -> int:
        with self._writing(events) as connection:
            ids = [one.order.id for one in orders]
            if connection.execute(select(order.c.id).where(order.c.id.in_(ids)).limit(1)).first() is not None:
                return _revision(connection)
            revision = _next_revision(connection, events)
            connection.execute(insert(order), [rows.order_row(one, revision, at) for at, one in enumerate(orders)])
            return revision

    def settle_orders(self, lb: str, outcomes: Sequence[OrderOutcome], events: Mapping[str, Event]) -> int:
        settled: list[Event] = []
        with self._writing(list(events.values())) as connection:
            altered = _revision(connection) + 1
            for outcome in outcomes:
                mine = update(order).where(order.c.id == outcome.id, order.c.lb == lb, order.c.outcome.is_(None))
                values = {"outcome": outcome.model_dump_json(), "altered": altered}
                if connection.execute(mine.values(values).returning(order.c.id)).first() is not None:
                    settled.append(events[outcome.id])
            return _next_revision(connection, settled) if settled else _revision(connection)

    # --- agents -----------------------------------------------------------------------------------------------------

    def agents(self, after: int) -> list[AgentRecord]:
        with self._reading() as connection:
            found = connection.execute(select(agent).where(agent.c.mark > after).order_by(agent.c.lb))
            return [rows.to_agent(row._asdict()) for row in found]

    def seen_at(self) -> Mapping[str, datetime]:
        with self._reading() as connection:
            return {row.lb: parse_time(row.at) for row in connection.execute(select(seen))}

    def enrol(self, lb: str, at: datetime, events: Sequence[Event]) -> None:
        with self._writing(events) as connection:
            fresh = {"mark": _next_mark(connection), "enrolled_at": format_time(at), "revoked_at": None}
            known = connection.execute(update(agent).where(agent.c.lb == lb).values(fresh)).rowcount
            if not known:
                connection.execute(insert(agent).values(fresh | {"lb": lb}))
            append_in(connection, events)

    def revoke(self, lb: str, at: datetime, events: Sequence[Event]) -> bool:
        with self._writing(events) as connection:
            there = update(agent).where(agent.c.lb == lb, agent.c.revoked_at.is_(None))
            gone = connection.execute(there.values(mark=_next_mark(connection), revoked_at=format_time(at))).rowcount
            if gone:
                append_in(connection, events)
            return bool(gone)

    def report(self, reports: Sequence[tuple[Report, datetime]]) -> None:
        texts = [(report.lb, report.model_dump_json(), format_time(at)) for report, at in reports]
        with self._writing(()) as connection:
            mark = _next_mark(connection)
            newer = (
                update(agent)
                .where(agent.c.lb == bindparam("of"), func.coalesce(agent.c.reported_at, "") <= bindparam("then"))
                .values(mark=mark, report=bindparam("said"), reported_at=bindparam("then"))
            )
            connection.execute(newer, [{"of": lb, "said": text, "then": at} for lb, text, at in texts])

    def seen(self, lbs: Sequence[str], at: datetime) -> None:
        time = format_time(at)
        with self._writing(()) as connection:
            there = set(connection.execute(select(seen.c.lb)).scalars())
            for part in _parts([lb for lb in lbs if lb in there]):
                connection.execute(update(seen).where(seen.c.lb.in_(part), seen.c.at < time).values(at=time))
            fresh = [{"lb": lb, "at": time} for lb in dict.fromkeys(lbs) if lb not in there]
            if fresh:
                connection.execute(insert(seen), fresh)

    # --- housekeeping -----------------------------------------------------------------------------------------------

    def forget(self, before: datetime) -> int:
        time = format_time(before)
        with self._writing(()) as connection:
            return _removed(connection, change, change.c.ended_at < time) + _removed(
                connection, order, order.c.created_at < time
            )

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _errors(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _writing(self, events: Sequence[Event]) -> Iterator[Connection]:
        """The only writer. What is no event is found before anything is written."""
        with _errors():
            for event in events:
                encode(event)
            with self._database.writing() as connection:
                yield connection


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except JournalError as error:
        raise StoreError(str(error)) from error


def _revision(connection: Connection) -> int:
    return int(connection.execute(select(state.c.revision)).scalar_one())


def _expect(connection: Connection, expected: int | None) -> None:
    found = _revision(connection)
    if expected is not None and found != expected:
        raise StaleRevision(f"Weighed against revision {expected}, and {found} is in force. Ask again.")


def _next_revision(connection: Connection, events: Sequence[Event]) -> int:
    append_in(connection, events)
    raised = update(state).values(revision=state.c.revision + 1).returning(state.c.revision)
    return int(connection.execute(raised).scalar_one())


def _next_mark(connection: Connection) -> int:
    raised = update(state).values(agents=state.c.agents + 1).returning(state.c.agents)
    return int(connection.execute(raised).scalar_one())


def _changes(connection: Connection, query: Any) -> tuple[ServerChange, ...]:
    return tuple(rows.to_change(row._asdict()) for row in connection.execute(query))


def _removed(connection: Connection, of: Table, condition: Any) -> int:
    return int(connection.execute(delete(of).where(condition)).rowcount)


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS):
        yield ids[start : start + _IDS]
