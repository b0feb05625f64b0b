"""Natural experiments: a fact that changed at t, on some nodes and not on others.

Difference-in-differences: (after - before) of the nodes that changed, less that of their unchanged peers, which takes
out whatever hit all of them (Angrist and Pischke, Mostly harmless econometrics, 2009, chapter 5). How large such a
figure gets when nothing happened is measured, not assumed: at placebo times before the change, and on nodes that did
not change (Abadie, Diamond and Hainmueller, Synthetic control methods, JASA 105, 2010). What stands out of k placebos
is worth at most k + 1 to 1. The strongest evidence is a reversal: changed back, and the effect went.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from backstay.audit.compare.effective import summary
from backstay.audit.compare.peers import middle
from backstay.audit.marginal import ERROR_FLOOR, TAUS, log_sum
from backstay.audit.model import Effect, Evidence, EvidenceKind, FactChange, Floats, Grid

CELLS_LIMIT = 8  # before and after: fewer say nothing
CELLS_MOST = 2000
EXPERIMENTS_LIMIT = 60
PLACEBO_TIMES_LIMIT = 50
UNSEEN_LIMIT = timedelta(days=1)
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


def _beside(values: Floats, changed: Sequence[int], unchanged: Sequence[int]) -> Floats:
    """(times,): the median of the changed nodes less that of the unchanged ones."""
    with np.errstate(invalid="ignore"):
        found: Floats = middle(values[list(changed)]) - middle(values[list(unchanged)])
    return found


def _difference(
    values: Floats, changed: Sequence[int], unchanged: Sequence[int], cell: int
) -> tuple[float, float] | None:
    """(estimate, its standard error from time alone), or None where a side has no values."""
    beside = _beside(values, changed, unchanged)
    estimate = _step(beside, cell)
    if estimate is None:
        return None
    errors = [float(summary(side[None])[1][0]) for side in (beside[:cell], beside[cell:])]
    return estimate, max(math.hypot(*errors), ERROR_FLOOR)


def _step(beside: Floats, cell: int) -> float | None:
    """Mean from `cell` on less mean before; None where a side has too little."""
    before, after = (side[np.isfinite(side)] for side in (beside[:cell], beside[cell:]))
    return float(after.mean() - before.mean()) if min(before.size, after.size) >= CELLS_LIMIT else None


def _placebos(values: Floats, changed: Sequence[int], unchanged: Sequence[int], cell: int) -> list[float]:
    """At times before the change, with as much after as there is; and on each unchanged node among the unchanged."""
    span = min(cell, values.shape[1] - cell)
    latest = max(cell - max(span // 2, CELLS_LIMIT), CELLS_LIMIT)
    times = np.unique(np.linspace(CELLS_LIMIT, latest, PLACEBO_TIMES_LIMIT).astype(int)).tolist()
    before = _beside(values[:, :cell], changed, unchanged)
    found = [_step(before, time) for time in times]
    if len(unchanged) > 1:
        rest = {node: [other for other in unchanged if other != node] for node in unchanged}
        found += [_step(_beside(values, [node], others), cell) for node, others in rest.items()]
    return [one for one in found if one is not None]


def _log_odds(estimate: float, noise: float, placebos: int) -> float:
    """Log Bayes factor of an effect (tau of marginal.py) against none; at most log(placebos + 1)."""
    scales = np.hypot(noise, TAUS)
    some = log_sum(-0.5 * (estimate / scales) ** 2 - np.log(scales)) - math.log(len(TAUS))
    none = -0.5 * (estimate / noise) ** 2 - math.log(noise)
    return float(np.clip(some - none, AGAINST_LIMIT, math.log(placebos + 1.0)))


def unsure(grid: Grid, change: FactChange) -> tuple[int, int]:
    """(first cell that is unsure, first cell that is certainly after). Between two reads nobody knows when it changed;
    where facts were read so seldom that this is more than UNSEEN_LIMIT, the later read is taken for the time."""
    cell, seen = grid.cell(change.time), change.unseen_from
    whole = (
        grid.start + timedelta(seconds=cell * grid.step_s) == change.time
    )  # else the cell is half before, half after
    known = seen is None or change.time - seen > UNSEEN_LIMIT
    return cell if known or seen is None else min(grid.cell(seen) + 1, cell), cell if whole else cell + 1


def from_changes(
    values: Floats, grid: Grid, nodes: Sequence[str], changes: Sequence[FactChange]
) -> tuple[Evidence, ...]:
    """Evidence from every fact that changed within the grid's time. `values`: (nodes, times), normalised by work.

    Changes of one fact at about the same time are one experiment. A second one that undoes the first, with an effect
    that goes as well, is a reversal. Long series are thinned to CELLS_MOST, and of many experiments the last
    EXPERIMENTS_LIMIT are made.
    """
    place = {node: at for at, node in enumerate(nodes)}
    events: dict[str, list[tuple[int, list[FactChange]]]] = {}
    grid = _thinned(values, grid, tuple(nodes))
    known: Floats = grid.values[0].copy()
    for change in sorted(changes, key=lambda one: one.time):
        first, cell = unsure(grid, change)
        if change.node not in place or not 0 < cell < grid.count:
            continue
        known[place[change.node], max(first, 0) : cell] = np.nan
        of_fact = events.setdefault(change.fact, [])
        if of_fact and cell - of_fact[-1][0] < CELLS_LIMIT and change.node not in {c.node for c in of_fact[-1][1]}:
            of_fact[-1][1].append(change)
        else:
            of_fact.append((cell, [change]))
    # Facts of one part, or of one upgrade, change together: the same experiment, made once.
    made: dict[tuple[int, int, int, tuple[int, ...]], NaturalExperiment | None] = {}

    def experiment(start: int, cell: int, end: int, changed: tuple[int, ...]) -> NaturalExperiment | None:
        if (start, cell, end, changed) not in made:
            if len(made) >= EXPERIMENTS_LIMIT:
                return None
            found = difference_in_differences(known[:, start:end], changed, cell - start)
            made[start, cell, end, changed] = found
        return made[start, cell, end, changed]

    evidence: list[Evidence] = []
    for fact, experiments in sorted(events.items(), key=lambda entry: -entry[1][-1][0]):
        evidence += _of_fact(experiment, grid.count, place, fact, experiments)
    return tuple(evidence)


def _thinned(values: Floats, grid: Grid, nodes: tuple[str, ...]) -> Grid:
    """The same series with means of as many cells as it takes for CELLS_MOST of them."""
    width = max(1, -(-values.shape[1] // CELLS_MOST))
    short = -values.shape[1] % width
    cells = np.pad(values, ((0, 0), (0, short)), constant_values=np.nan).reshape(len(values), -1, width)
    present = np.isfinite(cells)
    sums, counts = np.where(present, cells, 0.0).sum(axis=-1), present.sum(axis=-1)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return Grid(nodes=nodes, indicators=("",), start=grid.start, step_s=grid.step_s * width, values=means[None])


def _of_fact(
    experiment: Callable[[int, int, int, tuple[int, ...]], NaturalExperiment | None],
    count: int,
    place: dict[str, int],
    fact: str,
    events: list[tuple[int, list[FactChange]]],
) -> list[Evidence]:
    evidence, before = [], dict[str, tuple[FactChange, float]]()
    bounds = [0, *(cell for cell, _ in events), count]
    for at, (cell, changes) in enumerate(events):
        found = experiment(bounds[at], cell, bounds[at + 2], tuple(place[change.node] for change in changes))
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
