"""Ejection: a backend whose check says ready and whose live traffic fails. Pure; time and samples are arguments.

Evidence is Page's CUSUM over requests in the order they ended (E. S. Page, Continuous Inspection Schemes,
Biometrika 41, 1954): each error adds ln(p1/p0), each success adds ln((1-p1)/(1-p0)), never below 0; beyond
THRESHOLD the backend is ejected. p0 is the error rate of its peers (their lower median, at least 1%), p1 three
times that, at least 30%. So five errors in a row are enough, and a healthy backend is ejected falsely less than
once in e^THRESHOLD requests (Lorden 1971). When the peers fail as well, an error is no evidence at all: the fault
lies behind them all, and ejecting would only shrink the pool.

    up --THRESHOLD--> ejected --backoff--> probation (a canary's share, growing) --good requests--> up
                         ^------------------- two errors ------|

Never more than half of those that could serve are ejected, and never the last.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from backstay.balance.health import (
    CANARY_FACTOR,
    BackendHealth,
    HealthEvent,
    HealthEventKind,
    PoolHealth,
    Traffic,
    health_of,
)
from backstay.balance.model import HealthState, Sample

THRESHOLD = math.log(1e6)
THRESHOLD_ON_PROBATION = THRESHOLD / 3  # two errors: it was caught once already
RATE_FLOOR = 0.01  # peers are never taken for better than this: few of their requests were seen
RATE_COMMON = 0.2  # when its peers fail that often, the fault is not the backend's
BAD_RATE_FLOOR = 0.3
RATE_MEMORY = 0.1  # weight of the newest request in a backend's error rate
BACKOFF_S = 30.0  # doubled with each ejection in a row
BACKOFF_LIMIT_S = 300.0
GOOD_ENOUGH = 20  # requests that a probation must serve well
CANARY_STEP_S = 10.0  # then its share doubles: least connections may give a canary nothing at all
FORGET_S = 600.0  # ejections in a row are forgotten after this long without one


def judge(
    pool: PoolHealth,
    samples: Iterable[Sample],
    *,
    now_s: float,
    drained: Collection[str] = (),
    quiet: Collection[str] = (),
) -> tuple[PoolHealth, list[HealthEvent]]:
    """Fold the samples of this pool in, and say who is ejected, tried again or readmitted.

    `now_s`: seconds on a clock that does not step, best CLOCK_BOOTTIME.
    `drained`: backends that get no requests anyway, which cannot stand in for an ejected one.
    `quiet`: backends under maintenance, whose events are not told.
    """
    traffics = {name: health.traffic for name, health in pool.items()}
    for sample in samples:
        traffic = traffics.get(sample.backend)
        # What is still ending on an ejected backend says nothing new.
        if traffic is not None and traffic.ejected_until_s is None:
            traffics[sample.backend] = _weigh(traffics, sample)
    new = {name: replace(health, traffic=traffics[name]) for name, health in pool.items()}
    events = _release(new, drained, now_s)
    # The most suspicious first: the cap must not be used up by a lesser case.
    for name in sorted(new, key=lambda name: (-new[name].traffic.suspicion, name)):
        traffic, told = _step(new, name, now_s, drained)
        new[name] = replace(new[name], traffic=traffic)
        events += told
    return new, [event for event in events if event.backend not in quiet]


def _weigh(traffics: Mapping[str, Traffic], sample: Sample) -> Traffic:
    """One request more: one step of the CUSUM."""
    traffic = traffics[sample.backend]
    rate = traffic.error_rate + RATE_MEMORY * (sample.error - traffic.error_rate)
    good = traffic.good + (not sample.error)
    if not sample.error and traffic.suspicion == 0.0:
        return replace(traffic, error_rate=rate, good=good)
    suspicion = max(traffic.suspicion + _evidence(sample.error, _peers_rate(traffics, sample.backend)), 0.0)
    return replace(
        traffic,
        suspicion=min(suspicion, 2.0 * THRESHOLD),  # bounded, so that one whom the cap spares can clear itself
        requests=traffic.requests + 1 if suspicion > 0.0 else 0,
        errors=traffic.errors + sample.error if suspicion > 0.0 else 0,
        error_rate=rate,
        good=good,
    )


def _evidence(error: bool, peers_rate: float) -> float:
    """Log-likelihood ratio of one request: from a failing backend, over: from one like its peers."""
    if peers_rate >= RATE_COMMON and error:
        return 0.0
    good = min(peers_rate, RATE_COMMON)
    bad = max(BAD_RATE_FLOOR, 3.0 * good)
    return math.log(bad / good) if error else math.log((1.0 - bad) / (1.0 - good))


def _peers_rate(traffics: Mapping[str, Traffic], name: str) -> float:
    """The lower median of the others' error rates: right as long as fewer than half of them fail."""
    rates = sorted(traffic.error_rate for other, traffic in traffics.items() if other != name)
    return max(rates[(len(rates) - 1) // 2], RATE_FLOOR) if rates else RATE_FLOOR


def _could_serve(pool: PoolHealth, drained: Collection[str]) -> dict[str, float | None]:
    """Those whose checks pass and whom nobody drained, with the end of their ejection."""
    return {
        name: health.traffic.ejected_until_s
        for name, health in pool.items()
        if name not in drained
        and not health.draining
        and health_of(health).state not in (HealthState.DOWN, HealthState.UNCHECKED)
    }


def may_eject(pool: PoolHealth, name: str, drained: Collection[str]) -> bool:
    """At most half of those that could serve may be ejected, and never the last."""
    could = _could_serve(pool, drained)
    ejected = sum(until_s is not None for until_s in could.values())
    return name in could and ejected + 1 <= len(could) // 2


def _release(pool: dict[str, BackendHealth], drained: Collection[str], now_s: float) -> list[HealthEvent]:
    """End ejections early when others went away meanwhile and too many are out: the next one due first."""
    could = _could_serve(pool, drained)
    ejected = sorted((until_s, name) for name, until_s in could.items() if until_s is not None)
    events = []
    for _, name in ejected[: max(len(ejected) - len(could) // 2, 0)]:
        traffic, event = _try_again(name, pool[name].traffic, now_s, "others are gone, and it is needed")
        pool[name] = replace(pool[name], traffic=traffic)
        events.append(event)
    return events


def _try_again(name: str, traffic: Traffic, now_s: float, why: str) -> tuple[Traffic, HealthEvent]:
    trial = Traffic(ejections=traffic.ejections, probation_since_s=now_s, canary=CANARY_FACTOR)
    return trial, _event(HealthEventKind.PROBATION, name, f"{why}: a canary's share")


def _step(pool: PoolHealth, name: str, now_s: float, drained: Collection[str]) -> tuple[Traffic, list[HealthEvent]]:
    """Where `name` goes from here, by its traffic and the time."""
    health = pool[name]
    traffic = health.traffic
    if traffic.ejected_until_s is not None:
        # A clock that was stepped back must not keep it out for longer than the backoff ever is.
        if now_s < traffic.ejected_until_s <= now_s + BACKOFF_LIMIT_S:
            return traffic, []
        trial, event = _try_again(name, traffic, now_s, "its backoff is over")
        return trial, [event]
    on_probation = traffic.probation_since_s is not None
    if traffic.suspicion >= (THRESHOLD_ON_PROBATION if on_probation else THRESHOLD):
        return _eject(pool, name, now_s) if may_eject(pool, name, drained) else (traffic, [])
    if on_probation:
        return _probation(name, traffic, now_s)
    if traffic.ejections and traffic.calm_since_s is not None and now_s - traffic.calm_since_s > FORGET_S:
        return replace(traffic, ejections=0, calm_since_s=None), []
    return traffic, []


def _eject(pool: PoolHealth, name: str, now_s: float) -> tuple[Traffic, list[HealthEvent]]:
    health: BackendHealth = pool[name]
    traffic, peers = health.traffic, _peers_rate({other: one.traffic for other, one in pool.items()}, name)
    backoff_s = min(BACKOFF_S * 2.0 ** min(traffic.ejections, 10), BACKOFF_LIMIT_S)
    reason = (
        f"its check says ready, and {traffic.errors} of its last {traffic.requests} requests failed "
        f"(its peers: at most {peers:.1%}); next try in {backoff_s:.0f} s"
    )
    data = {
        "errors": traffic.errors,
        "requests": traffic.requests,
        "peers_error_rate": round(peers, 4),
        "backoff_s": backoff_s,
        "check": "ready",
    }
    out = replace(
        traffic,
        suspicion=0.0,
        ejections=traffic.ejections + 1,
        ejected_until_s=now_s + backoff_s,
        probation_since_s=None,
        calm_since_s=None,
    )
    return out, [HealthEvent(kind=HealthEventKind.EJECTED, backend=name, reason=reason, data=data)]


def _probation(name: str, traffic: Traffic, now_s: float) -> tuple[Traffic, list[HealthEvent]]:
    """Over after enough good requests, or when its share has grown to the full one without a failure."""
    since_s = traffic.probation_since_s
    assert since_s is not None
    age_s = max(now_s - since_s, 0.0)
    canary = min(CANARY_FACTOR * 2.0 ** min(int(age_s / CANARY_STEP_S), 10), 1.0)
    if traffic.good < GOOD_ENOUGH and canary < 1.0:
        return replace(traffic, canary=max(canary, traffic.canary)), []
    back = Traffic(ejections=traffic.ejections, calm_since_s=now_s, error_rate=traffic.error_rate)
    return back, [_event(HealthEventKind.READMITTED, name, f"{traffic.good} requests went well on probation")]


def _event(kind: HealthEventKind, backend: str, reason: str) -> HealthEvent:
    return HealthEvent(kind=kind, backend=backend, reason=reason)
