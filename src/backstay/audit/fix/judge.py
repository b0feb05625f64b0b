"""Did the fix do what was expected? From the facts' changes and the series to a verdict.

Confirmed takes three things at once: the 95% interval excludes no effect, at least half of what was expected came, and
the expected effect is ten times likelier than none (log odds with the expectation told beforehand, never more than the
placebos can show). What came before the change, or to unchanged peers as well, is not its doing. Where the interval
has room for both answers it is too early, and the verdict says for how long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from scipy import stats

from backstay.audit.explain.grade import STRONG
from backstay.audit.explain.natural import unsure
from backstay.audit.fix.effect import (
    CELLS_LIMIT,
    BeforeAfter,
    Changed,
    Contrast,
    before_after,
    contrast,
    line_before,
    step_before,
)
from backstay.audit.fix.model import Fix, NodeEffect, Outcome, Reason, Verdict
from backstay.audit.model import Effect, FactChange, FactTable, Floats, Grid
from backstay.audit.work import Method, Normalised

ENOUGH = 0.5  # of what was expected must come
RESOLVE = 2.8  # the expected effect must be this many standard errors, before waiting longer changes nothing
WAIT_LIMIT_S = 366 * 86_400.0
EARLIER_SHARE = 0.5  # of the effect that was there, or under way, before the change: then it is not its doing
LINE_AT = 2.0  # standard errors, from which on a line through the time before is no chance
STEP_AT = 3.0  # and a step in it, which was looked for at every place
RECENT_SHARE = 4  # the last quarter of the time after is where an effect that went is looked for
WAIT_SHARE = 0.25  # of the time after: less is not worth another look
AGAINST_LIMIT = -5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known when a fix is judged."""

    nodes: tuple[str, ...]  # of the cluster, those of `normal` in its order
    grid: Grid  # its time; the values are in `normal`
    normal: Normalised  # the indicator per unit of work
    table: FactTable  # as the facts are now
    changes: Sequence[FactChange]  # on the cluster's nodes, oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What became of the fact on the fixed nodes."""

    changed: dict[str, FactChange]  # the one that the fix made
    back: dict[str, FactChange]  # changed again, away from what was to be
    missing: tuple[str, ...]
    late: tuple[str, ...]  # had been changed when the fix was registered


def judge(fix: Fix, scene: Scene, now: datetime) -> Verdict:
    """The verdict on `fix` at `now`."""
    seen = _seen(fix, scene)
    base = Verdict(outcome=Outcome.WAITING, reason=Reason.NOT_CHANGED, time=now, missing=seen.missing)
    if not seen.changed:
        late = len(seen.late) == len(fix.nodes)
        reason = Reason.LATE if late else Reason.OVERDUE if now > fix.by else Reason.NOT_CHANGED
        return replace(base, reason=reason)
    base = replace(base, together=_together(fix, seen, scene), problems=_problems(fix, seen))
    base = replace(base, nodes=tuple(_node(node, one, seen, math.nan) for node, one in seen.changed.items()))
    changes, others = _in_cells(fix, seen, scene)
    if fix.confirmed is not None and len(seen.back) == len(seen.changed):
        return replace(base, outcome=Outcome.REOPENED, reason=Reason.CHANGED_BACK)
    values = scene.normal.values.copy()
    for place, cell in others.items():
        values[place, cell:] = np.nan
    found = before_after(values, changes) if changes else None
    if found is None:
        return _nothing(scene, values, changes, replace(base, outcome=Outcome.TOO_EARLY))
    return _weighed(fix, scene, found, changes, replace(base, nodes=_nodes(seen, found, scene)))


def expected_of(fix: Fix, scene: Scene, changes: dict[int, Changed]) -> float:
    """What was expected, in the unit of the series. "Equal to the peers" is the distance to them before: to those that
    have the value that the fixed nodes got, where there are any."""
    first = min(one.first for one in changes.values())
    before = scene.normal.values[:, :first]
    fixed, peers = list(changes), [at for at in range(len(scene.nodes)) if scene.nodes[at] not in fix.nodes]
    if fix.expected is None:
        like = [at for at in peers if _value(scene.table, fix.fact, scene.nodes[at]) == fix.value]
        peers = like if fix.value is not None and like else peers
        known = np.isfinite(before)
        both = known[fixed].any(axis=0) & known[peers].any(axis=0)  # elsewhere there is nothing to tell apart
        if not both.any():
            return 0.0
        apart = np.nanmean(before[fixed][:, both], axis=0) - np.nanmedian(before[peers][:, both], axis=0)
        return -float(apart.mean())
    if scene.normal.method is Method.LINEAR:
        own = before[fixed][np.isfinite(before[fixed])]
        return fix.expected * float(own.mean()) if own.size else 0.0
    return math.log1p(fix.expected)


def _weighed(fix: Fix, scene: Scene, found: BeforeAfter, changes: dict[int, Changed], base: Verdict) -> Verdict:
    expected = expected_of(fix, scene, changes)
    step = scene.grid.step_s
    unit = "share of the cluster's mean" if scene.normal.method is Method.LINEAR else "log ratio"
    whole = found.whole
    low, high = whole.estimate - whole.reach, whole.estimate + whole.reach
    verdict = replace(
        base,
        effect=Effect(estimate=whole.estimate, low=low, high=high, unit=unit),
        expected=expected,
        p=whole.p,
        placebos=len(whole.placebos),
        log_odds=_log_odds(whole, expected),
        own=found.own if math.isfinite(found.own) else None,
        peers=found.peers if math.isfinite(found.peers) else None,
        before_s=len(found.before) * step,
        after_s=len(found.after) * step,
    )
    if fix.confirmed is not None:
        outcome, reason = _still(found, expected)
        return replace(verdict, outcome=outcome, reason=reason)
    outcome, reason = _decide(found, expected, verdict.log_odds)
    wait_s = None
    if outcome is Outcome.TOO_EARLY:
        wait_s = _wait(whole, expected, verdict.after_s)
        reason = reason if wait_s is not None else Reason.NEVER
    return replace(verdict, outcome=outcome, reason=reason, wait_s=wait_s)


def _decide(found: BeforeAfter, expected: float, log_odds: float) -> tuple[Outcome, Reason]:
    """Signed so that what was expected is above 0."""
    sign = math.copysign(1.0, expected)
    size, came = abs(expected), found.whole.estimate * sign
    low, high = came - found.whole.reach, came + found.whole.reach
    if high < 0.0:
        return Outcome.CONTRADICTED, Reason.OPPOSITE
    if high < ENOUGH * size:
        everywhere = found.peers * sign > ENOUGH * size
        small = Reason.SMALLER if low > 0.0 else Reason.NO_EFFECT
        return Outcome.NOT_CONFIRMED, Reason.EVERYWHERE if everywhere else small
    if low <= 0.0 or came < ENOUGH * size or log_odds < STRONG:
        return Outcome.TOO_EARLY, Reason.WIDE
    reason = _under_way(found, sign)
    return (Outcome.NOT_CONFIRMED, reason) if reason is not None else (Outcome.CONFIRMED, Reason.CAME)


def _under_way(found: BeforeAfter, sign: float) -> Reason | None:
    """Was half of the effect there before the change, or would it have come by itself? None: neither."""
    after = float(np.nanmean(found.after))
    line, step = line_before(found.before, len(found.after)), step_before(found.before)
    forms = [(Reason.DRIFT, line, LINE_AT), *([(Reason.CAME_BEFORE, step, STEP_AT)] if step is not None else [])]
    likely = [
        (one.left, reason)
        for reason, one, at in forms
        if one.moved * sign > max(at * one.error, EARLIER_SHARE * (after - one.level) * sign)
    ]
    return min(likely)[1] if likely else None


def _still(found: BeforeAfter, expected: float) -> tuple[Outcome, Reason]:
    """Of a fix that was confirmed: is the effect there in the last quarter of the time after?"""
    recent = found.after[-max(len(found.after) // RECENT_SHARE, CELLS_LIMIT) :]
    if int(np.isfinite(recent).sum()) < CELLS_LIMIT:
        return Outcome.CONFIRMED, Reason.CAME
    now = contrast(found.before, recent)
    gone = now.estimate * math.copysign(1.0, expected) + now.reach < ENOUGH * abs(expected)
    return (Outcome.REOPENED, Reason.WENT) if gone else (Outcome.CONFIRMED, Reason.CAME)


def _log_odds(whole: Contrast, expected: float) -> float:
    """Log Bayes factor of an effect about as expected (give or take half of it) against none, by t."""
    wide = math.hypot(whole.noise, ENOUGH * expected)
    some = stats.t.logpdf((whole.estimate - expected) / wide, whole.freedom) - math.log(wide)
    none = stats.t.logpdf(whole.estimate / whole.noise, whole.freedom) - math.log(whole.noise)
    return float(np.clip(some - none, AGAINST_LIMIT, math.log(len(whole.placebos) + 1.0)))


def _wait(whole: Contrast, expected: float, after_s: float) -> float | None:
    """About how long until the noise is small beside what is expected; None: waiting alone does not help.

    The time after shrinks its share of the noise as one over its length; that of the time before stays.
    """
    needed, before = (abs(expected) / RESOLVE) ** 2, min(whole.error_before, whole.noise) ** 2
    after = whole.noise**2 - before
    if needed <= before or len(whole.placebos) + 1.0 < math.exp(STRONG):
        return None
    wait = max(after / (needed - before) - 1.0, WAIT_SHARE) * after_s
    return wait if wait <= WAIT_LIMIT_S else None


def _seen(fix: Fix, scene: Scene) -> _Seen:
    changed: dict[str, FactChange] = {}
    back: dict[str, FactChange] = {}
    late = []
    for node in fix.nodes:
        for change in (one for one in scene.changes if one.fact == fix.fact and one.node == node):
            right = change.after == fix.value if fix.value is not None else True
            if change.time <= fix.registered:
                continue
            if node not in changed and right:
                changed[node] = change
            elif node in changed and change.after != changed[node].after:
                back[node] = change
            elif node in back:
                back.pop(node)
        if node not in changed and fix.value is not None and _value(scene.table, fix.fact, node) == fix.value:
            late.append(node)
    missing = tuple(node for node in fix.nodes if node not in changed)
    return _Seen(changed=changed, back=back, missing=missing, late=tuple(late))


def _value(table: FactTable, fact: str, node: str) -> str | None:
    if fact not in table.columns or node not in table.nodes:
        return None
    return table.columns[fact].text(table.nodes.index(node))


def _in_cells(fix: Fix, seen: _Seen, scene: Scene) -> tuple[dict[int, Changed], dict[int, int]]:
    """(position -> when it changed, position -> from which cell on it is no peer).

    A node whose fact changed too, by another fix or unplanned, is a peer until then; one that was fixed outside the
    time that was measured never is.
    """
    grid, place = scene.grid, {node: at for at, node in enumerate(scene.nodes)}
    changes = {}
    for node, change in seen.changed.items():
        first, after = unsure(grid, change)
        until = unsure(grid, seen.back[node])[0] if node in seen.back else grid.count
        if node in place and first >= 0 and after < grid.count:
            changes[place[node]] = Changed(first=first, after=after, until=until)
    others = {place[node]: 0 for node in seen.changed if node in place and place[node] not in changes}
    for one in reversed(scene.changes):
        if one.fact == fix.fact and one.node in place and one.node not in fix.nodes and one.time < grid.end:
            others[place[one.node]] = max(unsure(grid, one)[0], 0)
    return changes, others


def _together(fix: Fix, seen: _Seen, scene: Scene) -> tuple[str, ...]:
    """Facts that changed at the same read on every fixed node: one intervention, and not told apart by it."""
    at_once = [
        {one.fact for one in scene.changes if one.node == node and one.time == change.time}
        for node, change in seen.changed.items()
    ]
    return tuple(sorted(set.intersection(*at_once) - {fix.fact})) if at_once else ()


def _problems(fix: Fix, seen: _Seen) -> tuple[str, ...]:
    problems = [f"{node} was changed before the fix was registered: not counted" for node in seen.late]
    problems += [
        f"{node}: {fix.fact} was changed back at {one.time:%Y-%m-%d %H:%M} UTC" for node, one in seen.back.items()
    ]
    return tuple(problems)


def _node(node: str, change: FactChange, seen: _Seen, estimate: float) -> NodeEffect:
    return NodeEffect(node=node, changed=change.time, estimate=estimate, gone=node in seen.back)


def _nodes(seen: _Seen, found: BeforeAfter, scene: Scene) -> tuple[NodeEffect, ...]:
    place = {node: at for at, node in enumerate(scene.nodes)}
    return tuple(
        _node(node, change, seen, found.nodes.get(place.get(node, -1), math.nan))
        for node, change in seen.changed.items()
    )


def _nothing(scene: Scene, values: Floats, changes: dict[int, Changed], base: Verdict) -> Verdict:
    """Why nothing can be said: no peers, no values, or too little time. `values`: NaN from where a node is no peer."""
    step_s = scene.grid.step_s
    before = min((one.first for one in changes.values()), default=0)
    after = min((one.after for one in changes.values()), default=scene.grid.count)
    left = max(min((one.until for one in changes.values()), default=0) - after, 0)
    base = replace(base, before_s=before * step_s, after_s=left * step_s)
    peers = np.isfinite(values[[at for at in range(len(values)) if at not in changes]])
    if changes and (not peers.any() or (left >= CELLS_LIMIT and not peers[:, after:].any())):
        return replace(base, reason=Reason.NO_PEERS)
    if before < CELLS_LIMIT or not np.isfinite(values[:, :before]).any():
        return replace(base, reason=Reason.NO_VALUES)
    return replace(base, reason=Reason.SHORT, wait_s=max((CELLS_LIMIT - left) * step_s, step_s))
