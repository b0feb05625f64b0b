"""Small clusters that the audit's tests share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from backstay.audit.compare import compare_levels
from backstay.audit.explain import explain
from backstay.audit.marginal import WIDE
from backstay.audit.model import (
    Evidence,
    EvidenceKind,
    FactTable,
    Finding,
    Grid,
    Indicator,
    Knowledge,
    Level,
    Pooling,
    Resource,
    Spread,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
LOAD = Indicator(name="load", resource=Resource.CPU, per_work=True)
TIGHT = Spread(variance=0.005**2, freedom=16.0, pooling=Pooling.ALIKE, own_share=0.005, own_scale=0.05)


def levels(means: Sequence[float], error: float = 0.002) -> tuple[Level, ...]:
    return tuple(
        Level(node=f"web{at + 1}", mean=mean, error=error, samples=1000, effective=50.0)
        for at, mean in enumerate(means)
    )


def facts(**columns: Sequence[str | None]) -> FactTable:
    """`cpu_model_name=("V1", "V2")` is the fact "cpu.model name" on web1 and web2; None is absent."""
    count = len(next(iter(columns.values())))
    values: Mapping[str, dict[str, str]] = {f"web{at + 1}": {} for at in range(count)}
    for name, column in columns.items():
        part, _, rest = name.partition("_")
        for at, value in enumerate(column):
            if value is not None:
                values[f"web{at + 1}"][f"{part}.{rest.replace('_', ' ')}"] = value
    return FactTable.of(values)


def find(
    means: Sequence[float],
    table: FactTable,
    *,
    spread: Spread = TIGHT,
    evidence: Sequence[Evidence] = (),
    indicator: Indicator = LOAD,
    cluster: str = "queue",
) -> Finding:
    comparison = compare_levels(cluster, indicator, levels(means), spread)
    return explain(comparison, table, indicator, Knowledge(evidence=evidence))


def proof(kind: EvidenceKind, fact: str = "cpu.model name", log_odds: float = 4.0) -> Evidence:
    return Evidence(kind=kind, fact=fact, log_odds=log_odds)


def ar_noise(rng: np.random.Generator, rows: int, count: int, rho: float, sigma: float) -> np.ndarray:
    """Autoregressive noise of standard deviation `sigma`: (rows, count)."""
    found = np.empty((rows, count))
    state = rng.normal(0.0, sigma, rows)
    shocks = rng.normal(0.0, sigma * math.sqrt(1.0 - rho * rho), (count, rows))
    for at in range(count):
        state = rho * state + shocks[at]
        found[:, at] = state
    return found


def a_grid(values: np.ndarray, indicators: tuple[str, ...] = ("load",), step_s: float = 60.0) -> Grid:
    """`values`: (indicators, nodes, times); nodes are web1, web2, ..."""
    nodes = tuple(f"web{at + 1}" for at in range(values.shape[1]))
    return Grid(nodes=nodes, indicators=indicators, start=START, step_s=step_s, values=values)


__all__ = ["LOAD", "START", "TIGHT", "WIDE", "a_grid", "ar_noise", "facts", "find", "levels", "proof"]
