"""Samples grow old: raw ones become means over minutes, those means over hours, and those are forgotten.

Each day of each step is a call of its own, so that a crash, or a timeout, in the middle leaves whole days done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from backstay.audit.store.database import Session
from backstay.audit.store.indicators.cells import Cells, Samples, cells_of, rates
from backstay.audit.store.retention import DAY_S

ROWS_AT_ONCE = 4_000_000  # of counters, in memory
MINUTE_MS = 60_000
# A day of a series after the other, every second one backwards: where one ends the next begins at nearly the same time,
# and times are kept as differences (a quarter less on disk).
_PLACE = "series, CASE WHEN series % 2 = 0 THEN time ELSE -time END"


def oldest(session: Session, table: str) -> int | None:
    """The smallest time in it."""
    found = session.rows(f"SELECT min(time) FROM {table}")[0][0]  # noqa: S608 - `table` is one of ours
    return int(found) if found is not None else None


def settle_day(session: Session, end_ms: int) -> int:
    """Everything of `fresh` before `end_ms`, a day, to where it is found fast. Nothing is gone."""
    session.run(f"INSERT INTO raw FROM fresh WHERE time < $1 ORDER BY {_PLACE}", (end_ms,))
    session.run("DELETE FROM fresh WHERE time < $1", (end_ms,))
    return 0


def fold_raw_day(session: Session, end_ms: int) -> int:
    """Everything of `raw` before `end_ms`, a day, to means over minutes. Returns the samples that are gone."""
    session.run(
        "INSERT INTO minute FROM (SELECT series, time // 60000 * 60 AS time, avg(value), count(*) FROM raw "  # noqa: S608
        "WHERE time < $1 AND series IN (SELECT id FROM series WHERE NOT counter) GROUP BY 1, 2) "
        f"ORDER BY {_PLACE}",
        (end_ms,),
    )
    counts = session.rows(
        "SELECT series, count(*) FROM raw "
        "WHERE time < $1 AND series IN (SELECT id FROM series WHERE counter) GROUP BY series",
        (end_ms,),
    )
    edges = session.rows("SELECT id, edge_time, edge_value FROM series WHERE edge_time IS NOT NULL")
    before = {id: (time, value) for id, time, value in edges}
    for ids in chunks(dict(counts)):
        samples = fetch(session, "raw", ids, 0, end_ms)
        _insert_minutes(session, cells_of(rates(samples, before), start_ms=0.0, step_ms=MINUTE_MS))
    session.run(
        "UPDATE series SET folded = $1, edge_time = last.time, edge_value = last.value FROM ("
        "SELECT series, max(time) AS time, arg_max(value, time) AS value FROM raw WHERE time < $1 GROUP BY series"
        ") AS last WHERE series.id = last.series",
        (end_ms,),
    )
    return session.run("DELETE FROM raw WHERE time < $1", (end_ms,))


def fold_minute_day(session: Session, end_s: int) -> int:
    """Everything of `minute` before `end_s`, a day, to means over hours. Returns the means that are gone."""
    session.run(
        "INSERT INTO hour FROM (SELECT series, time // 3600 * 3600 AS time, "  # noqa: S608
        "sum(mean::DOUBLE * count) / sum(count), sum(count) FROM minute WHERE time < $1 GROUP BY 1, 2) "
        f"ORDER BY {_PLACE}",
        (end_s,),
    )
    return session.run("DELETE FROM minute WHERE time < $1", (end_s,))


def forget_day(session: Session, end_s: int) -> int:
    """Drop means over hours, and series of which nothing is left. Returns the means that are gone."""
    session.run("DELETE FROM series WHERE latest < $1", (end_s * 1000,))
    return session.run("DELETE FROM hour WHERE time < $1", (end_s,))


def next_midnight_s(time_s: int) -> int:
    return (time_s // DAY_S + 1) * DAY_S


def fetch(session: Session, table: str, ids: Sequence[int], start_ms: int, end_ms: int) -> Samples:
    """Samples of these series in [start, end)."""
    with session.given("asked_series", {"series": np.array(ids, np.int64)}):
        columns = session.columns(
            f"SELECT series::BIGINT AS series, time, value FROM {table} SEMI JOIN asked_series USING (series) "  # noqa: S608
            "WHERE time >= $1 AND time < $2 ORDER BY series, time",
            (start_ms, end_ms),
        )
    return Samples(columns["series"], columns["time"], columns["value"])


def chunks(counts: dict[int, int]) -> Iterator[list[int]]:
    """Series, ROWS_AT_ONCE at a time, or one that has more. `counts`: series -> its samples."""
    part: list[int] = []
    size = 0
    for id, count in counts.items():
        if part and size + count > ROWS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(id)
        size += count
    if part:
        yield part


def _insert_minutes(session: Session, cells: Cells) -> None:
    columns = {
        "series": cells.series,
        "time": cells.cell * 60,
        "mean": cells.sums / cells.counts,
        "count": cells.counts,
    }
    with session.given("new", columns):
        session.run(f'INSERT INTO minute SELECT series, time, mean, "count" FROM new ORDER BY {_PLACE}')  # noqa: S608
