"""Series of an answer as a chart: columns of a table that the page draws from, and a sentence. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NODES_LIMIT = 12  # lines of one chart
POINTS_LIMIT = 120  # rows of its table
COLOURS = ("line-a", "line-b", "line-c", "line-d", "line-e", "line-f")  # of console.css
DASHES = 4  # of console.js: groups are told apart without their colours, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    node: str
    label: str  # node, and the value of the fact that comes first
    colour: str  # of COLOURS
    dash: int  # below DASHES; 0: a full line


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    at: datetime
    values: tuple[float | None, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """For the table; a gap is empty."""
        return tuple("" if value is None else f"{value:.4g}" for value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`unit`: of the values, for the axis."""

    name: str  # of its elements on the page
    title: str
    unit: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: int  # nodes that are not drawn


def charts(series: Mapping[str, Any], *, indicator: str, unit: str, work: str | None) -> tuple[Chart, ...]:
    """Beside the peers, and as it was measured; none where nothing was."""
    if not series.get("times_s") or not series.get("nodes"):
        return ()
    nodes = list(series["nodes"])[:NODES_LIMIT]
    left_out = len(series["nodes"]) - len(nodes) + int(series.get("left_out", 0))
    columns = _columns(nodes)
    ratio = unit == "log ratio"
    per = f" per unit of {work}" if work else ""
    beside = "% beside the middle of its peers" if ratio else "shares of the cluster's mean"
    return (
        Chart(
            name="beside",
            title=f"{indicator}{per}, beside its peers",
            unit=beside,
            columns=columns,
            rows=_rows(series["times_s"], [_percents(one["beside"]) if ratio else one["beside"] for one in nodes]),
            left_out=left_out,
        ),
        Chart(
            name="absolute",
            title=f"{indicator}, as it was measured",
            unit=indicator,
            columns=columns,
            rows=_rows(series["times_s"], [one["absolute"] for one in nodes]),
            left_out=left_out,
        ),
    )


def _columns(nodes: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Nodes of one group look alike; where all are of one group, each has a colour of its own."""
    groups = list(dict.fromkeys(one["group"] for one in nodes))
    columns = []
    for at, one in enumerate(nodes):
        place = groups.index(one["group"]) if len(groups) > 1 else at
        label = f"{one['node']} ({one['label']})" if one["label"] else str(one["node"])
        columns.append(Column(node=one["node"], label=label, colour=COLOURS[place % len(COLOURS)], dash=place % DASHES))
    return tuple(columns)


def _rows(times_s: Sequence[float], columns: Sequence[Sequence[float | None]]) -> tuple[Row, ...]:
    """At most POINTS_LIMIT rows: means of neighbours."""
    step = max(1, math.ceil(len(times_s) / POINTS_LIMIT))
    rows = []
    for start in range(0, len(times_s), step):
        at = datetime.fromtimestamp(times_s[start], UTC)
        rows.append(Row(at=at, values=tuple(_mean(column[start : start + step]) for column in columns)))
    return tuple(rows)


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _percents(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else math.expm1(min(value, 20.0)) * 100.0 for value in values]
