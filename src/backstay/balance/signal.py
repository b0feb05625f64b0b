"""What the rescaler reads out of the windows: a backend's inflation against its pool, and how sure it is. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from backstay.balance.window import ROUTES_LIMIT, Signal, Times

Measured = Mapping[str, Mapping[str, Signal]]  # backend -> route class -> signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The rescaler's numbers; docs/rescaling.md says where each comes from. Replays may try others."""

    gain: float = 0.4  # of the deviation, a step
    gain_min: float = 0.05
    confidence_samples: float = 50.0  # n / (n + this)
    rise: float = math.log(1.15)
    fall: float = math.log(0.67)
    band: float = 0.10  # dead band, and at least `band_errors` standard errors
    band_errors: float = 2.0
    pull: float = 0.10  # of the logarithm of the share, a step, back to the full share (ADR 0050)
    own: float = 0.5  # how much of being slow by nature is excused (ADR 0051)
    own_limit: float = 2.0  # and up to what factor; the same for fast by nature
    error_cost_s: float = 5.0
    prior_samples: float = 20.0  # an error rate is shrunk towards its peers' as if so many were seen
    elevated: float = 0.005  # errors are elevated beyond twice the peers' median rate and this
    trim: float = 0.10  # off each end
    memory: float = 0.7  # of the evidence of earlier steps, a step, as far as this step's own is weak (ADR 0054)
    samples_min: int = 5  # requests of a backend in a step; below, it is not judged
    unloaded_quantile: float = 0.10
    unloaded_samples: int = 10  # successes in a step; below, nothing is learnt
    unloaded_young: int = 5  # steps whose mean is the first estimate
    unloaded_fall: float = 0.3  # of the gap, a step: a faster unloaded time is believed quickly, once it is no chance
    unloaded_rise: float = 0.001  # a step: a slower one only over hours, or load would be learnt as nature
    missing_limit: int = 2  # steps without news of a load balancer that still counts for the quorum
    worse: float = 0.10  # growth of the tier's p95 that counts as worse
    worse_samples: int = 200
    held: int = 4  # steps to hold still after a roll back


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One backend in this step."""

    samples: int  # requests
    errors: int
    error_rate: float
    elevated: bool  # its errors, against its peers
    signal_s: float | None = None
    unloaded_s: float | None = None  # its own, in the same mix of route classes
    inflation: float | None = None
    deviation: float | None = None  # ln(inflation over the pool's median); None: nobody to compare with
    error: float = 0.0  # standard error of the deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """A backend's unloaded time on one route class, as far as it was learnt."""

    unloaded_s: float
    steps: int = 1  # that taught it, up to Parameters.unloaded_young


Natures = Mapping[str, Mapping[str, Nature]]  # backend -> route class -> nature


def learn(natures: Natures, measured: Measured, known: Parameters) -> dict[str, Mapping[str, Nature]]:
    """The natures with what this step showed. A backend whose errors are elevated teaches nothing: what fails fast
    may also answer fast.
    """
    usual = usual_rates({name: _rate(routes.values()) for name, routes in measured.items()})
    return {
        name: routes
        if name not in measured or _elevated(measured[name], usual[name], known)
        else _learn(routes, measured[name], known)
        for name, routes in natures.items()
    }


def _learn(natures: Mapping[str, Nature], routes: Mapping[str, Signal], known: Parameters) -> dict[str, Nature]:
    """Route classes that were not seen keep what was learnt; of more than ROUTES_LIMIT the longest known go."""
    new = dict(natures)
    for route, signal in routes.items():
        if signal.times.count >= known.unloaded_samples:
            new[route] = _followed(new.get(route), signal.times, known)
    return dict(list(new.items())[-ROUTES_LIMIT - 1 :])


def _followed(nature: Nature | None, times: Times, known: Parameters) -> Nature:
    """The low quantile: averaged at first, then followed down quickly and up slowly.

    Down only when more times lie below than chance puts there (2 sigma of the binomial): else the noise of small
    windows, followed one way, would make every backend seem faster by nature than it is.
    """
    share = known.unloaded_quantile
    low = times.quantile(share)
    if nature is None:
        return Nature(unloaded_s=low)
    old = nature.unloaded_s
    if nature.steps < known.unloaded_young:
        return Nature(unloaded_s=old + (low - old) / (nature.steps + 1), steps=nature.steps + 1)
    if low >= old:
        return replace(nature, unloaded_s=min(old * (1.0 + known.unloaded_rise), low))
    chance = share * times.count + 2.0 * math.sqrt(share * (1.0 - share) * times.count)
    if times.below(old) <= chance:
        return nature
    return replace(nature, unloaded_s=old + known.unloaded_fall * (low - old))


def read(measured: Measured, natures: Natures, known: Parameters) -> dict[str, Reading]:
    """A reading for each backend in `measured`. Compared within a route class, so that another mix is no bias."""
    usual = usual_rates({name: _rate(routes.values()) for name, routes in measured.items()})
    parts: dict[str, list[_Part]] = defaultdict(list)
    for route in {route for routes in measured.values() for route in routes}:
        signals = {name: routes[route] for name, routes in measured.items() if route in routes}
        unloaded = {name: natures[name][route].unloaded_s for name in signals if route in natures.get(name, {})}
        for name, part in _compare(signals, unloaded, known).items():
            parts[name].append(part)
    return {name: _reading(routes, parts[name], usual[name], known) for name, routes in measured.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What steps together say of one backend's deviation."""

    deviation: float
    precision: float  # 1 / variance
    samples: float

    def band(self, known: Parameters) -> float:
        """Deviations within it are noise, or not worth a move."""
        return max(math.log1p(known.band), known.band_errors / math.sqrt(self.precision))


def weigh(reading: Reading, before: Evidence | None, known: Parameters) -> Evidence | None:
    """This step's evidence, with that of earlier steps as far as it is needed: until `band_errors` standard errors are
    as small as the dead band. A step that is sure of itself forgets the past, and so follows a fault at once.
    """
    if reading.deviation is None:
        return None
    own = 1.0 / max(reading.error, 1e-3) ** 2
    if before is None:
        return Evidence(deviation=reading.deviation, precision=own, samples=reading.samples)
    wanted = (known.band_errors / math.log1p(known.band)) ** 2
    old = min(known.memory * before.precision, max(wanted - own, 0.0))
    total = own + old
    return Evidence(
        deviation=(own * reading.deviation + old * before.deviation) / total,
        precision=total,
        samples=reading.samples + before.samples * old / before.precision,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One backend on one route class."""

    weight: int  # requests
    signal_s: float
    unloaded_s: float
    log_inflation: float
    deviation: float
    error: float  # standard error of the deviation


def _compare(signals: Mapping[str, Signal], unloaded: Mapping[str, float], known: Parameters) -> dict[str, _Part]:
    """Deviations from the median on one route class; empty when fewer than two backends can be compared."""
    judged = {
        name: signal for name, signal in signals.items() if signal.requests >= known.samples_min and name in unloaded
    }
    if len(judged) < 2:
        return {}
    usual_s = median(unloaded[name] for name in judged)
    timed = {name: s.times.trimmed_mean(known.trim) for name, s in judged.items() if s.times.count}
    rest = (usual_s, 0.0)  # a backend that answered nothing well is judged by its errors alone
    usual_rate = usual_rates({name: _rate([signal]) for name, signal in judged.items()})
    logs, errors = {}, {}
    for name, signal in judged.items():
        mean_s, mean_error_s = timed.get(name, rest)
        # Drawn towards that of its peers: one error in ten requests says little.
        prior = known.prior_samples
        rate = (signal.errors + prior * usual_rate[name]) / (signal.requests + prior)
        cost_s = (1.0 - rate) * mean_s + rate * known.error_cost_s
        reference_s = _reference_s(unloaded[name], usual_s, known)
        rate_error = math.sqrt(rate * (1.0 - rate) / signal.requests)
        logs[name] = math.log(cost_s / reference_s)
        errors[name] = math.hypot((1.0 - rate) * mean_error_s, known.error_cost_s * rate_error) / cost_s
    centre = median(logs.values())
    return {
        name: _Part(
            weight=signal.requests,
            signal_s=timed.get(name, rest)[0],
            unloaded_s=unloaded[name],
            log_inflation=logs[name],
            deviation=logs[name] - centre,
            error=errors[name],
        )
        for name, signal in judged.items()
    }


def _reference_s(own_s: float, usual_s: float, known: Parameters) -> float:
    """Between its own unloaded time and that usual in the pool. Its own counts within `own_limit` of the usual one."""
    ratio = min(max(own_s / usual_s, 1.0 / known.own_limit), known.own_limit)
    return usual_s * math.pow(ratio, known.own)


def _elevated(routes: Mapping[str, Signal], usual_rate: float, known: Parameters) -> bool:
    errors = sum(signal.errors for signal in routes.values())
    return errors >= 2 and _rate(routes.values()) > 2.0 * usual_rate + known.elevated


def _rate(signals: Iterable[Signal]) -> float:
    requests = errors = 0
    for signal in signals:
        requests, errors = requests + signal.requests, errors + signal.errors
    return errors / requests if requests else 0.0


def usual_rates(rates: Mapping[str, float]) -> dict[str, float]:
    """For each backend the median of the others' error rates; 0 without others."""
    ordered = sorted(rates.values())
    if len(ordered) < 2:
        return dict.fromkeys(rates, 0.0)
    usual = {}
    for name, rate in rates.items():
        own = bisect_left(ordered, rate)
        low, high = (len(ordered) - 2) // 2, (len(ordered) - 1) // 2  # middle of the others
        usual[name] = sum(ordered[at + (at >= own)] for at in (low, high)) / 2.0
    return usual


def _reading(routes: Mapping[str, Signal], parts: Sequence[_Part], usual_rate: float, known: Parameters) -> Reading:
    requests = sum(signal.requests for signal in routes.values())
    errors = sum(signal.errors for signal in routes.values())
    rate = _rate(routes.values())
    elevated = _elevated(routes, usual_rate, known)
    if not parts:
        return Reading(samples=requests, errors=errors, error_rate=rate, elevated=elevated)
    total = sum(part.weight for part in parts)
    weights = [part.weight / total for part in parts]
    error = math.sqrt(sum((weight * part.error) ** 2 for weight, part in zip(weights, parts, strict=True)))
    return Reading(
        samples=requests,
        errors=errors,
        error_rate=rate,
        elevated=elevated,
        signal_s=sum(weight * part.signal_s for weight, part in zip(weights, parts, strict=True)),
        unloaded_s=sum(weight * part.unloaded_s for weight, part in zip(weights, parts, strict=True)),
        inflation=math.exp(sum(weight * part.log_inflation for weight, part in zip(weights, parts, strict=True))),
        deviation=sum(weight * part.deviation for weight, part in zip(weights, parts, strict=True)),
        error=error,
    )
