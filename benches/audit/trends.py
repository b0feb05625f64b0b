"""Trends: how often is one claimed where there is none, and found where there is? Beside plain Mann-Kendall."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
from scipy import signal, stats

from backstay.audit.model import Cluster, Grid
from backstay.audit.review import Watched, Week, review
from backstay.audit.review.cells import daily
from backstay.audit.review.trend import trend_of
from benches.harness import Bench

CASE = "trends"
SEED = 20260831
NOMINAL = 0.05
SIGMA = 0.05
WEEKS = 8
GROWTH = 0.01  # a week
HOURLY, DAILY = (0.0, 0.5, 0.8, 0.95), (0.5, 0.8, 0.95)
START = datetime(2026, 8, 3, tzinfo=UTC)
POWER_GOAL = 0.8


def trends(bench: Bench) -> None:
    """8 weeks of hours with daily and weekly cycles and AR noise of 5%, without growth and with 1% a week; p of 5%.

    Plain is the Mann-Kendall test of the daily medians, without seasons and without a word on autocorrelation. Reviews:
    clusters of 4 nodes and 5 indicators in which nothing happens; one with any finding is a false one."""
    rng = np.random.default_rng(SEED)
    count = bench.args.count or (200 if bench.short else 1000)
    for rho in HOURLY:
        _rates(bench, f"AR({rho:g}) an hour", [_hours(rng, rho) for _ in range(count)], goal=rho <= 0.8)
    for rho in DAILY:
        _rates(bench, f"AR({rho:g}) a day", [_days(rng, rho) for _ in range(count)], goal=False)
    reviews(bench, rng, 6 if bench.short else 60)


def reviews(bench: Bench, rng: np.random.Generator, count: int) -> None:
    for rho in (0.8, 0.95):
        false = findings = 0
        for _ in range(count):
            found = review([_cluster(rng, rho)], Week.until(datetime(2026, 9, 28, tzinfo=UTC))).findings
            false += bool(found)
            findings += len(found)
        name = f"reviews, AR({rho:g}) an hour"
        bench.record(CASE, name, series=count, false=false / count, findings=findings)
        _check(bench, f"{name}: false at most 5%", false / count, count)


def _rates(bench: Bench, name: str, series: list[np.ndarray], *, goal: bool) -> None:
    """`series`: daily medians, at random."""
    days = np.arange(len(series[0]))
    growing = [one + GROWTH / 7.0 * days for one in series]
    for method, p_of in (("Backstay", _ours), ("plain Mann-Kendall", _plain)):
        false = float(np.mean([p_of(one) <= NOMINAL for one in series]))
        power = float(np.mean([p_of(one) <= NOMINAL for one in growing]))
        bench.record(CASE, f"{name}: {method}", series=len(series), false=false, power=power)
    ours = bench.value(CASE, f"{name}: Backstay", "false")
    bench.ratio(CASE, "false", f"{name}: Backstay", f"{name}: plain Mann-Kendall")
    _check(bench, f"{name}: trends where there are none, at most 5%", ours, len(series))
    if goal:
        power = bench.value(CASE, f"{name}: Backstay", "power")
        bench.check(CASE, f"{name}: 1% a week is found", met=power >= POWER_GOAL, measured=f"{power:.1%}")


def _check(bench: Bench, goal: str, rate: float, count: int) -> None:
    """With room for the drawing's own error."""
    room = NOMINAL + 1.64 * math.sqrt(NOMINAL * (1.0 - NOMINAL) / count)
    bench.check(CASE, goal, met=rate <= room, measured=f"{rate:.1%} of {count}")


def _ours(values: np.ndarray) -> float:
    found = trend_of(values)
    return found.p if found else 1.0


def _plain(values: np.ndarray) -> float:
    return float(stats.kendalltau(np.arange(len(values)), values).pvalue)


def _hours(rng: np.random.Generator, rho: float) -> np.ndarray:
    hours = np.arange(WEEKS * 168)
    return daily(_cycles() + _ar(rng, rho, len(hours)), 3600.0 * hours)


def _days(rng: np.random.Generator, rho: float) -> np.ndarray:
    days = np.arange(7 * WEEKS)
    return np.asarray(_ar(rng, rho, len(days)) - 0.15 * (days % 7 >= 5))


def _cycles() -> np.ndarray:
    hours = np.arange(WEEKS * 168)
    return np.asarray(0.3 * np.sin(hours * math.tau / 24.0) - 0.15 * (hours // 24 % 7 >= 5))


def _ar(rng: np.random.Generator, rho: float, count: int) -> np.ndarray:
    shocks = rng.normal(0.0, SIGMA * math.sqrt(1.0 - rho * rho), count + 300)
    return np.asarray(signal.lfilter([1.0], [1.0, -rho], shocks)[300:])


def _cluster(rng: np.random.Generator, rho: float) -> Watched:
    """Four nodes, work and four indicators that follow it."""
    count, nodes = WEEKS * 168, tuple(f"n{at}" for at in range(4))
    work = np.array([800.0 * np.exp(_cycles() + _ar(rng, 0.7, count)) for _ in nodes])
    rows = [0.005 * work * np.exp(np.array([_ar(rng, rho, count) for _ in nodes])) for _ in range(4)]
    names = ("messages", "load", "cpu_user", "latency_ms", "disk_io")
    grid = Grid(nodes=nodes, indicators=names, start=START, step_s=3600.0, values=np.array([work, *rows]))
    return Watched(cluster=Cluster(name="null", nodes=nodes, work="messages"), grid=grid)
