"""Indicators from Parquet through DuckDB: the columns of samplefile.py, times as TIMESTAMP or Unix seconds."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backstay.audit.model import Series, SeriesKind
from backstay.audit.sources.reading import fault
from backstay.audit.sources.samplefile import (
    COUNTER_SUFFIX,
    INDICATORS_LIMIT,
    LONG,
    SERIES_LIMIT,
    WRITE_SO,
)

if TYPE_CHECKING:
    import duckdb

ROWS_LIMIT = 50_000_000
MEMORY_LIMIT = "2GB"
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
NUMBERS = frozenset([*INTEGERS, *(f"U{name}" for name in INTEGERS), "FLOAT", "DOUBLE"])


def read_parquet(path: Path, counters: Collection[str] = ()) -> tuple[Series, ...]:
    """Every series of the file. Raises SourceError."""
    try:
        import duckdb
    except ModuleNotFoundError:
        raise fault(path, 'reading Parquet needs duckdb: install "backstay[audit]", or give CSV.') from None
    if not path.is_file():
        raise fault(path, "not readable: there is no such file. Check the name.")
    database = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": 2})
    try:
        # A relation, not a name in a query: a path is never SQL.
        database.read_parquet(str(path)).create_view("samples")
        return _series(path, database, counters)
    except duckdb.Error as error:
        raise fault(path, f"not readable as Parquet: {str(error).splitlines()[0][:200]}") from None
    finally:
        database.close()


def _series(path: Path, database: duckdb.DuckDBPyConnection, counters: Collection[str]) -> tuple[Series, ...]:
    types: dict[str, str] = {name: kind for name, kind, *_ in database.execute("DESCRIBE samples").fetchall()}
    missing = [name for name in LONG[:2] if name not in types]
    if missing:
        raise fault(path, f"no column {' and no '.join(missing)}. {WRITE_SO}")
    rows = _count(database, "SELECT count(*) FROM samples")
    if rows > ROWS_LIMIT:
        raise fault(path, f"{rows} rows; {ROWS_LIMIT} are the limit. Cut it to the time that you look at.")
    time = _time(path, types["time"])
    if "indicator" in types:
        _check_long(path, database, types)
        chosen = [("indicator", "value")]
    else:
        chosen = [(_text(name), _name(name)) for name in _indicators(path, types)]
    found = [series for one in chosen for series in _grouped(database, time, *one, frozenset(counters))]
    if not found:
        raise fault(path, f"no samples in it. {WRITE_SO}")
    if unknown := sorted(set(counters) - {one.indicator for one in found}):
        raise fault(path, f"no indicator {unknown[0]} in it, which is said to be a counter.")
    return tuple(found)


def _grouped(
    database: duckdb.DuckDBPyConnection, time: str, indicator: str, value: str, counters: frozenset[str]
) -> list[Series]:
    """A series for each node and indicator; empty values are gaps. `time`, `indicator`, `value`: SQL, quoted."""
    chosen = (
        f"SELECT node, {indicator} AS indicator, {time} AS time_s, {value}::DOUBLE AS value FROM samples "  # noqa: S608
        "WHERE node IS NOT NULL AND time IS NOT NULL ORDER BY node, indicator, time_s"
    )
    columns: dict[str, Any] = database.execute(chosen).fetchnumpy()
    nodes, indicators = columns["node"], columns["indicator"]
    if not len(nodes):
        return []
    starts = np.flatnonzero((nodes[1:] != nodes[:-1]) | (indicators[1:] != indicators[:-1])) + 1
    bounds = [0, *starts.tolist(), len(nodes)]
    times_s, values = (np.ma.filled(np.ma.asarray(columns[name], np.float64), np.nan) for name in ("time_s", "value"))
    return [
        Series(
            node=str(nodes[start]),
            indicator=str(indicators[start]),
            times_s=times_s[start:end],
            values=values[start:end],
            kind=SeriesKind.COUNTER
            if str(indicators[start]).endswith(COUNTER_SUFFIX) or indicators[start] in counters
            else SeriesKind.GAUGE,
        )
        for start, end in itertools.pairwise(bounds)
    ]


def _time(path: Path, kind: str) -> str:
    """SQL for Unix seconds."""
    if kind in NUMBERS:
        return "time::DOUBLE"
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return "epoch(time)"
    raise fault(path, f"the column time is of type {kind}. Write it as TIMESTAMP, or as Unix seconds.")


def _check_long(path: Path, database: duckdb.DuckDBPyConnection, types: dict[str, str]) -> None:
    if set(types) != set(LONG) or not _is_number(types["value"]):
        raise fault(path, f"columns {', '.join(types)[:100]}: not the long form with a number as value. {WRITE_SO}")
    indicators = _count(database, "SELECT count(DISTINCT indicator) FROM samples")
    series = _count(database, "SELECT count(*) FROM (SELECT DISTINCT node, indicator FROM samples)")
    if indicators > INDICATORS_LIMIT or series > SERIES_LIMIT:
        raise fault(
            path,
            f"{indicators} indicators and {series} series; {INDICATORS_LIMIT} and {SERIES_LIMIT} are the limits. "
            "Are labels part of the names? Leave them out, or give a file a cluster.",
        )


def _count(database: duckdb.DuckDBPyConnection, query: str) -> int:
    row = database.execute(query).fetchone()
    return int(row[0]) if row else 0


def _indicators(path: Path, types: dict[str, str]) -> Sequence[str]:
    names = [name for name in types if name not in LONG[:2]]
    wrong = [name for name in names if not _is_number(types[name])]
    if not names or wrong or len(names) > INDICATORS_LIMIT:
        what = f"the column {wrong[0]} is no number" if wrong else f"{len(names)} indicators"
        raise fault(path, f"{what}. {WRITE_SO}, with numbers, and {INDICATORS_LIMIT} indicators at most.")
    return names


def _is_number(kind: str) -> bool:
    return kind in NUMBERS or kind.startswith("DECIMAL")


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
