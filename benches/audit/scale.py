"""Scale: a synthetic fleet through work and peers, and one cluster through everything."""

from __future__ import annotations

import math
import resource
import time
from datetime import UTC, datetime

import numpy as np

from backstay.audit.compare import levels_beside_peers
from backstay.audit.compare.between import learn_spread
from backstay.audit.examine import examine
from backstay.audit.fleet import associate, screen
from backstay.audit.model import Cluster, FactTable, Grid, Indicator, Resource, Spread
from benches.harness import Bench, progress

CASE = "scale"
SEED = 20260826
HOURS, INDICATORS, SIZE = 168, 20, 10
FLEET, FLEET_SMALL = 100_000, 1_000
GOAL_S, GOAL_GB, GOAL_EXPLAIN_S, GOAL_EXPONENT = 600.0, 8.0, 2.0, 1.2
START = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = 2000
ALIKE = 300  # clusters that the spread of alike nodes is learned from


def scale(bench: Bench) -> None:
    """Clusters of 10, a week of hours, 20 indicators, 1% of the nodes 20% off; and 4 nodes over 4 weeks of minutes."""
    large = bench.args.nodes or (10_000 if bench.short else FLEET)
    small_s = _fleet(bench, min(FLEET_SMALL, large))
    large_s = _fleet(bench, large) if large > FLEET_SMALL else small_s
    if large > FLEET_SMALL:
        exponent = math.log(large_s / small_s) / math.log(large / FLEET_SMALL)
        measured = f"{large_s / small_s:.0f} times for {large / FLEET_SMALL:.0f}, exponent {exponent:.2f}"
        bench.check(
            CASE,
            f"grows near linearly (exponent at most {GOAL_EXPONENT})",
            met=exponent <= GOAL_EXPONENT,
            measured=measured,
        )
    if large >= FLEET:
        bench.check(CASE, f"{large:,} nodes in under 10 minutes", met=large_s < GOAL_S, measured=f"{large_s:.0f} s")
        peak = _peak_gb()
        bench.check(CASE, f"{large:,} nodes in under {GOAL_GB:.0f} GB", met=peak < GOAL_GB, measured=f"{peak:.1f} GB")
    _one_cluster(bench)


def _fleet(bench: Bench, nodes: int) -> float:
    """Seconds for all indicators of the fleet; the making of the data is not counted."""
    rng = np.random.default_rng(SEED)
    names = tuple(f"n{at}" for at in range(nodes))
    clusters = [Cluster(name=f"c{at}", nodes=names[at : at + SIZE]) for at in range(0, nodes, SIZE)]
    values = np.empty((INDICATORS + 1, nodes, HOURS), np.float32)
    odd = rng.random(nodes) < 0.01
    work = np.exp(0.5 * np.sin(np.arange(HOURS) * 2.0 * math.pi / 24.0)).astype(np.float32)
    for at in range(INDICATORS):
        values[at] = rng.lognormal(0.0, 0.05, (nodes, HOURS)).astype(np.float32) * work
        values[at] *= np.exp(rng.normal(0.0, 0.01, (nodes, 1)) + 0.2 * odd[:, None]).astype(np.float32)
    values[INDICATORS] = work
    labels = (*(f"i{at}" for at in range(INDICATORS)), "requests")
    grid = Grid(nodes=names, indicators=labels, start=START, step_s=3600.0, values=values)
    table = FactTable.of({name: {f"f{k}": str(rng.integers(3)) for k in range(20)} for name in names})
    began, cpu = time.perf_counter(), time.process_time()
    found = wrong = 0
    for indicator in labels[:-1]:
        spread = _learned(grid, indicator, clusters)
        result = screen(grid, indicator, clusters, work="requests", spread=spread)
        found += int((result.differs & odd).sum())
        wrong += int((result.differs & ~odd).sum())
    associate(table, result.differs)
    took_s = time.perf_counter() - began
    bench.record(
        CASE,
        f"{nodes:,} nodes x {HOURS} h x {INDICATORS}",
        seconds=took_s,
        cpu_s=time.process_time() - cpu,
        peak_gb=_peak_gb(),
        found=found / max(int(odd.sum()) * INDICATORS, 1),
        false_share=wrong / max(found + wrong, 1),
    )
    return took_s


def _learned(grid: Grid, indicator: str, clusters: list[Cluster]) -> Spread:
    """How alike nodes differ, from some of the clusters: their facts are the same but for noise."""
    values = grid.of(indicator)
    groups = []
    for at in range(0, len(clusters), max(1, len(clusters) // ALIKE)):
        rows = slice(at * SIZE, (at + 1) * SIZE)
        logs = np.log(values[rows] / grid.of("requests")[rows])
        groups.append(levels_beside_peers(clusters[at].nodes, logs))
    return learn_spread(groups)


def _one_cluster(bench: Bench) -> None:
    rng = np.random.default_rng(SEED)
    nodes, minutes = ("w1", "w2", "w3", "w4"), 4 * 7 * 1440
    work = np.exp(0.5 * np.sin(np.arange(minutes) * 2.0 * math.pi / 1440.0)) * rng.lognormal(0.0, 0.1, (4, minutes))
    load = work * np.exp(np.array([[0.0], [0.3], [0.3], [0.45]])) * rng.lognormal(0.0, 0.1, (4, minutes))
    grid = Grid(nodes=nodes, indicators=("load", "requests"), start=START, step_s=60.0, values=np.stack([load, work]))
    facts = {node: {f"package.p{k}": str(rng.integers(2)) for k in range(FACTS)} for node in nodes}
    for node, version in zip(nodes, ("V1", "V2", "V2", "V3"), strict=True):
        facts[node] |= {"cpu.model name": version, "cpu.stepping": version[1], "system.serial number": node}
    table = FactTable.of(facts)
    indicator = Indicator(name="load", resource=Resource.CPU, per_work=True)
    began = time.perf_counter()
    finding = examine(Cluster(name="queue", nodes=nodes, work="requests"), grid, indicator, table).finding
    took_s = time.perf_counter() - began
    progress(
        f"{CASE}: one cluster: {finding.grade}, first {finding.first.facts[0].fact if finding.first else 'nothing'}"
    )
    bench.record(CASE, f"one cluster: 4 nodes x {minutes:,} min, {FACTS:,} facts", seconds=took_s)
    bench.check(
        CASE, "one cluster of 4 over 4 weeks in under 2 s", met=took_s < GOAL_EXPLAIN_S, measured=f"{took_s:.2f} s"
    )


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
