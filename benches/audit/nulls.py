"""Nulls: what is claimed where there is nothing to claim?"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from scipy import signal, stats

from backstay.audit.compare import compare, compare_levels
from backstay.audit.compare.between import learn_spread
from backstay.audit.explain import explain
from backstay.audit.marginal import WIDE
from backstay.audit.model import FactTable, Grade, Indicator, Level, Resource, Spread
from backstay.audit.work import Method, Normalised
from benches.audit.data import SPEED, Server, alike, clusters, day_series, families, servers
from benches.harness import Bench

CASE = "nulls"
SEED = 20260825
NOMINAL = 0.05
SIMULATED = Indicator(name="simulated", resource=Resource.CPU)
MINUTES = 1440
AR = 0.95
SIGMA_B = 0.01  # nodes that are alike differ by 1%


def nulls(bench: Bench) -> None:
    """False findings: machines that are alike, shuffled labels, one machine against itself, and noise. Nominal: 5%."""
    found = servers(bench)
    count = bench.args.count or (200 if bench.short else 1000)
    for nodes in (4, 8) if found else ():
        homogeneous(bench, found, nodes, count)
        shuffled(bench, found, nodes, count)
    halves(bench, count)
    noise(bench, count)


def homogeneous(bench: Bench, found: Sequence[Server], nodes: int, count: int) -> None:
    """One family, one CPU model. The spread of such nodes: the wide prior, and learned from other families."""
    drawn = list(alike(found, nodes, count, seed=SEED + nodes))
    learned = spreads_without(found)
    for name, spread_of in (("wide prior", lambda _: WIDE), ("learned from other families", learned.get)):
        claims = [_claims(cluster.levels, cluster.table, SPEED, spread_of(cluster.family)) for cluster in drawn]
        # Sizes differ within a family, so these are not the fact-identical nodes that the program learns from: the
        # second spread is shown to tell what that would do, and has no goal for single nodes.
        goals = ("nodes", "probable") if name == "wide prior" else ("probable",)
        _record(bench, f"one CPU model, {nodes} nodes, {name}", claims, *goals)


def shuffled(bench: Bench, found: Sequence[Server], nodes: int, count: int) -> None:
    """The smoking gun's clusters with the figures dealt to other nodes: they differ, and no fact is to blame."""
    chance = random.Random(SEED)
    claims = []
    for cluster in clusters(found, nodes, count, decoys=0, seed=SEED + nodes):
        values = [level.mean for level in cluster.levels]
        chance.shuffle(values)
        levels = [
            Level(node=level.node, mean=value, error=0.0, samples=1, effective=1.0)
            for level, value in zip(cluster.levels, values, strict=True)
        ]
        claims.append(_claims(levels, cluster.table, SPEED, None))
    _record(bench, f"shuffled figures, {nodes} nodes", claims, "probable")


def halves(bench: Bench, count: int) -> None:
    """One machine's 24 hours cut into stretches that are taken for nodes: A/A."""
    series = day_series(bench)
    if not series:
        return
    chance = random.Random(SEED)
    for nodes in (2, 4):
        claims, naive = [], []
        for _ in range(count):
            values = series[chance.choice(sorted(series))]
            length = len(values) // (2 * nodes)
            starts = chance.sample(range(0, len(values) - length + 1, length), nodes)
            cut = np.array([values[start : start + length] for start in starts])
            claims.append(_compare(cut))
            naive.append(_naive(cut[:1], cut[1:]))
        _record(bench, f"24 hours of one machine cut in {2 * nodes}, {nodes} at random", claims, "nodes", "probable")
        _record(bench, f"the same, naive t over samples, {nodes}", [{"nodes": one} for one in naive])


def noise(bench: Bench, count: int) -> None:
    """Autocorrelated noise, with nodes that are alike within 1%, and with nodes that are exactly alike."""
    rng = np.random.default_rng(SEED)
    for sigma_b in (SIGMA_B, 0.0):
        fleet = [_levels(_ar(rng, 4, sigma_b)) for _ in range(100)]
        spread = learn_spread(fleet)
        drawn = [_ar(rng, 4, sigma_b) for _ in range(count)]
        name = f"AR({AR}), nodes within {sigma_b:.0%}"
        _record(bench, f"{name}, spread learned", [_compare(one, spread) for one in drawn], "nodes", "probable")
        _record(bench, f"{name}, wide prior", [_compare(one, WIDE) for one in drawn], "nodes", "probable")
        _record(bench, f"{name}, naive t over samples", [{"nodes": _naive(one[:1], one[1:])} for one in drawn])


def spreads_without(found: Sequence[Server]) -> dict[str, Spread]:
    """For each family, the spread of alike nodes as the other families show it."""
    groups: dict[str, list[list[Level]]] = {}
    for family, members in families(found).items():
        by_model: dict[str, list[Level]] = {}
        for server in members:
            level = Level(node=server.name, mean=server.level, error=0.0, samples=1, effective=1.0)
            by_model.setdefault(server.model, []).append(level)
        groups[family] = list(by_model.values())
    return {
        family: learn_spread([group for other, mine in groups.items() if other != family for group in mine])
        for family in groups
    }


def _claims(levels: Sequence[Level], table: FactTable, indicator: Indicator, spread: Spread | None) -> dict[str, bool]:
    comparison = compare_levels("null", indicator, levels, spread)
    finding = explain(comparison, table, indicator)
    return {
        "nodes": bool(comparison.differs),
        "split": comparison.split is not None,
        "consistent": finding.grade.rank >= Grade.CONSISTENT.rank,
        "probable": finding.grade.rank >= Grade.PROBABLE.rank,
    }


def _compare(values: np.ndarray, spread: Spread | None = None) -> dict[str, bool]:
    """Facts that nobody has: every node has another serial number, and one has another CPU."""
    nodes = [f"n{at}" for at in range(len(values))]
    comparison = compare("null", nodes, _as_logs(values), SIMULATED, spread)
    facts = {node: {"system.serial": node, "cpu.model name": "V2" if at else "V1"} for at, node in enumerate(nodes)}
    return _claims(comparison.levels, FactTable.of(facts), SIMULATED, spread)


def _levels(values: np.ndarray) -> tuple[Level, ...]:
    return compare("fleet", [f"n{at}" for at in range(len(values))], _as_logs(values), SIMULATED).levels


def _as_logs(values: np.ndarray) -> Normalised:
    return Normalised(values=values, method=Method.LOG)


def _naive(one: np.ndarray, others: np.ndarray) -> bool:
    """Every minute an independent sample: what a t-test in a notebook does."""
    return bool(stats.ttest_ind(one.ravel(), others.ravel(), equal_var=False).pvalue <= NOMINAL)


def _ar(rng: np.random.Generator, nodes: int, sigma_b: float) -> np.ndarray:
    """A shared daily cycle, a level of each node's own, and AR noise of 2%: (nodes, minutes), log."""
    shocks = rng.normal(0.0, 0.02 * math.sqrt(1.0 - AR**2), (nodes, MINUTES + 200))
    daily = 0.3 * np.sin(np.arange(MINUTES) * 2.0 * math.pi / MINUTES)
    own = rng.normal(0.0, sigma_b, (nodes, 1)) if sigma_b else 0.0
    found: np.ndarray = signal.lfilter([1.0], [1.0, -AR], shocks, axis=1)[:, 200:] + daily + own
    return found


def _record(bench: Bench, name: str, claims: Sequence[dict[str, bool]], *nominal: str) -> None:
    """Shares of clusters with a claim; each of `nominal` is held against 5%, with room for the drawing's own error."""
    rates = {kind: float(np.mean([one[kind] for one in claims])) for kind in claims[0]}
    bench.record(CASE, name, clusters=len(claims), **rates)
    room = NOMINAL + 1.64 * math.sqrt(NOMINAL * (1.0 - NOMINAL) / len(claims))
    for kind in nominal:
        rate = rates[kind]
        bench.check(
            CASE, f"{name}: {kind} falsely at most 5%", met=rate <= room, measured=f"{rate:.1%} of {len(claims)}"
        )
