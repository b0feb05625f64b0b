"""Fixes: how often is one confirmed that did nothing, and how soon one that did?

Four nodes of a daily cycle, one is fixed after a week; noise is AR(0.9). Beside it two t-tests before against after, as
a notebook does them, every sample an independent one: of the fixed node alone, and of it less the mean of its peers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy import signal, stats

from backstay.audit.fix.judge import Scene, judge
from backstay.audit.fix.model import Fix, Outcome
from backstay.audit.model import FactChange, FactTable, Grid
from backstay.audit.work import Method, Normalised
from benches.harness import Bench, progress

CASE = "fixes"
SEED = 20260901
NODES, BEFORE_DAYS, AFTER_DAYS = 4, 7, (1, 3, 7)
RHO, BURN_IN = 0.9, 300
EFFECTS = (0.0, 0.05, 0.1, 0.3)
EXPECTED = 0.1  # where nothing comes
NOMINAL = 0.05
DAY_S = 86_400.0
OUTCOMES = (Outcome.CONFIRMED, Outcome.NOT_CONFIRMED, Outcome.CONTRADICTED, Outcome.TOO_EARLY)
START = datetime(2026, 3, 2, tzinfo=UTC)
FACT = "cpu.model name"
# Samples a day, and the standard deviation of their noise: log ratio.
NOISES = {"10 min, 5%": (144, 0.05), "10 min, 15%": (144, 0.15), "1 h, 5%": (24, 0.05)}


def fixes(bench: Bench) -> None:
    """A fix on one node of four after a week: confirmed, by days after it. Noise: AR(0.9) of these samples. `t`: the
    t-test before against after over samples of that node; `t_peers`: of that node less the mean of its peers."""
    count = bench.args.count or (60 if bench.short else 400)
    for noise, (a_day, sigma) in NOISES.items():
        rng = np.random.default_rng(SEED)
        for effect in EFFECTS:
            drawn = [_values(rng, a_day, sigma, effect) for _ in range(count)]
            for days in AFTER_DAYS:
                _record(bench, f"{noise}: {effect:.0%} after {days} d", drawn, a_day, days, effect)
            progress(f"fixes: {noise}, {effect:.0%}")
        quiet = [_values(rng, a_day, sigma, 0.0) for _ in range(count)]
        ever = float(np.mean([_ever(values, a_day) for values in quiet]))
        bench.record(CASE, f"{noise}: 0% looked at every day for a week, ever", confirmed=ever)
        _check(bench, f"{noise}: no effect, ever confirmed in 7 daily looks at most 5%", ever, count)
    _elsewhere(bench, count)


def _record(bench: Bench, name: str, drawn: list[np.ndarray], a_day: int, days: int, effect: float) -> None:
    expected = effect or EXPECTED
    outcomes = Counter(_judged(values, a_day, days, expected) for values in drawn)
    count = len(drawn)
    naive = _naive_shares(drawn, a_day, days)
    shares = {outcome.name.lower(): outcomes[outcome] / count for outcome in OUTCOMES}
    bench.record(CASE, name, **shares, **naive)
    if not effect:
        _check(bench, f"{name}: confirmed falsely at most 5%", shares[Outcome.CONFIRMED.name.lower()], count)


def _elsewhere(bench: Bench, count: int) -> None:
    """What is no effect of the change: a shock to all nodes, a step two days before, a drift that goes on."""
    a_day, sigma = NOISES["10 min, 5%"]
    cell = BEFORE_DAYS * a_day
    rng = np.random.default_rng(SEED + 1)
    for name in ("a shock of 10% to all nodes with the change", "10% came two days before it", "a drift of 20%"):
        found, drawn = [], []
        for _ in range(count):
            values = _values(rng, a_day, sigma, 0.0)
            if name.startswith("a shock"):
                values[:, cell:] += math.log1p(-EXPECTED)
            elif name.startswith("a drift"):
                values[0] -= np.linspace(0.0, 2.0 * EXPECTED, values.shape[1])
            else:
                values[0, cell - 2 * a_day :] += math.log1p(-EXPECTED)
            found.append(_judged(values, a_day, 7, EXPECTED) is Outcome.CONFIRMED)
            drawn.append(values)
        share = float(np.mean(found))
        bench.record(CASE, f"{name}, after 7 d", confirmed=share, **_naive_shares(drawn, a_day, 7))
        _check(bench, f"{name}: confirmed falsely at most 5%", share, count)


def _check(bench: Bench, goal: str, share: float, count: int) -> None:
    """With room for the drawing's own error."""
    room = NOMINAL + 1.64 * math.sqrt(NOMINAL * (1.0 - NOMINAL) / count)
    bench.check(CASE, goal, met=share <= room, measured=f"{share:.1%} of {count}")


def _values(rng: np.random.Generator, a_day: int, sigma: float, effect: float) -> np.ndarray:
    """(nodes, times): log, each node around a level of its own; the first falls by `effect` after BEFORE_DAYS."""
    times = (BEFORE_DAYS + max(AFTER_DAYS)) * a_day
    shocks = rng.normal(0.0, sigma * math.sqrt(1.0 - RHO**2), (NODES, times + BURN_IN))
    found: np.ndarray = signal.lfilter([1.0], [1.0, -RHO], shocks, axis=1)[:, BURN_IN:]
    found += rng.normal(0.0, 0.1, (NODES, 1)) + 0.3 * np.sin(np.arange(times) * 2.0 * math.pi / a_day)
    found[0, BEFORE_DAYS * a_day :] += math.log1p(-effect)
    return found


def _scene(values: np.ndarray, a_day: int) -> Scene:
    nodes = tuple(f"web{at + 1}" for at in range(NODES))
    step_s = DAY_S / a_day
    time = START + timedelta(days=BEFORE_DAYS)
    return Scene(
        nodes=nodes,
        grid=Grid(nodes=nodes, indicators=("load",), start=START, step_s=step_s, values=values[None]),
        normal=Normalised(values=values, method=Method.LOG),
        table=FactTable.of({node: {FACT: "V2"} for node in nodes}),
        changes=[FactChange(node=nodes[0], fact=FACT, before="V1", after="V2", time=time)],
    )


FIX = Fix(
    id="web-load-1",
    cluster="web",
    indicator="load",
    fact=FACT,
    nodes=("web1",),
    value="V2",
    expected=None,
    by=START + timedelta(days=30),
    reason="its CPU is slow",
    actor="bench",
    registered=START,
)


def _judged(values: np.ndarray, a_day: int, days: int, expected: float) -> Outcome:
    scene = _scene(values[:, : (BEFORE_DAYS + days) * a_day], a_day)
    return judge(replace(FIX, expected=-expected), scene, scene.grid.end).outcome


def _ever(values: np.ndarray, a_day: int) -> bool:
    """Looked at every day until it is confirmed."""
    return any(_judged(values, a_day, days, EXPECTED) is Outcome.CONFIRMED for days in range(1, max(AFTER_DAYS) + 1))


def _naive_shares(drawn: list[np.ndarray], a_day: int, days: int) -> dict[str, float]:
    alone = [_naive(values[0], a_day, days) for values in drawn]
    beside = [_naive(values[0] - values[1:].mean(axis=0), a_day, days) for values in drawn]
    return {"t": float(np.mean(alone)), "t_peers": float(np.mean(beside))}


def _naive(series: np.ndarray, a_day: int, days: int) -> bool:
    cell = BEFORE_DAYS * a_day
    before, after = series[:cell], series[cell : cell + days * a_day]
    found = stats.ttest_ind(after, before, equal_var=False)
    return bool(found.pvalue <= NOMINAL and found.statistic < 0.0)
