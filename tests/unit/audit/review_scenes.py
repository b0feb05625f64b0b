"""Eight weeks of a small made-up cluster that the review's tests share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from audit_scenes import ar_noise

from backstay.audit.model import Cluster, FactChange, Grid
from backstay.audit.review import Watched, Week

WEEKS = 8
START = datetime(2026, 9, 28, tzinfo=UTC)  # a Monday
END = START + timedelta(weeks=WEEKS)
WEEK = Week.of("2026-W47")
CELLS = WEEKS * 84  # of two hours
CELL_S = 7200.0


def cycles(count: int, step_s: float) -> np.ndarray:
    """Daily and weekly: log."""
    hours = np.arange(count) * step_s / 3600.0
    return np.asarray(0.3 * np.sin(hours * math.tau / 24.0) - 0.2 * (hours // 24 % 7 >= 5))


def a_series(case: Mapping[str, Any], seed: int = 7) -> np.ndarray:
    """A series of tests/cases/audit/review/series.json."""
    count = case.get("length", CELLS)
    if case.get("constant"):
        return np.full(count, 3.0)
    noise = ar_noise(np.random.default_rng(seed), 1, count, case["rho"], 0.04)[0]
    levels, cells = np.zeros(count), np.arange(count)
    for one in case["planted"]:
        after = cells >= one["at"]
        if one["shape"] == "level":
            levels += one["size"] * after
        elif one["shape"] == "slope":
            levels += one["size"] * np.maximum(cells - one["at"], 0) / (count - one["at"])
        else:
            noise = np.where(after, one["size"] * noise, noise)
    values: np.ndarray = levels + noise
    values[case.get("spikes", [])] += 1.0
    for start, end in case.get("gaps", []):
        values[start:end] = np.nan
    return values


def a_week(
    *, nodes: int = 4, weeks: int = WEEKS, step: Mapping[str, float] | None = None, growth: float = 0.0, seed: int = 1
) -> Watched:
    """messages, load and latency_ms an hour. `step`: node -> log step of its load 60 hours before the end; `growth`: of
    the latency, a week."""
    count = weeks * 168
    rng = np.random.default_rng(seed)
    wave, hours = cycles(count, 3600.0), np.arange(count)
    names = tuple(f"queue{at + 1}" for at in range(nodes))
    messages = 800.0 * np.exp(wave + ar_noise(rng, nodes, count, 0.7, 0.04))
    load = 0.006 * messages * np.exp(ar_noise(rng, nodes, count, 0.8, 0.04))
    for node, size in (step or {}).items():
        load[names.index(node), count - 60 :] *= math.exp(size)
    latency = 20.0 * np.exp(ar_noise(rng, nodes, count, 0.6, 0.04) + 0.3 * wave + growth * hours / 168.0)
    grid = Grid(
        nodes=names,
        indicators=("messages", "load", "latency_ms"),
        start=END - timedelta(weeks=weeks),
        step_s=3600.0,
        values=np.array([messages, load, latency]),
    )
    return Watched(cluster=Cluster(name="queue", nodes=names, work="messages"), grid=grid)


def a_change(node: str, hours_before_the_end: float, fact: str = "cpu.governor") -> FactChange:
    time = END - timedelta(hours=hours_before_the_end)
    return FactChange(node=node, fact=fact, before="performance", after="powersave", time=time)
