"""Runs in the database, beside what the server keeps: every server shows all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from backstay.journal.model import Event
from backstay.journal.store import Database, append_in
from backstay.journal.wire import format_time, parse_time
from backstay.server.runs.model import OPEN, NodeRun, NodeRunState, Printed, Run
from backstay.server.runs.tables import node, output, run


class RunStore:
    """Every method raises JournalError when the database does not answer; nothing was altered then."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, one: Run, event: Event) -> bool:
        """Keep a new run with the event that tells of it, or neither. False: it was there."""
        with self._database.writing() as connection:
            if connection.execute(select(run.c.id).where(run.c.id == one.id)).first() is not None:
                return False
            append_in(connection, [event])
            connection.execute(insert(run).values(_run_row(one)))
            rows = [_node_row(each) | {"run": one.id, "place": place} for place, each in enumerate(one.nodes)]
            connection.execute(insert(node), rows)
            return True

    def keep(self, run_id: str, each: NodeRun, printed: Printed | None, events: Sequence[Event] = ()) -> None:
        """How the node stands now; `printed`: what it printed so far, None when nothing is new."""
        at = (node.c.run == run_id) & (node.c.node == each.node)
        with self._database.writing() as connection:
            append_in(connection, events)
            connection.execute(update(node).where(at).values(_node_row(each)))
            if printed is not None:
                connection.execute(delete(output).where(output.c.run == run_id, output.c.node == each.node))
                row = {"run": run_id, "node": each.node, "text": printed.text, "left_out": printed.left_out}
                connection.execute(insert(output).values(row))

    def alive(self, ids: Sequence[str], now: datetime) -> None:
        """This server still carries them out."""
        with self._database.writing() as connection:
            connection.execute(update(run).where(run.c.id.in_(ids)).values(alive_at=format_time(now)))

    def end(self, run_id: str, now: datetime, event: Event, *, error: str) -> bool:
        """It is over: nodes that are open are lost, for `error`. False: it was over before, and nothing is altered."""
        with self._database.writing() as connection:
            ending = update(run).where(run.c.id == run_id, run.c.ended_at.is_(None))
            if connection.execute(ending.values(ended_at=format_time(now))).rowcount == 0:
                return False
            append_in(connection, [event])
            open_nodes = (node.c.run == run_id) & node.c.state.in_([state.value for state in OPEN])
            lost = {"state": NodeRunState.LOST.value, "error": error, "ended_at": format_time(now)}
            connection.execute(update(node).where(open_nodes).values(lost))
            return True

    def newest(self, limit: int, before: str | None = None) -> list[Run]:
        """Newest first; those before the run with that id."""
        query = select(run).order_by(run.c.at.desc(), run.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            if before is not None:
                at = connection.execute(select(run.c.at).where(run.c.id == before)).scalar()
                if at is None:  # forgotten meanwhile, or never there
                    return []
                older = (run.c.at < at) | ((run.c.at == at) & (run.c.id < before))
                query = query.where(older)
            return _runs(connection, query)

    def under_way(self) -> list[Run]:
        with self._database.reading() as connection:
            return _runs(connection, select(run).where(run.c.ended_at.is_(None)).order_by(run.c.at))

    def find(self, run_id: str) -> Run | None:
        with self._database.reading() as connection:
            return next(iter(_runs(connection, select(run).where(run.c.id == run_id))), None)

    def printed(self, run_id: str, name: str) -> Printed:
        """What the node printed; nothing when it has not yet."""
        query = select(output.c.text, output.c.left_out).where(output.c.run == run_id, output.c.node == name)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
            return Printed(text="") if row is None else Printed(text=row.text, left_out=row.left_out)

    def forget(self, before: datetime) -> int:
        """Remove runs that ended before; how many. The journal still tells of them."""
        with self._database.writing() as connection:
            old = select(run.c.id).where(run.c.ended_at < format_time(before))
            ids = list(connection.execute(old.limit(500)).scalars())
            for table, column in ((output, output.c.run), (node, node.c.run), (run, run.c.id)):
                connection.execute(delete(table).where(column.in_(ids)))
            return len(ids)


def _runs(connection: Connection, query: Select[Any]) -> list[Run]:
    """The runs of `query` (few), in its order, with their nodes."""
    found = connection.execute(query).all()
    nodes: dict[str, list[NodeRun]] = {row.id: [] for row in found}
    for row in connection.execute(select(node).where(node.c.run.in_(list(nodes))).order_by(node.c.place)):
        nodes[row.run].append(_to_node(row))
    return [_to_run(row, tuple(nodes[row.id])) for row in found]


def _to_node(row: Row[Any]) -> NodeRun:
    return NodeRun(
        node=row.node,
        state=NodeRunState(row.state),
        exit_code=row.exit_code,
        error=row.error,
        started_at=_time(row.started_at),
        ended_at=_time(row.ended_at),
    )


def _to_run(row: Row[Any], nodes: tuple[NodeRun, ...]) -> Run:
    times = {"at": parse_time(row.at), "alive_at": parse_time(row.alive_at), "ended_at": _time(row.ended_at)}
    return Run(**(row._asdict() | times), nodes=nodes)


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _run_row(one: Run) -> dict[str, Any]:
    return {name: _stored(value) for name, value in asdict(one).items() if name != "nodes"}


def _node_row(each: NodeRun) -> dict[str, Any]:
    return {name: _stored(value) for name, value in asdict(each).items()}


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    return value.value if isinstance(value, NodeRunState) else value
