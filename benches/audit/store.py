"""The audit's store: what a month takes on disk, how fast it is written and read; beside Parquet and SQLite."""

from __future__ import annotations

import math
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np

from backstay.audit.model import Floats, Series, SeriesKind
from backstay.audit.store import AuditStore, Retention
from benches.harness import Bench, quantile

CASE = "store"
SEED = 20261123
STEP_S = 15
START = datetime(2026, 3, 1, tzinfo=UTC)
DAY_S = 86_400
NODES, INDICATORS, DAYS = 100, 20, 30
SHARE_S = 6 * 3600  # a call: as an import would, and what bounds this bench's memory
MINUTES = 30  # calls of one minute each, as `audit collect` makes them
GOAL_MB, GOAL_GRID_S = 1000.0, 2.0
PEER_DAYS, SQLITE_NODES = 2, 10
CALL_TIMEOUT_S = 600.0
KINDS = ("load", "cpu_seconds_total", "bytes_total", "memory", "requests_total")


class Fleet:
    """Series that look like those of a host: two gauges and three counters in five, each with a day, drift and noise.

    Times are those of a collector that asks each node at its own offset, some milliseconds early or late.
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = tuple(f"node{number:03}" for number in range(nodes))
        self.indicators = tuple(f"{KINDS[at % 5]}_{at // 5}" for at in range(INDICATORS))
        self._rng = np.random.default_rng(SEED)
        self._counted: dict[tuple[str, str], float] = {}
        self._drift: dict[tuple[str, str], float] = {}

    def share(self, start: datetime, seconds: int) -> list[Series]:
        """What all nodes measured in this time; to be asked for in order."""
        whole_s = start.timestamp() + STEP_S * np.arange(seconds // STEP_S)
        day = np.exp(0.4 * np.sin(2.0 * math.pi * whole_s / DAY_S))
        found = []
        for number, node in enumerate(self.nodes):
            times_s = whole_s + number * STEP_S / len(self.nodes) + self._rng.integers(0, 20, whole_s.size) / 1000.0
            for indicator in self.indicators:
                values = self._values(node, indicator, day)
                kind = SeriesKind.COUNTER if "_total" in indicator else SeriesKind.GAUGE
                found.append(Series(node=node, indicator=indicator, times_s=times_s, values=values, kind=kind))
        return found

    def _values(self, node: str, indicator: str, day: Floats) -> Floats:
        key = (node, indicator)
        steps = self._rng.normal(0.0, 0.004, day.size)
        drift = self._drift.get(key, 0.0) + np.cumsum(steps) - 0.002 * self._drift.get(key, 0.0)
        self._drift[key] = float(drift[-1])
        level = day * np.exp(drift + self._rng.normal(0.0, 0.1, day.size))
        if indicator.startswith("load"):
            return np.round(1.5 * level, 2)
        if indicator.startswith("memory"):
            return np.round(8e9 * (0.6 + 0.05 * np.tanh(drift)) + 2e7 * level, -3)
        if indicator.startswith("cpu"):
            return np.round(self._counter(key, np.round(600.0 * level)) / 100.0, 2)
        if indicator.startswith("bytes"):
            return self._counter(key, np.round(1.5e7 * level))
        return self._counter(key, self._rng.poisson(3000.0 * level).astype(float))

    def _counter(self, key: tuple[str, str], grown: Floats) -> Floats:
        values = self._counted.get(key, 0.0) + np.cumsum(grown)
        self._counted[key] = float(values[-1])
        return values


async def store(bench: Bench) -> None:
    """A month of 20 indicators of 100 nodes at 15 s: a call each 6 hours, `prune` each day, retention as it is by
    default (raw for a week, minutes for two, then hours). Gauges with two decimals or steps of kilobytes, counters that
    are whole or of hundredths; 10% of noise on everything, times some milliseconds off. Beside it Parquet (zstd, a row
    a sample, sorted by series) and SQLite (a row a sample, WITHOUT ROWID) with the same samples.
    """
    nodes = bench.args.nodes or (10 if bench.short else NODES)
    days = 16 if bench.short else DAYS
    bench.version("sqlite", sqlite3.sqlite_version)
    with _folder() as folder:
        await _month(bench, folder, nodes, days)
    with _folder() as folder:
        await _beside_peers(bench, folder, nodes)


async def _month(bench: Bench, folder: Path, nodes: int, days: int) -> None:
    fleet, path = Fleet(nodes), folder / "audit.duckdb"
    now = START
    kept = AuditStore.open(path, lambda: now)
    samples = 0
    add_s = prune_s = 0.0
    subject = f"{nodes} nodes x {INDICATORS} x {days} days"
    for day in range(days):
        for part in range(DAY_S // SHARE_S):
            start = START + timedelta(days=day, seconds=part * SHARE_S)
            series = fleet.share(start, SHARE_S)
            now = start + timedelta(seconds=SHARE_S)
            began = time.perf_counter()
            samples += await kept.indicators.add(series, timeout_s=CALL_TIMEOUT_S)
            add_s += time.perf_counter() - began
        began = time.perf_counter()
        await kept.indicators.prune(now=now, timeout_s=CALL_TIMEOUT_S)
        prune_s += time.perf_counter() - began
    assert samples == nodes * INDICATORS * days * DAY_S // STEP_S
    one_minute = await _minutes(kept, fleet, now)
    weeks = await _grid_s(kept, fleet, now - timedelta(weeks=4), now, 3600.0, 1)
    fine = await _grid_s(kept, fleet, now - timedelta(days=6), now, 60.0, 1)
    everything = await _grid_s(kept, fleet, now - timedelta(weeks=4), now, 3600.0, INDICATORS)
    await kept.close()
    megabytes = path.stat().st_size / 1e6
    bench.record(
        CASE,
        subject,
        million_samples=samples / 1e6,
        mb=megabytes,
        add_samples_per_s=samples / add_s,
        prune_s_per_day=prune_s / days,
        collect_ms_p50=1e3 * one_minute,
        grid_4_nodes_4_weeks_s=weeks,
        grid_4_nodes_6_days_raw_s=fine,
        grid_4_nodes_4_weeks_all_20_s=everything,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    if nodes >= NODES and days >= DAYS:
        bench.check(CASE, "a month in under 1 GB", met=megabytes < GOAL_MB, measured=f"{megabytes:.0f} MB")
    bench.check(CASE, "a grid of 4 nodes over 4 weeks in under 2 s", met=weeks < GOAL_GRID_S, measured=f"{weeks:.2f} s")


async def _minutes(kept: AuditStore, fleet: Fleet, now: datetime) -> float:
    """Seconds of an add as `audit collect` makes it: one minute of all nodes. The samples are of tomorrow's day."""
    taken = []
    for minute in range(MINUTES):
        series = fleet.share(now - timedelta(minutes=MINUTES - minute, seconds=0.5), 60)
        began = time.perf_counter()
        await kept.indicators.add(series, timeout_s=CALL_TIMEOUT_S)
        taken.append(time.perf_counter() - began)
    return quantile(taken, 0.5)


async def _grid_s(
    kept: AuditStore, fleet: Fleet, start: datetime, end: datetime, step_s: float, indicators: int
) -> float:
    """Least seconds of three for 4 nodes; of one indicator a counter, which takes longer."""
    names = fleet.indicators[1 : 1 + indicators] if indicators == 1 else fleet.indicators
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        await kept.indicators.grid(
            fleet.nodes[:4], names, start=start, end=end, step_s=step_s, timeout_s=CALL_TIMEOUT_S
        )
        taken.append(time.perf_counter() - began)
    return min(taken)


async def _beside_peers(bench: Bench, folder: Path, nodes: int) -> None:
    """The same days, all of them raw."""
    end = START + timedelta(days=PEER_DAYS)
    parts = DAY_S * PEER_DAYS // SHARE_S
    shares = [(START + timedelta(seconds=part * SHARE_S), SHARE_S) for part in range(parts)]
    fleet, path = Fleet(nodes), folder / "audit.duckdb"
    kept = AuditStore.open(path, lambda: end, retention=Retention(raw_days=PEER_DAYS + 1))
    began = time.perf_counter()
    making_s, samples = 0.0, 0
    for start, seconds in shares:
        made = time.perf_counter()
        series = fleet.share(start, seconds)
        making_s += time.perf_counter() - made
        samples += await kept.indicators.add(series, timeout_s=CALL_TIMEOUT_S)
        await kept.indicators.prune(now=start + timedelta(seconds=seconds), timeout_s=CALL_TIMEOUT_S)
    write_s = time.perf_counter() - began - making_s
    read_s = await _grid_s(kept, fleet, START, end, 60.0, 1)
    await kept.close()
    bench.record(CASE, "raw, Backstay", **_figures(path, samples, write_s, read_s))
    _parquet(bench, folder / "samples.parquet", Fleet(nodes), shares)
    bench.ratio(CASE, "bytes_per_sample", "raw, Backstay", "raw, Parquet zstd")
    bench.ratio(CASE, "read_ms", "raw, Backstay", "raw, Parquet zstd")
    _sqlite(bench, folder / "samples.sqlite", Fleet(min(nodes, SQLITE_NODES)), shares)
    bench.ratio(CASE, "bytes_per_sample", "raw, Backstay", "raw, SQLite")
    bench.ratio(CASE, "million_samples_per_s", "raw, Backstay", "raw, SQLite")
    bench.ratio(CASE, "read_ms", "raw, Backstay", "raw, SQLite")
    bench.note(
        f"raw: {PEER_DAYS} days, nothing down-sampled; SQLite has {SQLITE_NODES} of the nodes. Read: means of a minute "
        "of 4 nodes and a gauge (Backstay: a counter, as rates). Parquet is written and sorted at once, at the end."
    )


def _parquet(bench: Bench, path: Path, fleet: Fleet, shares: list[tuple[datetime, int]]) -> None:
    database = duckdb.connect()
    database.execute("CREATE TABLE samples (node VARCHAR, indicator VARCHAR, time TIMESTAMP_MS, value DOUBLE)")
    write_s, samples = 0.0, 0
    for start, seconds in shares:
        for columns in _columns(fleet.share(start, seconds)):
            began = time.perf_counter()
            database.register("new", columns)
            database.execute("INSERT INTO samples SELECT node, indicator, make_timestamp_ms(time), value FROM new")
            samples += len(columns["time"])
            write_s += time.perf_counter() - began
    began = time.perf_counter()
    database.execute(
        "COPY (FROM samples ORDER BY node, indicator, time) TO $1 (FORMAT parquet, COMPRESSION zstd)", [str(path)]
    )
    write_s += time.perf_counter() - began
    database.execute("DROP TABLE samples")
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        database.execute(
            "SELECT node, time_bucket(INTERVAL 1 MINUTE, time), avg(value) FROM read_parquet($1) "
            "WHERE node IN ($2, $3, $4, $5) AND indicator = $6 GROUP BY ALL",
            [str(path), *fleet.nodes[:4], fleet.indicators[0]],
        ).fetchall()
        taken.append(time.perf_counter() - began)
    database.close()
    bench.record(CASE, "raw, Parquet zstd", **_figures(path, samples, write_s, min(taken)))


def _sqlite(bench: Bench, path: Path, fleet: Fleet, shares: list[tuple[datetime, int]]) -> None:
    database = sqlite3.connect(path)
    database.executescript(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;"
        "CREATE TABLE samples (series INTEGER, time INTEGER, value REAL, PRIMARY KEY (series, time)) WITHOUT ROWID"
    )
    ids = {(node, name): at for at, (node, name) in enumerate((n, i) for n in fleet.nodes for i in fleet.indicators)}
    write_s, samples = 0.0, 0
    for start, seconds in shares:
        series = fleet.share(start, seconds)
        began = time.perf_counter()
        with database:
            for one in series:
                times_ms = np.rint(one.times_s * 1000.0).astype(np.int64).tolist()
                id = ids[one.node, one.indicator]
                rows = ((id, time_ms, value) for time_ms, value in zip(times_ms, one.values.tolist(), strict=True))
                database.executemany("INSERT INTO samples VALUES (?, ?, ?)", rows)
                samples += len(times_ms)
        write_s += time.perf_counter() - began
    chosen = [ids[node, fleet.indicators[0]] for node in fleet.nodes[:4]]
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        database.execute(
            "SELECT series, time / 60000, avg(value) FROM samples WHERE series IN (?, ?, ?, ?) GROUP BY 1, 2", chosen
        ).fetchall()
        taken.append(time.perf_counter() - began)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    bench.record(CASE, "raw, SQLite", **_figures(path, samples, write_s, min(taken)))


def _figures(path: Path, samples: int, write_s: float, read_s: float) -> dict[str, float]:
    size = path.stat().st_size
    return {
        "million_samples": samples / 1e6,
        "mb": size / 1e6,
        "bytes_per_sample": size / samples,
        "million_samples_per_s": samples / write_s / 1e6,
        "read_ms": 1e3 * read_s,
    }


def _columns(series: list[Series]) -> Iterator[dict[str, np.ndarray]]:
    """Rows for a table without a dictionary, some series at a time."""
    for at in range(0, len(series), 200):
        several = series[at : at + 200]
        sizes = [one.times_s.size for one in several]
        yield {
            "node": np.repeat(np.array([one.node for one in several], object), sizes),
            "indicator": np.repeat(np.array([one.indicator for one in several], object), sizes),
            "time": np.rint(np.concatenate([one.times_s for one in several]) * 1000.0).astype(np.int64),
            "value": np.concatenate([one.values for one in several]),
        }


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="backstay-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
