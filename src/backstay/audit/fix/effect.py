"""How much came with a change: difference-in-differences of the changed nodes, each at its own time.

Each node's level before any change is taken out, and then, at every time, the median of the peers that are unchanged by
then: nodes that will be changed later are peers until they are (Callaway and Sant'Anna, Difference-in-differences with
multiple time periods, J. Econometrics 225, 2021), and never again after (Goodman-Bacon, ibid., shows what it does to an
estimate when they are). The nodes' series are laid over each other by the time since their own change, so that nodes
fixed one by one add up.

How large such a figure gets when nothing happened is taken from three sides, and the largest counts: the error of both
means from their effective samples; placebo windows in the time before (block permutations: Chernozhukov, Wuethrich and
Zhu, An exact and robust conformal inference method for counterfactual and synthetic controls, JASA 116, 2021), which
also grow where the nodes were drifting apart anyway; and unchanged nodes taken for changed ones (Abadie, Diamond and
Hainmueller, JASA 105, 2010). The first alone is too small for short series: autocorrelation is then underestimated.
`./run bench audit fixes` shows what they are worth together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from backstay.audit.compare.effective import summary
from backstay.audit.compare.peers import common_means, middle
from backstay.audit.marginal import ERROR_FLOOR
from backstay.audit.model import Floats

CELLS_LIMIT = 8  # with values, before and after: fewer say nothing
PLACEBO_WINDOWS_LIMIT = 50
PLACEBO_SHARE = 3  # a placebo window is at most a third of the time before, so that there are a few that differ
STEP_SHARE = 8
STEPS_LIMIT = 20  # places where a step before the change is looked for
PLACEBO_NODES = 3  # unchanged nodes, from which on they are taken for changed ones
FREEDOM_LIMIT = 200.0
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """When a node's fact changed, in cells: it was as before below `first`, and is as now from `after` on."""

    first: int
    after: int
    until: int  # it was changed back, or the series ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """The mean of one stretch of a series less that of another, with all that may have made it but the change."""

    estimate: float
    noise: float  # standard error
    freedom: float
    placebos: tuple[float, ...]
    error_before: float  # what the time before has of the noise: waiting does not shrink it

    @property
    def p(self) -> float:
        """Share of placebos that are as large, the change itself among them."""
        reached = sum(abs(one) >= abs(self.estimate) for one in self.placebos)
        return (1 + reached) / (1 + len(self.placebos))

    @property
    def reach(self) -> float:
        """Half width of the 95% interval."""
        return self.noise * float(stats.t.ppf(0.5 + CONFIDENCE / 2.0, self.freedom))


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeAfter:
    """What came with the change. Arrays are beside unchanged peers, by cells since the change of each node."""

    before: Floats  # (cells before,): the last is just before; mean over the changed nodes, NaN for gaps
    after: Floats  # (cells after,)
    whole: Contrast
    nodes: Mapping[int, float]  # position -> its own estimate; NaN: none
    own: float  # after less before, of the changed nodes by themselves
    peers: float  # and of the unchanged ones at the same times


def before_after(values: Floats, changes: Mapping[int, Changed]) -> BeforeAfter | None:
    """What came with `changes` (position of the node -> when). `values`: (nodes, times), log ratios, NaN for gaps.

    None where no node kept the fact, or where fewer than CELLS_LIMIT cells with values are before or after.
    """
    unchanged = [at for at in range(len(values)) if at not in changes]
    if not changes or not unchanged:
        return None
    first = min(one.first for one in changes.values())
    if first < CELLS_LIMIT:
        return None
    level = common_means(values[:, :first])
    around = values - level[:, None]
    beside = {at: around[at] - _peers(around, at, changes) for at in changes}
    before, after = _stacked(beside, changes)
    if min(int(np.isfinite(before).sum()), int(np.isfinite(after).sum())) < CELLS_LIMIT:
        return None
    return BeforeAfter(
        before=before,
        after=after,
        whole=contrast(before, after, _of_nodes(around, unchanged, changes)),
        nodes={at: _own(beside[at], one) for at, one in changes.items()},
        own=_mean([_own(around[at], one) for at, one in changes.items()]),
        peers=_mean([_own(_peers(around, at, changes), one) for at, one in changes.items()]),
    )


def contrast(before: Floats, after: Floats, of_nodes: Sequence[float] = ()) -> Contrast:
    """`after` less `before`, (cells,) each with CELLS_LIMIT values or more. `of_nodes`: placebos of other nodes."""
    (mean_b, error_b, _, worth_b), (mean_a, error_a, _, worth_a) = (summary(side[None]) for side in (before, after))
    windows = _windows(before, int(np.isfinite(after).sum()))
    noise = max(
        math.hypot(error_b[0], error_a[0]), _root_mean_square(windows), _root_mean_square(of_nodes), ERROR_FLOOR
    )
    return Contrast(
        estimate=float(mean_a[0] - mean_b[0]),
        noise=float(noise),
        freedom=min(max(float(worth_b[0] + worth_a[0]) - 2.0, 1.0), FREEDOM_LIMIT),
        placebos=(*windows, *of_nodes),
        error_before=float(error_b[0]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What was under way before the change."""

    moved: float  # by a step: the level after it less the level before it; by a line: what it would have brought
    error: float  # standard error of that
    level: float  # before the step; in the middle of the line
    left: float  # sum of squares that it leaves of the time before


def step_before(before: Floats) -> Earlier | None:
    """The step that leaves least of the time before. Both sides have an eighth of it: a shorter one is noise. None
    where there is too little."""
    least = max(len(before) // STEP_SHARE, CELLS_LIMIT)
    cuts = np.unique(np.linspace(least, max(len(before) - least, least), STEPS_LIMIT).astype(int)).tolist()
    steps = []
    for cut in cuts:
        sides = before[:cut], before[cut:]
        if min(int(np.isfinite(side).sum()) for side in sides) >= CELLS_LIMIT:
            steps.append((sum(float(np.nansum((side - np.nanmean(side)) ** 2)) for side in sides), cut))
    if not steps:
        return None
    left, cut = min(steps)
    found = contrast(before[:cut], before[cut:])
    return Earlier(moved=found.estimate, error=found.noise, level=float(np.nanmean(before[:cut])), left=left)


def line_before(before: Floats, after: int) -> Earlier:
    """What a straight line through the time before would have brought by the middle of the next `after` cells. Its
    residuals are worth their effective samples."""
    cells, present = np.arange(len(before), dtype=np.float64), np.isfinite(before)
    center, level = float(cells[present].mean()), float(before[present].mean())
    away = cells - center
    squares = float((away[present] ** 2).sum())
    slope = float((away[present] * (before[present] - level)).sum()) / squares
    residuals = before - level - slope * away
    left = float(np.nansum(residuals**2))
    worth = float(summary(residuals[None])[3][0])
    distance = len(before) + 0.5 * after - center
    error = math.sqrt(left / (max(worth - 2.0, 1.0) * squares)) * distance
    return Earlier(moved=slope * distance, error=error, level=level, left=left)


def _peers(around: Floats, node: int, changes: Mapping[int, Changed]) -> Floats:
    """(times,): the median of the others that are unchanged by then; NaN where there is none."""
    peers = around.copy()
    peers[node] = np.nan
    for at, one in changes.items():
        peers[at, one.first :] = np.nan
    return middle(peers)


def _stacked(beside: Mapping[int, Floats], changes: Mapping[int, Changed]) -> tuple[Floats, Floats]:
    """Means over the nodes by cells before and after each one's own change.

    Each side of a node is moved to the nodes' common level first: the last cells are those of the node that was fixed
    first alone, and its effect may be another than that of the others.
    """
    longest = max(one.first for one in changes.values())
    last = max(one.until - one.after for one in changes.values())
    before = np.full((len(changes), longest), np.nan)
    after = np.full((len(changes), max(last, 0)), np.nan)
    for row, (at, one) in enumerate(changes.items()):
        before[row, longest - one.first :] = beside[at][: one.first]
        after[row, : max(one.until - one.after, 0)] = beside[at][one.after : one.until]
    return _means(before), _means(after)


def _means(rows: Floats) -> Floats:
    present = np.isfinite(rows)
    levels = np.where(present, rows, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    some = present.any(axis=1)
    rows = rows - levels[:, None] + (levels[some].mean() if some.any() else 0.0)
    sums = np.where(present, rows, 0.0).sum(axis=0)
    counts = present.sum(axis=0)
    found: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return found


def _windows(before: Floats, after: int) -> list[float]:
    """Windows in the time before, each less what is around it, as wide as the time after, or a third of the time before
    and then scaled: the mean of a wider window would vary less."""
    count = len(before)
    width = min(after, count // PLACEBO_SHARE)
    if width < CELLS_LIMIT:
        return []
    scale = math.sqrt(width / after)
    starts = np.unique(np.linspace(0, count - width, PLACEBO_WINDOWS_LIMIT).astype(int))
    present = np.isfinite(before)
    sums = np.concatenate([[0.0], np.cumsum(np.where(present, before, 0.0))])
    counts = np.concatenate([[0], np.cumsum(present)])
    found = []
    for start in starts.tolist():
        inside = counts[start + width] - counts[start]
        around = counts[-1] - inside
        if inside >= width // 2 and around >= CELLS_LIMIT:
            total = sums[start + width] - sums[start]
            found.append(float(total / inside - (sums[-1] - total) / around) * scale)
    return found


def _of_nodes(around: Floats, unchanged: Sequence[int], changes: Mapping[int, Changed]) -> list[float]:
    """Each unchanged node taken for a changed one, at the time of the first change and beside the other unchanged."""
    if len(unchanged) < PLACEBO_NODES:
        return []
    one = min(changes.values(), key=lambda one: one.after)
    found = []
    for node in unchanged:
        others = around[[at for at in unchanged if at != node]]
        found.append(_own(around[node] - middle(others), one))
    return [value for value in found if math.isfinite(value)]


def _own(series: Floats, one: Changed) -> float:
    """Mean after less mean before; NaN where a side has too little."""
    before, after = series[: one.first], series[one.after : one.until]
    kept = [side[np.isfinite(side)] for side in (before, after)]
    if min(len(side) for side in kept) < CELLS_LIMIT:
        return math.nan
    return float(kept[1].mean() - kept[0].mean())


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else 0.0
