"""The smoking gun: clusters of one family whose CPU models differ. Does the class of the CPU model come first?"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from backstay.audit.compare import compare_levels
from backstay.audit.explain import explain
from backstay.audit.explain.partitions import alias_classes
from backstay.audit.model import Finding, Grade, HypothesisKind, Partition
from benches.audit.data import SPEED, Drawn, clusters, servers
from benches.audit.priors import FREE, Choice, choice, out_of_fold
from benches.harness import Bench, progress

CASE, CALIBRATION = "smoking-gun", "calibration"
SEED = 20260824
GOAL_FIRST, GOAL_RIGHT = 0.8, 0.9
CV_LIMIT = 600  # clusters that the weights are estimated from
BINS = (0.0, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0001)


def smoking_gun(bench: Bench) -> None:
    """Clusters from one family, CPU models 10% apart, all facts: how often the CPU model's class comes first."""
    found = servers(bench)
    count = bench.args.count or (200 if bench.short else 2000)
    for nodes in [bench.args.nodes] if bench.args.nodes else [4, 8]:
        for decoys in (0, 3):
            drawn = list(clusters(found, nodes, count, decoys=decoys, seed=SEED + nodes + decoys))
            if drawn:
                _judge(bench, f"{nodes} nodes, {decoys} decoys", drawn)
            elif found:
                bench.note(f"no family has {nodes} servers with CPU models 10% apart")


def calibration(bench: Bench) -> None:
    """The smoking gun's claims: of those that were so sure, or graded so, how many named the CPU model's class?

    4 nodes in one look are never graded probable."""
    if not any(row.case == CALIBRATION for row in bench.result.rows):
        smoking_gun(bench)


def _judge(bench: Bench, name: str, drawn: Sequence[Drawn]) -> None:
    chance = random.Random(SEED)
    hits: dict[str, list[bool]] = defaultdict(list)
    expected, findings = [], []
    choices: list[Choice] = []
    for at, cluster in enumerate(drawn):
        if at % 500 == 499:
            progress(f"{name}: {at + 1} of {len(drawn)}")
        classes = list(alias_classes(cluster.table).facts)
        expected.append((cluster.truth in classes) / len(classes))
        hits["per-fact R2"].append(_best_fact(cluster, chance) == cluster.truth)
        hits["partition score (adjusted R2)"].append(_best_partition(cluster, classes, chance) == cluster.truth)
        finding = explain(compare_levels(cluster.family, SPEED, cluster.levels), cluster.table, SPEED)
        hits["Backstay"].append(finding.first is not None and finding.first.partition == cluster.truth)
        findings.append(finding)
        if len(choices) < CV_LIMIT and cluster.truth in classes:
            choices.append(_choice(cluster, finding))
    families = [cluster.family for cluster in drawn]
    bench.record(
        CASE, f"{name}: chance", first=float(np.mean(expected)), clusters=len(drawn), families=len(set(families))
    )
    for subject, hit in hits.items():
        bench.record(CASE, f"{name}: {subject}", first=float(np.mean(hit)), first_family_mean=_by_family(hit, families))
    _cross_validate(bench, name, choices)
    _calibration(bench, name, findings, hits["Backstay"])
    if len(drawn[0].servers) == 4:
        first = float(np.mean(hits["Backstay"]))
        bench.check(
            CASE, f"{name}: first {GOAL_FIRST:.0%} of the time", met=first >= GOAL_FIRST, measured=f"{first:.1%}"
        )


def _calibration(bench: Bench, name: str, findings: Sequence[Finding], hits: Sequence[bool]) -> None:
    """Of the claims that were so sure, how many were right? By posterior of the first class, and by grade."""
    sure = np.array([finding.first.posterior if finding.first else 0.0 for finding in findings])
    right = np.array(hits)
    for low, high in itertools.pairwise(BINS):
        inside = (sure >= low) & (sure < high)
        if inside.any():
            bench.record(
                CALIBRATION,
                f"{name}: posterior {low:.2f} to {min(high, 1.0):.2f}",
                claims=int(inside.sum()),
                mean_posterior=float(sure[inside].mean()),
                right=float(right[inside].mean()),
            )
    for grade in Grade:
        graded = np.array([finding.grade is grade for finding in findings])
        if graded.any():
            bench.record(
                CALIBRATION, f"{name}: graded {grade}", claims=int(graded.sum()), right=float(right[graded].mean())
            )
    firm = np.array([finding.grade.rank >= Grade.PROBABLE.rank for finding in findings])
    if firm.any():
        share = float(right[firm].mean())
        goal = f"{name}: of the claims graded probable or better, {GOAL_RIGHT:.0%} right"
        bench.check(CALIBRATION, goal, met=share >= GOAL_RIGHT, measured=f"{share:.1%} of {int(firm.sum())}")


def _cross_validate(bench: Bench, name: str, choices: Sequence[Choice]) -> None:
    """The weights of mechanisms estimated anew, five folds by family: first, each judged by the other folds."""
    if len({one.family for one in choices}) < 5:
        return
    first, estimates = out_of_fold(choices)
    weights = {
        f"weight_{kind}": float(math.exp(value)) for kind, value in zip(FREE, estimates.mean(axis=0), strict=False)
    }
    families = [one.family for one in choices]
    bench.record(
        CASE,
        f"{name}: weights from other families (5 folds)",
        first=float(np.mean(first)),
        first_family_mean=_by_family(first, families),
        clusters=len(choices),
        **weights,
        concord=float(estimates[:, -1].mean()),
    )


def _choice(cluster: Drawn, finding: Finding) -> Choice:
    classes = [one for one in finding.hypotheses if one.kind is HypothesisKind.CLASS]
    return choice(cluster.family, classes, [one.partition for one in classes].index(cluster.truth))


def _by_family(hits: Sequence[bool], families: Sequence[str]) -> float:
    grouped: dict[str, list[bool]] = defaultdict(list)
    for hit, family in zip(hits, families, strict=True):
        grouped[family].append(hit)
    return float(np.mean([np.mean(one) for one in grouped.values()]))


def _best_fact(cluster: Drawn, chance: random.Random) -> Partition:
    """The fact that explains the most variance: what a spreadsheet does."""
    levels = np.array([server.level for server in cluster.servers])
    facts = [
        (_r2(levels, Partition.of(column.codes.tolist())), chance.random(), fact)
        for fact, column in cluster.table.columns.items()
        if (column.codes != column.codes[0]).any()
    ]
    return Partition.of(cluster.table.columns[max(facts)[2]].codes.tolist())


def _best_partition(cluster: Drawn, classes: Sequence[Partition], chance: random.Random) -> Partition:
    """Adjusted R2 of each class: a level costs a degree of freedom."""
    levels = np.array([server.level for server in cluster.servers])
    nodes = len(levels)

    def score(partition: Partition) -> float:
        free = nodes - partition.groups
        return 1.0 - (1.0 - _r2(levels, partition)) * (nodes - 1) / free if free else 0.0

    return max(classes, key=lambda partition: (score(partition), chance.random()))


def _r2(levels: np.ndarray, partition: Partition) -> float:
    labels = np.array(partition.labels)
    within = sum(
        float(((levels[labels == g] - levels[labels == g].mean()) ** 2).sum()) for g in range(partition.groups)
    )
    return 1.0 - within / float(((levels - levels.mean()) ** 2).sum())
