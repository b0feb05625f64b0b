"""Indicators from CSV, long or wide; times as ISO 8601 (without a zone: UTC) or Unix seconds.

    time,node,indicator,value        time,node,load,drops_total
    2026-03-01T00:00:00Z,web1,load,1.25      2026-03-01T00:00:00Z,web1,1.25,17

An empty value, "NaN" and "null" are gaps. A counter is told by its name (..._total) or by the caller.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from backstay.audit.model import Series, SeriesKind
from backstay.audit.sources.reading import Faults, fault, lines
from backstay.audit.sources.values import is_name, parse_time

ROWS_LIMIT = 20_000_000
SERIES_LIMIT = 200_000  # node and indicator: a label too many makes millions
INDICATORS_LIMIT = 2_000
COUNTER_SUFFIX = "_total"
GAPS = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
LONG = ("time", "node", "indicator", "value")
WRITE_SO = "Write time,node,indicator,value or time,node,INDICATOR,..."


class Samples:
    """Samples by node and indicator while a file is read. Limits, and which series are counters."""

    def __init__(self, path: Path, counters: Collection[str] = ()) -> None:
        self._path = path
        self._counters = frozenset(counters)
        self._series: dict[tuple[str, str], tuple[array[float], array[float]]] = {}
        self._indicators: set[str] = set()

    def arrays(self, node: str, indicator: str, line: int | None = None) -> tuple[array[float], array[float]]:
        """(times, values) to append to. Raises SourceError beyond the limits."""
        known = self._series.get((node, indicator))
        if known is not None:
            return known
        if not is_name(node) or not is_name(indicator):
            what = f'"{ascii(node)[1:40]}", "{ascii(indicator)[1:40]}": a node and an indicator need a printable name.'
            raise fault(self._path, what, line)
        self._indicators.add(indicator)
        if len(self._indicators) > INDICATORS_LIMIT or len(self._series) >= SERIES_LIMIT:
            what = (
                f"more than {INDICATORS_LIMIT} indicators or {SERIES_LIMIT} series: are labels part of the names? "
                "Leave them out, or give a file a cluster."
            )
            raise fault(self._path, what, line)
        return self._series.setdefault((node, indicator), (array("d"), array("d")))

    def is_counter(self, indicator: str) -> bool:
        return indicator.endswith(COUNTER_SUFFIX) or indicator in self._counters

    def done(self) -> tuple[Series, ...]:
        """Raises SourceError when there are none, or when a counter that the caller named is none of them."""
        if not self._series:
            raise fault(self._path, f"no samples in it. {WRITE_SO}")
        if unknown := sorted(self._counters - self._indicators):
            what = f"no indicator {unknown[0]} in it, which is said to be a counter. There is: {self._some()}."
            raise fault(self._path, what)
        return tuple(
            Series(
                node=node,
                indicator=indicator,
                times_s=np.frombuffer(times, np.float64) if times else np.empty(0),
                values=np.frombuffer(values, np.float64) if values else np.empty(0),
                kind=SeriesKind.COUNTER if self.is_counter(indicator) else SeriesKind.GAUGE,
            )
            for (node, indicator), (times, values) in self._series.items()
        )

    def _some(self) -> str:
        return ", ".join(sorted(self._indicators)[:20])


def read_csv(path: Path, counters: Collection[str] = ()) -> tuple[Series, ...]:
    """Every series of the file, as it is: nothing sorted, nothing left out but gaps. Raises SourceError."""
    rows = _rows(path)
    number, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    _check_header(path, names, number)
    samples, faults = Samples(path, counters), Faults(path)
    long = set(names) == set(LONG)
    at = {name: names.index(name) for name in (LONG if long else LONG[:2])}
    columns = [] if long else [(name, place) for place, name in enumerate(names) if name not in at]
    before, time_s = "", 0.0  # the row before often has the same time
    for count, (number, row) in enumerate(rows):
        if count >= ROWS_LIMIT:
            raise fault(
                path, f"more than {ROWS_LIMIT} rows. Cut it to the time that you look at, or use Parquet.", number
            )
        if len(row) != len(names):
            faults.add(number, f"{len(row)} columns; the header has {len(names)}. Is the line cut short?")
            continue
        if row[at["time"]] != before:
            moment = parse_time(row[at["time"]])
            if moment is None:
                faults.add(number, f'"{row[at["time"]][:40]}" is no time. Write 2026-03-01T00:00:00Z or Unix seconds.')
                continue
            before, time_s = row[at["time"]], moment.timestamp()
        node = row[at["node"]].strip()
        cells = [(row[at["indicator"]].strip(), at["value"])] if long else columns
        for indicator, place in cells:
            times, values = samples.arrays(node, indicator, number)
            value = number_of(row[place])
            if value is None:
                faults.add(
                    number, f'{indicator}: "{row[place][:40]}" is no number. Leave it empty where there is none.'
                )
                continue
            times.append(time_s)
            values.append(value)
    faults.end()
    return samples.done()


def number_of(words: str) -> float | None:
    """The number, NaN for a gap, None for what is neither."""
    try:
        if "_" not in words:  # Python reads 1_000 as a thousand
            return float(words)
    except ValueError:
        if words.strip().lower() in GAPS:
            return float("nan")
    return None


def _check_header(path: Path, names: Sequence[str], line: int) -> None:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise fault(path, f"columns are not separated by commas. {WRITE_SO}", line)
    missing = [name for name in LONG[:2] if name not in names]
    if missing:
        raise fault(path, f"the header has no column {' and no '.join(missing)}. {WRITE_SO}", line)
    if len(set(names)) < len(names) or not all(names):
        raise fault(path, f"the header has a column twice, or one without a name. {WRITE_SO}", line)
    if len(names) == 2:
        raise fault(path, f"the header names no indicator. {WRITE_SO}", line)
    if {"indicator", "value"} & set(names) and set(names) != set(LONG):
        raise fault(path, f"the header mixes both forms: {', '.join(names)[:100]}. {WRITE_SO}", line)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the number of their (last) line."""
    reader = csv.reader((line for _, line in lines(path)), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise fault(path, f"this is no CSV ({error}). {WRITE_SO}", reader.line_num) from None
