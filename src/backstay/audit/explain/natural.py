"""Natural experiments: a fact that changed at t, on some nodes and not on others.

Difference-in-differences: (after - before) of the nodes that changed, less that of their unchanged peers, which takes
out whatever hit all of them (Angrist and Pischke, Mostly harmless econometrics, 2009, chapter 5). How large such a
figure gets when nothing happened is measured, not assumed: at placebo times before the change, and on nodes that did
not change (Abadie, Diamond and Hainmueller, Synthetic control methods, JASA 105, 2010). What stands out of k placebos
is worth at most k + 1 to 1. The strongest evidence is a reversal: changed back, and the effect went.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backstay.audit.compare.effective import summary
from backstay.audit.marginal import ERROR_FLOOR, TAUS, log_sum
from backstay.audit.model import Effect, Evidence, EvidenceKind, FactChange, Floats, Grid

CELLS_LIMIT = 8  # before and after: fewer say nothing
PLACEBO_TIMES_LIMIT = 50
AGAINST_LIMIT = -3.0  # log odds: that it had no effect here does not rule it out elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalExperiment:
    """What a change did, beside what happened to those who had none."""

    effect: Effect
    placebos: tuple[float, ...]  # the same figure where nothing changed
    p: float  # share of placebos at least as large, the change itself among them
    log_odds: float


def difference_in_differences(values: Floats, changed: Sequence[int], cell: int) -> NaturalExperiment | None:
    """What changed at `cell` on the nodes at positions `changed`. `values`: (nodes, times), log ratios, NaN for gaps.

    None where there are no unchanged peers, or fewer than CELLS_LIMIT cells on a side: then nothing can be said.
    """
    nodes, times = values.shape
    unchanged = [at for at in range(nodes) if at not in set(changed)]
    if not changed or not unchanged or cell < CELLS_LIMIT or times - cell < CELLS_LIMIT:
        return None
    found = _difference(values, changed, unchanged, cell)
    if found is None:
        return None
    estimate, error = found
    placebos = _placebos(values, changed, unchanged, cell)
    noise = math.hypot(error, float(np.sqrt(np.mean(np.square(placebos)))) if placebos else error)
    p = (1 + sum(abs(one) >= abs(estimate) for one in placebos)) / (1 + len(placebos))
    reach = 1.96 * noise
    return NaturalExperiment(
        effect=Effect(estimate=estimate, low=estimate - reach, high=estimate + reach),
        placebos=tuple(placebos),
        p=p,
        log_odds=_log_odds(estimate, noise, len(placebos)),
    )


def _difference(
    values: Floats, changed: Sequence[int], unchanged: Sequence[int], cell: int
) -> tuple[float, float] | None:
    """(estimate, its standard error from time alone), or None where a side has no values."""
    with np.errstate(invalid="ignore"):
        beside = _middle(values[list(changed)]) - _middle(values[list(unchanged)])
    sides = [beside[None, :cell], beside[None, cell:]]
    (before, error_before, *_), (after, error_after, *_) = (summary(side) for side in sides)
    if min(np.isfinite(side).sum() for side in sides) < CELLS_LIMIT:
        return None
    return float(after[0] - before[0]), max(math.hypot(error_before[0], error_after[0]), ERROR_FLOOR)


def _middle(values: Floats) -> Floats:
    """Median over the nodes at each time; NaN where none has a value."""
    found = np.full(values.shape[1], np.nan)
    some = np.isfinite(values).any(axis=0)
    found[some] = np.nanmedian(values[:, some], axis=0)
    return found


def _placebos(values: Floats, changed: Sequence[int], unchanged: Sequence[int], cell: int) -> list[float]:
    """At times before the change, with as much after as there is; and on each unchanged node among the unchanged."""
    span = min(cell, values.shape[1] - cell)
    latest = max(cell - max(span // 2, CELLS_LIMIT), CELLS_LIMIT)
    times = np.unique(np.linspace(CELLS_LIMIT, latest, PLACEBO_TIMES_LIMIT).astype(int)).tolist()
    found = [_difference(values[:, :cell], changed, unchanged, time) for time in times]
    if len(unchanged) > 1:
        for node in unchanged:
            others = [other for other in unchanged if other != node]
            found.append(_difference(values, [node], others, cell))
    return [one[0] for one in found if one is not None]


def _log_odds(estimate: float, noise: float, placebos: int) -> float:
    """Log Bayes factor of an effect (tau of marginal.py) against none; at most log(placebos + 1)."""
    scales = np.hypot(noise, TAUS)
    some = log_sum(-0.5 * (estimate / scales) ** 2 - np.log(scales)) - math.log(len(TAUS))
    none = -0.5 * (estimate / noise) ** 2 - math.log(noise)
    return float(np.clip(some - none, AGAINST_LIMIT, math.log(placebos + 1.0)))


def from_changes(
    values: Floats, grid: Grid, nodes: Sequence[str], changes: Sequence[FactChange]
) -> tuple[Evidence, ...]:
    """Evidence from every fact that changed within the grid's time. `values`: (nodes, times), normalised by work.

    Changes of one fact at about the same time are one experiment. A second one that undoes the first, with an effect
    that goes as well, is a reversal.
    """
    place = {node: at for at, node in enumerate(nodes)}
    events: dict[str, list[tuple[int, list[FactChange]]]] = {}
    for change in sorted(changes, key=lambda one: one.time):
        cell = grid.cell(change.time)
        if change.node not in place or not 0 < cell < grid.count:
            continue
        of_fact = events.setdefault(change.fact, [])
        if of_fact and cell - of_fact[-1][0] < CELLS_LIMIT and change.node not in {c.node for c in of_fact[-1][1]}:
            of_fact[-1][1].append(change)
        else:
            of_fact.append((cell, [change]))
    evidence: list[Evidence] = []
    for fact, experiments in events.items():
        evidence += _of_fact(values, place, fact, experiments)
    return tuple(evidence)


def _of_fact(
    values: Floats, place: dict[str, int], fact: str, events: list[tuple[int, list[FactChange]]]
) -> list[Evidence]:
    evidence, before = [], dict[str, tuple[FactChange, float]]()
    bounds = [0, *(cell for cell, _ in events), values.shape[1]]
    for at, (cell, changes) in enumerate(events):
        start, end = bounds[at], bounds[at + 2]
        changed = [place[change.node] for change in changes]
        found = difference_in_differences(values[:, start:end], changed, cell - start)
        if found is None:
            continue
        undone = [before[c.node] for c in changes if c.node in before and before[c.node][0].before == c.after]
        back = bool(undone) and all(one[1] * found.effect.estimate < 0.0 for one in undone)
        names = ", ".join(change.node for change in changes)
        evidence.append(
            Evidence(
                kind=EvidenceKind.REVERSAL if undone else EvidenceKind.CHANGE,
                fact=fact,
                log_odds=found.log_odds if back or not undone else min(found.log_odds, 0.0),
                where=f"{names} at {changes[0].time.isoformat()}",
                detail=f"{found.effect.ratio - 1.0:+.1%} beside unchanged peers; {found.p:.0%} of placebos reach it",
            )
        )
        before |= {change.node: (change, found.effect.estimate) for change in changes}
    return evidence
