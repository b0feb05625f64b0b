"""The tables `reports` and `runs`: what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import numpy as np

from backstay.audit.intervals import READING, NodeFacts, Run
from backstay.audit.model import FactChange
from backstay.audit.store.database import Session

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def stamp(time: datetime) -> int:
    """Microseconds of Unix time."""
    return (time - EPOCH) // _MICROSECOND


def moment(stamp: int) -> datetime:
    return EPOCH + timedelta(microseconds=stamp)


class Asked:
    """Nodes that are asked for, as the table `asked` for as long as it is entered. None: all that were reported."""

    def __init__(self, session: Session, nodes: Sequence[str]) -> None:
        self.session = session
        self.nodes = tuple(dict.fromkeys(nodes)) or tuple(
            node for (node,) in session.rows("SELECT DISTINCT node FROM reports ORDER BY node")
        )
        self._table = session.given("asked", {"node": np.array(self.nodes, object)})

    def __enter__(self) -> Self:
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.__exit__(kind, error, trace)


def reading_runs(asked: Asked) -> dict[str, NodeFacts]:
    """Node -> its runs of READING alone; a node without any report is not in it."""
    last = latest(asked)
    rows = asked.session.rows(
        'SELECT node, value, "first", "last" FROM runs SEMI JOIN asked USING (node) '
        "WHERE fact = '' ORDER BY node, \"first\""
    )
    found: dict[str, NodeFacts] = {}
    for node, value, first, end in rows:
        runs = found.setdefault(node, NodeFacts(node, runs={READING: []})).runs[READING]
        runs.append(Run(value, moment(first), moment(end) if end is not None else last[node]))
    return found


def values_at(asked: Asked, at: datetime) -> dict[str, dict[str, str]]:
    """Node -> fact -> value as last seen by `at`; every node that is asked for."""
    newest = asked.session.rows("SELECT coalesce(max(time), 0) FROM reports")[0][0]
    chosen = "SELECT node, fact, value FROM runs SEMI JOIN asked USING (node) WHERE fact <> '' AND "
    if stamp(at) >= newest:
        rows = asked.session.rows(chosen + '"last" IS NULL')
    else:
        earlier = '"first" <= $1 QUALIFY row_number() OVER (PARTITION BY node, fact ORDER BY "first" DESC) = 1'
        rows = asked.session.rows(chosen + earlier, (stamp(at),))
    found: dict[str, dict[str, str]] = {node: {} for node in asked.nodes}
    for node, fact, value in rows:
        if value is not None:
            found[node][fact] = value
    return found


def latest(asked: Asked) -> dict[str, datetime]:
    rows = asked.session.rows("SELECT node, max(time) FROM reports SEMI JOIN asked USING (node) GROUP BY node")
    return {node: moment(time) for node, time in rows}


def changes(asked: Asked, start: datetime, end: datetime) -> list[FactChange]:
    rows = asked.session.rows(
        "WITH touched AS (SELECT DISTINCT node, fact FROM runs SEMI JOIN asked USING (node) "
        "WHERE fact <> '' AND \"first\" BETWEEN $1 AND $2), "
        'sorted AS (SELECT node, fact, lag(value) OVER sequence AS before, value, "first", '
        'lag("last") OVER sequence AS unseen, row_number() OVER sequence AS place '
        "FROM runs SEMI JOIN touched USING (node, fact) "
        'WINDOW sequence AS (PARTITION BY node, fact ORDER BY "first")) '
        'SELECT node, fact, before, value, "first", unseen FROM sorted WHERE place > 1 AND "first" BETWEEN $1 AND $2 '
        'ORDER BY "first", node, fact',
        (stamp(start), stamp(end)),
    )
    return [
        FactChange(
            node=node,
            fact=fact,
            before=before,
            after=after,
            time=moment(first),
            unseen_from=moment(unseen) if unseen is not None else None,
        )
        for node, fact, before, after, first, unseen in rows
    ]


def days(asked: Asked, start: datetime, end: datetime) -> float:
    rows = asked.session.rows(
        "SELECT max(time) - min(time) FROM reports SEMI JOIN asked USING (node) WHERE time BETWEEN $1 AND $2",
        (stamp(start), stamp(end)),
    )
    return float(rows[0][0] or 0) / 1e6 / 86_400.0
