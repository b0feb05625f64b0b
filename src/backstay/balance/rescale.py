"""The rescaler: the outer loop that moves shares, over the engine's own least_time or leastconn. Pure.

    state + windows of every load balancer of the tier -> state + a step for each backend, with its reason

Signal: the trimmed mean of the time to the response's header, successes only, within a route class. It is divided
by the backend's own unloaded time (half excused: see ADR 0051) and compared with the median of the pool; errors
cost 5 s each. The step, its dead band and its bounds are those of `Parameters`; docs/rescaling.md explains each.

Invariants, held whatever comes in:
- a share moves by at most +15% or -33% a step, and stays within SHARE_FLOOR..SHARE_CAP;
- a share never rises while the backend's errors are elevated;
- without enough data nothing moves (fail static).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from backstay.balance.model import SHARE_CAP, SHARE_FLOOR
from backstay.balance.signal import Evidence, Nature, Parameters, Reading, learn, read, weigh
from backstay.balance.window import Signal, Times, Window, merged


class Reason(StrEnum):
    SLOWER = "slower"  # than the pool's median
    FASTER = "faster"
    ERRORS = "errors"  # elevated: the share falls, or may not rise
    WITHIN_BAND = "within_band"  # like its peers, as far as the samples can tell
    RETURNING = "returning"  # like its peers, and on its way back to the full share
    TOO_FEW = "too_few"  # samples to tell
    CANARY = "canary"  # too few samples at a small share: it grows until it is measured
    NOT_COMPARED = "not_compared"  # no peer, or nothing learnt yet
    NOT_SERVING = "not_serving"
    SLOW_START = "slow_start"
    FROZEN = "frozen"  # the whole pool, see Frozen
    ROLLED_BACK = "rolled_back"


class Frozen(StrEnum):
    NO_QUORUM = "no_quorum"  # too few load balancers told what they saw
    NO_DATA = "no_data"  # too few backends with samples
    HELD = "held"  # after a roll back


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendScale:
    """What the rescaler remembers of one backend."""

    share: float = 1.0
    gain: float = 0.4
    sign: int = 0  # of the last deviation beyond the dead band
    natures: Mapping[str, Nature] = field(default_factory=dict)  # by route class
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Watches whether the moves help: the tier's p95 before a move against the one after."""

    before: Mapping[str, Times] = field(default_factory=dict)  # the tier's times at the last move, by route class
    safe: Mapping[str, float] = field(default_factory=dict)  # shares before the moves that are on trial
    worse: int = 0  # moves in a row after which the p95 was worse
    held: int = 0  # steps left to hold still


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolScale:
    """The rescaler's state for one pool; kept on disk, so that a restart forgets nothing."""

    backends: Mapping[str, BackendScale] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)  # load balancer -> id of the last window that counted
    missing: Mapping[str, int] = field(default_factory=dict)  # load balancer -> steps without a new window
    guard: Guard = Guard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of one backend's share, and everything that it was decided by."""

    backend: str
    share_before: float
    share: float
    reason: Reason
    sentence: str
    signal_s: float | None = None  # trimmed mean over its route classes, successes only
    unloaded_s: float | None = None  # its own
    inflation: float | None = None  # signal over reference, errors counted in
    deviation: float | None = None  # ln(inflation over the median of the pool), over steps where one is not enough
    band: float | None = None  # deviations within it are noise
    error_rate: float = 0.0
    samples: int = 0  # of this step
    confidence: float = 0.0  # n / (n + 50), n over the steps that count


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescaled:
    at: datetime  # UTC, for the report alone
    steps: tuple[Step, ...]
    frozen: Frozen | None = None
    p95_s: float | None = None  # the tier's


def rescale(
    state: PoolScale,
    windows: Sequence[Window],
    *,
    load_balancers: Sequence[str],
    serving: Collection[str],
    ramping: Collection[str] = (),
    backends: Sequence[str],
    at: datetime,
    parameters: Parameters | None = None,
) -> tuple[PoolScale, Rescaled]:
    """One step of the pool.

    windows: the last of every load balancer of the tier that could be reached, one's own among them; one that
    counted before is not counted again. backends: all of the pool; serving: those that get requests now; ramping:
    those in slow start. at: told in the report, decides nothing, so a clock that steps does no harm.
    """
    known = parameters or Parameters()
    state, fresh = _take(state, windows, load_balancers, backends, known)
    seen = merged(fresh)
    measured = {name: seen[name] for name in backends if name in seen and name in serving and name not in ramping}
    natures = learn({name: scale.natures for name, scale in state.backends.items()}, measured, known)
    scales = {name: replace(scale, natures=natures[name]) for name, scale in state.backends.items()}
    state = replace(state, backends=scales)
    tier = _tier_times(measured)
    p95_s = _p95_s(tier)
    frozen = _frozen(state, fresh, measured, load_balancers, serving, known)
    if frozen is not None:
        steps = tuple(_still(name, state, Reason.FROZEN, _FROZEN_WORDS[frozen]) for name in backends)
        return state, Rescaled(at=at, steps=steps, frozen=frozen, p95_s=p95_s)
    guard = _watch(state.guard, tier, known)
    readings = read(measured, natures, known)
    if guard.worse >= 2 or guard.held:
        return _back(state, guard, readings, serving, backends, Rescaled(at=at, steps=(), p95_s=p95_s), known)
    outcomes = {
        name: _decide(name, state.backends[name], readings.get(name), name in serving, name in ramping, known)
        for name in backends
    }
    moved = any(abs(math.log(step.share / step.share_before)) > 0.02 for _, step in outcomes.values())
    if moved:
        shares = {name: state.backends[name].share for name in backends}
        guard = replace(guard, before=tier, safe=guard.safe if guard.worse else shares)
    else:
        guard = replace(guard, before={}, worse=0)
    state = replace(state, backends={name: scale for name, (scale, _) in outcomes.items()}, guard=guard)
    return state, Rescaled(at=at, steps=tuple(step for _, step in outcomes.values()), p95_s=p95_s)


def _take(
    state: PoolScale,
    windows: Sequence[Window],
    load_balancers: Sequence[str],
    backends: Sequence[str],
    known: Parameters,
) -> tuple[PoolScale, list[Window]]:
    """The state with today's members, and the windows that are new. Identity alone counts, never a clock."""
    fresh = {
        window.lb: window
        for window in windows
        if window.lb in load_balancers and state.seen.get(window.lb) != window.id
    }
    scales = {name: state.backends.get(name, BackendScale(gain=known.gain)) for name in backends}
    state = replace(
        state,
        backends=scales,
        seen={
            lb: fresh[lb].id if lb in fresh else state.seen[lb]
            for lb in load_balancers
            if lb in {**state.seen, **fresh}
        },
        missing={lb: 0 if lb in fresh else state.missing.get(lb, 0) + 1 for lb in load_balancers},
    )
    return state, list(fresh.values())


def _frozen(
    state: PoolScale,
    fresh: Sequence[Window],
    measured: Mapping[str, Mapping[str, Signal]],
    load_balancers: Sequence[str],
    serving: Collection[str],
    known: Parameters,
) -> Frozen | None:
    """Why nothing may move. Half of the tier is a quorum: the survivor of two load balancers goes on by itself.

    A peer counts for a while after its last window: the steps of two machines drift.
    """
    told = sum(state.missing[lb] <= known.missing_limit for lb in load_balancers)
    if not fresh or told * 2 < len(load_balancers):
        return Frozen.NO_QUORUM
    enough = sum(_requests(routes) >= known.samples_min for routes in measured.values())
    if not enough or enough * 2 < len(serving):
        return Frozen.NO_DATA
    return None


_FROZEN_WORDS = {
    Frozen.NO_QUORUM: "nothing moves: too few load balancers of the tier told what they saw",
    Frozen.NO_DATA: "nothing moves: too few backends have samples",
    Frozen.HELD: "nothing moves: held still after a roll back",
}


def _requests(routes: Mapping[str, Signal]) -> int:
    return sum(signal.requests for signal in routes.values())


def _still(name: str, state: PoolScale, reason: Reason, sentence: str, reading: Reading | None = None) -> Step:
    share = state.backends[name].share
    return _step(name, share, share, reason, sentence, reading)


def _step(
    name: str,
    before: float,
    share: float,
    reason: Reason,
    sentence: str,
    reading: Reading | None,
    evidence: Evidence | None = None,
    known: Parameters | None = None,
) -> Step:
    step = Step(backend=name, share_before=before, share=share, reason=reason, sentence=sentence)
    if reading is not None:
        step = replace(
            step,
            signal_s=reading.signal_s,
            unloaded_s=reading.unloaded_s,
            inflation=reading.inflation,
            error_rate=reading.error_rate,
            samples=reading.samples,
        )
    if evidence is not None and known is not None:
        step = replace(
            step,
            deviation=evidence.deviation,
            band=evidence.band(known),
            confidence=_confidence(evidence, known),
        )
    return step


def _decide(
    name: str, scale: BackendScale, reading: Reading | None, serves: bool, ramps: bool, known: Parameters
) -> tuple[BackendScale, Step]:
    """Where one backend's share goes."""
    share = scale.share
    if not serves:
        return scale, _step(name, share, share, Reason.NOT_SERVING, "gets no requests: its share waits", None)
    if ramps:
        return scale, _step(name, share, share, Reason.SLOW_START, "in slow start: not judged yet", None)
    if reading is None or reading.samples < known.samples_min:
        return _unmeasured(name, scale, reading, known)
    evidence = weigh(reading, scale.evidence, known)
    scale = replace(scale, evidence=evidence)
    move = -known.pull * math.log(share)
    if evidence is None:
        new = _bounded(share, 0.0 if reading.elevated else _clip(move, known))
        words = "nothing to compare with: no peer, or no unloaded time yet"
        return replace(scale, share=new), _step(name, share, new, Reason.NOT_COMPARED, words, reading)
    outside = abs(evidence.deviation) > evidence.band(known)
    if outside:
        sign = 1 if evidence.deviation > 0 else -1
        # Swinging to and fro: half the gain. A backend that deviates the same way wins it back slowly.
        gain = max(scale.gain / 2.0, known.gain_min) if sign == -scale.sign else min(scale.gain * 1.1, known.gain)
        scale = replace(scale, gain=gain, sign=sign)
        move -= gain * _confidence(evidence, known) * evidence.deviation
    if reading.elevated:
        move = min(move, 0.0)
    new = _bounded(share, _clip(move, known))
    reason, sentence = _words(share, new, evidence, reading, known)
    return replace(scale, share=new), _step(name, share, new, reason, sentence, reading, evidence, known)


def _unmeasured(
    name: str, scale: BackendScale, reading: Reading | None, known: Parameters
) -> tuple[BackendScale, Step]:
    """Too few samples. A small share may be why: it grows until it is measured; a large one goes back to full."""
    share = scale.share
    if share == 1.0 or (reading is not None and reading.errors):
        return scale, _step(name, share, share, Reason.TOO_FEW, "too few samples to tell: its share stays", reading)
    new = _bounded(share, known.rise if share < 1.0 else -known.pull * math.log(share))
    new = min(new, 1.0) if share < 1.0 else max(new, 1.0)
    sentence = f"too few samples at share {share:.2f}: to {new:.2f}, so that it is measured"
    return replace(scale, share=new), _step(name, share, new, Reason.CANARY, sentence, reading)


def _confidence(evidence: Evidence, known: Parameters) -> float:
    return evidence.samples / (evidence.samples + known.confidence_samples)


def _clip(move: float, known: Parameters) -> float:
    return min(max(move, known.fall), known.rise)


def _bounded(share: float, move: float) -> float:
    """`move` is a step of the logarithm of the share."""
    return min(max(share * math.exp(move), SHARE_FLOOR), SHARE_CAP)


def _words(share: float, new: float, evidence: Evidence, reading: Reading, known: Parameters) -> tuple[Reason, str]:
    where = f"share {share:.2f} to {new:.2f}" if f"{share:.2f}" != f"{new:.2f}" else f"share stays {share:.2f}"
    if reading.elevated:
        return Reason.ERRORS, f"{reading.error_rate:.1%} of its requests failed, more than its peers': {where}"
    band = evidence.band(known)
    if abs(evidence.deviation) > band:
        reason = Reason.SLOWER if evidence.deviation > 0 else Reason.FASTER
        much, than = abs(math.expm1(evidence.deviation)), "above" if evidence.deviation > 0 else "below"
        return reason, f"its time over its unloaded time is {much:.0%} {than} the pool's median: {where}"
    within = f"like its peers within {math.expm1(band):.0%}"
    if abs(math.log(new)) < abs(math.log(share)):
        return Reason.RETURNING, f"{within}, on the way back to a full share: {where}"
    return Reason.WITHIN_BAND, f"{within}: {where}"


def _tier_times(measured: Mapping[str, Mapping[str, Signal]]) -> dict[str, Times]:
    """Times of the whole tier by route class, over all backends."""
    bins: dict[str, dict[int, int]] = {}
    for routes in measured.values():
        for route, signal in routes.items():
            into = bins.setdefault(route, {})
            for number, count in signal.times.bins.items():
                into[number] = into.get(number, 0) + count
    return {route: Times(bins=counts) for route, counts in bins.items()}


def _p95_s(tier: Mapping[str, Times]) -> float | None:
    total: dict[int, int] = {}
    for times in tier.values():
        for number, count in times.bins.items():
            total[number] = total.get(number, 0) + count
    return Times(bins=total).quantile(0.95) if total else None


def _watch(guard: Guard, tier: Mapping[str, Times], known: Parameters) -> Guard:
    """Did the last move make the tier's p95 worse? Within route classes, so that another mix does not count."""
    weights = change = 0.0
    for route, before in guard.before.items():
        after = tier.get(route, Times())
        weight = min(before.count, after.count)
        if weight >= known.worse_samples:
            weights += weight
            change += weight * math.log(after.quantile(0.95) / before.quantile(0.95))
    if not weights:
        return guard
    worse = change / weights > math.log1p(known.worse)
    return replace(guard, worse=guard.worse + 1 if worse else 0)


def _back(
    state: PoolScale,
    guard: Guard,
    readings: Mapping[str, Reading],
    serving: Collection[str],
    backends: Sequence[str],
    report: Rescaled,
    known: Parameters,
) -> tuple[PoolScale, Rescaled]:
    """Roll back to the shares before the moves that made the p95 worse, within the bounds of a step, and hold still."""
    starts = not guard.held
    held = known.held if starts else guard.held - 1
    scales, steps = {}, []
    for name in backends:
        scale, reading = state.backends[name], readings.get(name)
        move = _clip(math.log(guard.safe.get(name, scale.share) / scale.share), known)
        if name not in serving or (reading is not None and reading.elevated):
            move = min(move, 0.0)
        new = _bounded(scale.share, move)
        gain = max(scale.gain / 2.0, known.gain_min) if starts else scale.gain
        scales[name] = replace(scale, share=new, gain=gain)
        moved = new != scale.share
        reason = Reason.ROLLED_BACK if moved else Reason.FROZEN
        words = (
            f"the tier's p95 grew worse twice after moves: rolled back, share {scale.share:.2f} to {new:.2f}"
            if moved
            else _FROZEN_WORDS[Frozen.HELD]
        )
        steps.append(_step(name, scale.share, new, reason, words, reading))
    guard = Guard(safe=guard.safe if held else {}, held=held)
    return replace(state, backends=scales, guard=guard), replace(report, steps=tuple(steps), frozen=Frozen.HELD)
