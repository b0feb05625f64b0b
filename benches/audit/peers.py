"""Peers: real series with injected faults. Who finds the node, and who accuses another?

The peers in the other sense, as their makers describe them: DBSCAN over the series of a group, epsilon a tolerance
times the median distance from the median series (Netflix's outlier detection; Datadog's `DBSCAN`, tolerance 3), and
MAD: more than 20% of a node's points farther from the median than the tolerance times the group's median absolute
deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.cluster import DBSCAN

from backstay.audit.compare import levels_beside_peers
from backstay.audit.compare.between import ALPHA, learn_spread, standings
from backstay.audit.compare.peers import relative, unsteadiness
from backstay.audit.model import Level
from benches.audit.data import day_series
from benches.harness import Bench

CASE = "peers"
SEED = 20260827
NODES, MINUTES = 8, 360
SIGMA_B = 0.005  # nodes that are alike differ by 0.5%
TOLERANCE, MAD_SHARE = 3.0, 0.2
Fault = Callable[[np.ndarray, float], np.ndarray]  # (times,), size -> what is added to the log
Detector = Callable[[np.ndarray], set[int]]


def peers(bench: Bench) -> None:
    """8 nodes, stretches of one real machine's day, alike within 0.5%; half of the groups have a faulty node."""
    series = day_series(bench)
    if not series:
        return
    rng = np.random.default_rng(SEED)
    count = bench.args.count or (40 if bench.short else 200)
    detectors = {"Backstay": _backstay(series, rng), "DBSCAN": dbscan, "MAD": mad}
    best: dict[str, dict[str, float]] = {}
    for kind, (fault, sizes) in _faults(rng).items():
        for name, scores in _judge(series, fault, sizes, detectors, count, rng).items():
            bench.record(CASE, f"{kind}: {name}", **scores)
            best.setdefault(name, {})[kind] = scores["f1"]
    for kind in best["Backstay"]:
        ours, theirs = best["Backstay"][kind], max(best["DBSCAN"][kind], best["MAD"][kind])
        bench.check(
            CASE, f"{kind}: F1 at least that of both", met=ours >= theirs, measured=f"{ours:.2f} and {theirs:.2f}"
        )


def _faults(rng: np.random.Generator) -> Mapping[str, tuple[Fault, tuple[float, ...]]]:
    def shift(times: np.ndarray, size: float) -> np.ndarray:
        return np.full_like(times, -size)

    def drift(times: np.ndarray, size: float) -> np.ndarray:
        return np.asarray(-size * times / times[-1])

    def variance(times: np.ndarray, size: float) -> np.ndarray:
        return rng.normal(0.0, size, times.shape)

    def drops(times: np.ndarray, size: float) -> np.ndarray:
        return np.where(rng.random(times.shape) < size, np.log(0.5), 0.0)

    return {
        "level shift of 1 to 2%": (shift, (0.01, 0.02)),
        "level shift of 3 to 10%": (shift, (0.03, 0.05, 0.1)),
        "drift to 3 to 10%": (drift, (0.03, 0.05, 0.1)),
        "noise of 5 to 15% added": (variance, (0.05, 0.1, 0.15)),
        "halved in 1 to 5% of the minutes": (drops, (0.01, 0.02, 0.05)),
    }


def _judge(
    series: Mapping[str, np.ndarray],
    fault: Fault,
    sizes: tuple[float, ...],
    detectors: Mapping[str, Detector],
    count: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Precision and recall over the accused nodes of `count` groups, half of them with a fault on one node."""
    hits = {name: [0, 0] for name in detectors}  # right, accused
    faulty = 0
    for at in range(count):
        values, guilty = _group(series, rng), set[int]()
        if at % 2:
            guilty = {int(rng.integers(NODES))}
            faulty += 1
            values[list(guilty)] += fault(np.arange(MINUTES, dtype=float), float(rng.choice(sizes)))
        for name, detect in detectors.items():
            accused = detect(values)
            hits[name][0] += len(accused & guilty)
            hits[name][1] += len(accused)
    scores = {}
    for name, (right, accused_) in hits.items():
        precision, recall = right / accused_ if accused_ else 1.0, right / faulty
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores[name] = {"precision": precision, "recall": recall, "f1": f1, "accused": float(accused_)}
    return scores


def _group(series: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(nodes, minutes): stretches of one machine's day, which may overlap, each around a level of its own."""
    values = series[sorted(series)[int(rng.integers(len(series)))]]
    starts = rng.integers(0, len(values) - MINUTES, NODES)
    stretches = np.array([values[start : start + MINUTES] for start in starts])
    # The stretches' own levels differ with the hour of the day, which peers of one hour would share.
    found: np.ndarray = stretches - np.median(stretches, axis=1, keepdims=True)
    return found + rng.normal(0.0, SIGMA_B, (NODES, 1))


def _backstay(series: Mapping[str, np.ndarray], rng: np.random.Generator) -> Detector:
    """Level and unsteadiness; how nodes that are alike differ is learned from 30 other groups."""
    names = [f"n{at}" for at in range(NODES)]

    def views(values: np.ndarray) -> tuple[Sequence[Level], ...]:
        return levels_beside_peers(names, values), levels_beside_peers(names, unsteadiness(relative(values)))

    fleet = [views(_group(series, rng)) for _ in range(30)]
    spreads = [learn_spread(list(groups)) for groups in zip(*fleet, strict=True)]

    def detect(values: np.ndarray) -> set[int]:
        judged = [standings(levels, spread) for levels, spread in zip(views(values), spreads, strict=True)]
        # Two views of each node: half of the rate for each.
        return {at for view in judged for at, one in enumerate(view) if one.p <= ALPHA / len(judged)}

    return detect


def dbscan(values: np.ndarray) -> set[int]:
    away = np.linalg.norm(values - np.median(values, axis=0), axis=1)
    found = DBSCAN(eps=TOLERANCE * float(np.median(away)), min_samples=NODES // 2).fit_predict(values)
    return {at for at, label in enumerate(found.tolist()) if label == -1}


def mad(values: np.ndarray) -> set[int]:
    away = np.abs(values - np.median(values, axis=0))
    far = (away > TOLERANCE * float(np.median(away))).mean(axis=1)
    return {at for at, share in enumerate(far.tolist()) if share > MAD_SHARE}
