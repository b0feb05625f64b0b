"""A cluster with a fix in it, for the tests of fixes: a day of 10-minute cells is 144."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from scipy import signal

from backstay.audit.fix.judge import Scene, judge
from backstay.audit.fix.model import Fix, NodeEffect, Verdict
from backstay.audit.model import FactChange, FactTable, Grid
from backstay.audit.work import Method, Normalised

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = 144
STEP_S = 600.0
RHO = 0.9
FACT = "cpu.model name"
FIX = Fix(
    id="queue-load-1",
    cluster="queue",
    indicator="load",
    fact=FACT,
    nodes=("web1",),
    value="V2",
    expected=-0.3,
    by=START + timedelta(days=30),
    reason="V1 is slow",
    actor="alice",
    registered=START,
)


def noise(seed: int, days: float, *, nodes: int = 4, sigma: float = 0.04) -> np.ndarray:
    """(nodes, times): log, with a daily cycle that all share and a level of each node's own."""
    rng = np.random.default_rng(seed)
    count = int(days * DAY)
    cycle = 0.3 * np.sin(np.arange(count) * 2.0 * math.pi / DAY)
    found: np.ndarray = _autoregressive(rng, nodes, count, sigma) + cycle + rng.normal(0.0, 0.1, (nodes, 1))
    return found


def _autoregressive(rng: np.random.Generator, nodes: int, count: int, sigma: float) -> np.ndarray:
    """(nodes, count): what a cell was, the next one is likely to be; standard deviation `sigma`."""
    state = rng.normal(0.0, sigma, nodes)
    shocks = rng.normal(0.0, sigma * math.sqrt(1.0 - RHO**2), (count, nodes)).T
    found: np.ndarray = signal.lfilter([1.0], [1.0, -RHO], shocks, axis=1, zi=RHO * state[:, None])[0]
    return found


def at(day: float) -> datetime:
    return START + timedelta(days=day)


def change(node: str, day: float, before: str | None = "V1", after: str | None = "V2", fact: str = FACT) -> FactChange:
    return FactChange(node=node, fact=fact, before=before, after=after, time=at(day))


def a_scene(values: np.ndarray, changes: Sequence[FactChange], method: Method = Method.LOG) -> Scene:
    """The facts are as the changes left them, and V1 where there were none."""
    nodes = tuple(f"web{place + 1}" for place in range(len(values)))
    facts: Mapping[str, dict[str, str]] = {node: {FACT: "V1"} for node in nodes}
    for one in sorted(changes, key=lambda one: one.time):
        if one.after is not None:
            facts[one.node][one.fact] = one.after
    return Scene(
        nodes=nodes,
        grid=Grid(nodes=nodes, indicators=("load",), start=START, step_s=STEP_S, values=values[None]),
        normal=Normalised(values=values, method=method),
        table=FactTable.of(facts),
        changes=sorted(changes, key=lambda one: one.time),
    )


def judged(values: np.ndarray, changes: Sequence[FactChange], fix: Fix = FIX, **more: object) -> Verdict:
    scene = a_scene(values, changes)
    return judge(replace(fix, **more), scene, scene.grid.end)  # type: ignore[arg-type]


def fixed(seed: int, *, effect: float = -0.3, days: float = 10.0, day: float = 7.0) -> np.ndarray:
    """web1 changes its level by `effect` after `day` of `days`."""
    values = noise(seed, days)
    values[0, int(day * DAY) :] += math.log1p(effect)
    return values


CHANGED_AT_ALL = (NodeEffect(node="web1", changed=at(7.0), estimate=-0.3),)


def write_files(folder: Path, values: np.ndarray, changes: Sequence[FactChange]) -> tuple[Path, Path]:
    """facts.jsonl (every six hours) and indicators.csv: load of web1, web2, ... as `values` has it, in logarithms."""
    nodes = tuple(f"web{place + 1}" for place in range(len(values)))
    facts, indicators = folder / "facts.jsonl", folder / "indicators.csv"
    lines = []
    for quarter in range(values.shape[1] * 4 // DAY):
        for node in nodes:
            known = {FACT: "V1" if node != "web4" else "V2", "hostname": node}
            known |= {one.fact: str(one.after) for one in changes if one.node == node and one.time <= at(quarter / 4)}
            lines.append(json.dumps({"node": node, "time": at(quarter / 4).isoformat(), "facts": known}))
    facts.write_text("\n".join(lines) + "\n")
    rows = ["time,node,load"]
    for cell in range(values.shape[1]):
        time = (START + timedelta(seconds=STEP_S * cell)).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows += [f"{time},{node},{math.exp(values[place, cell]):.5f}" for place, node in enumerate(nodes)]
    indicators.write_text("\n".join(rows) + "\n")
    return facts, indicators
