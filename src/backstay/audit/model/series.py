"""What was measured: indicators over time, irregular as a source saw them, or on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from backstay.audit.model.arrays import Floats
from backstay.estate.audit import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    name: str
    unit: str = ""
    resource: Resource = Resource.SERVICE
    per_work: bool = False  # grows with the work done: to be divided by the cluster's unit of work
    closed_loop: bool = False  # a load balancer evens it out: equal values prove nothing
    higher_is_worse: bool | None = None  # None: neither


class SeriesKind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"  # only grows, until it is reset or wraps: the store keeps its rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One indicator of one node as a source saw it: irregular, perhaps late, doubled or out of order."""

    node: str
    indicator: str
    times_s: Floats  # (samples,) Unix time, UTC
    values: Floats  # (samples,)
    kind: SeriesKind = SeriesKind.GAUGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Indicators on a common regular grid. NaN is a gap; infinities do not occur."""

    nodes: tuple[str, ...]
    indicators: tuple[str, ...]
    start: datetime  # of the first cell, UTC
    step_s: float
    values: Floats  # (indicators, nodes, times), float64 or float32

    def __post_init__(self) -> None:
        expected = (len(self.indicators), len(self.nodes))
        if self.values.ndim != 3 or self.values.shape[:2] != expected or not self.step_s > 0.0:
            raise ValueError(
                f"a grid of {expected[0]} indicators and {expected[1]} nodes has values of shape "
                f"{self.values.shape}, step {self.step_s} s: give (indicators, nodes, times) and a step above 0"
            )

    @property
    def count(self) -> int:
        """Cells in time."""
        return int(self.values.shape[2])

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=self.step_s * self.count)

    def of(self, indicator: str) -> Floats:
        """One indicator: (nodes, times), a view. Raises KeyError that names what there is."""
        if indicator not in self.indicators:
            raise KeyError(f"no indicator {indicator!r} here. There is: {', '.join(self.indicators[:20]) or 'none'}")
        values: Floats = self.values[self.indicators.index(indicator)]
        return values

    def rows(self, indicator: str, nodes: Sequence[str]) -> Floats:
        """One indicator of these nodes, in this order: (nodes, times), a copy. A node that is not here is a gap."""
        found = self.of(indicator)
        place = {node: at for at, node in enumerate(self.nodes)}
        rows = np.full((len(nodes), self.count), np.nan)
        for at, node in enumerate(nodes):
            if node in place:
                rows[at] = found[place[node]]
        return rows

    def cell(self, time: datetime) -> int:
        """The cell that `time` falls into; below 0 or beyond `count` when it is outside."""
        return math.floor((time - self.start).total_seconds() / self.step_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Nodes that ought to be alike. `work`: the indicator that counts its unit of work, if it has one."""

    name: str
    nodes: tuple[str, ...]
    work: str | None = None
