"""`pool replay LOG`: the rescaler over a recorded log, without touching anything. Pure.

A log is what the agent records (record.py: one step a line), or an access log in our JSON shape, which is cut into
steps of `every_s`. Parameters may be others than those that were in force: what would have happened?
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from backstay.balance.model import Sample
from backstay.balance.record import BadRecord, Occasion, read_line
from backstay.balance.rescale import PoolScale, Rescaled, rescale
from backstay.balance.signal import Parameters
from backstay.balance.window import Collector

LINES_LIMIT = 5_000_000
# What a replay may try; every other number is 0 to 1,000,000. Outside, the arithmetic has no meaning.
BOUNDS = {
    "gain": (0.0, 10.0),
    "gain_min": (0.0, 10.0),
    "confidence_samples": (1.0, 1e6),
    "rise": (0.0, 5.0),
    "fall": (-5.0, 0.0),
    "pull": (0.0, 1.0),
    "own": (0.0, 1.0),
    "own_limit": (1.0, 100.0),
    "error_cost_s": (0.001, 3_600.0),
    "prior_samples": (1.0, 1e6),
    "elevated": (0.0, 1.0),
    "trim": (0.0, 0.49),
    "memory": (0.0, 0.99),
    "samples_min": (1, 1e6),
    "unloaded_quantile": (0.01, 0.99),
    "unloaded_samples": (1, 1e6),
    "unloaded_young": (1, 1e6),
    "unloaded_fall": (0.0, 1.0),
    "unloaded_rise": (0.0, 1.0),
    "worse_samples": (1, 1e6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    pool: str
    rescaled: Rescaled
    recorded: dict[str, float]  # backend -> share that was decided then; empty for an access log


def parameters(settings: Iterable[str]) -> Parameters:
    """Parameters from `name=value` words. Raises ValueError that names the word and what there is."""
    known = {field.name: field for field in fields(Parameters)}
    values: dict[str, Any] = {}
    for word in settings:
        name, equals, text = word.partition("=")
        if name not in known or not equals:
            raise ValueError(f"{word!r} is no NAME=NUMBER of the rescaler. Names: {', '.join(known)}.")
        try:
            values[name] = int(text) if known[name].type == "int" else float(text)
        except ValueError:
            raise ValueError(f"{word!r}: {text!r} is no number") from None
        low, high = BOUNDS.get(name, (0.0, 1e6))
        if not low <= values[name] <= high:  # NaN is in no bounds
            raise ValueError(f"{word!r}: {name} is {low:g} to {high:g}")
    return replace(Parameters(), **values)


def replay_steps(lines: Iterable[str], known: Parameters, *, pool: str | None = None) -> Iterator[Replayed]:
    """Dry-run the rescaler over the agent's log. The first line of each pool gives the state to begin with; from
    there the replay's own state goes on. `pool`: that one alone. Raises BadRecord with the number of the line.
    """
    states: dict[str, PoolScale] = {}
    for number, text in enumerate(lines, start=1):
        if number > LINES_LIMIT:
            raise BadRecord(f"line {number}: a log of more than {LINES_LIMIT} lines is not replayed; cut it")
        if not text.strip():
            continue
        occasion, recorded_state, recorded = _parse(number, text)
        if pool is not None and occasion.pool != pool:
            continue
        state, rescaled = _run(states.get(occasion.pool, recorded_state), occasion, known)
        states[occasion.pool] = state
        yield Replayed(pool=occasion.pool, rescaled=rescaled, recorded=recorded)


def _parse(number: int, text: str) -> tuple[Occasion, PoolScale, dict[str, float]]:
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise BadRecord("not an object")
        occasion, state = read_line(data)
        recorded = {str(step["backend"]): float(step["share"]) for step in data.get("steps", ())}
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(f"line {number}: {error}") from error
    return occasion, state, recorded


def replay_samples(
    samples: Iterable[Sample], known: Parameters, *, every_s: float, pool: str | None = None
) -> Iterator[Replayed]:
    """Dry-run the rescaler over requests, in the order in which they ended: a step of each pool every `every_s`.

    All start at a full share with nothing learnt, and are taken to serve from their first request on.
    """
    pools: dict[str, _Replay] = {}
    due_s: float | None = None
    for sample in samples:
        now_s = sample.time.timestamp()
        if due_s is None:
            due_s = now_s + every_s
        if now_s >= due_s:
            for name, running in pools.items():
                yield running.step(name, due_s, known)
            # A gap in the log is one long step, not a thousand empty ones.
            due_s += every_s * max(1, int((now_s - due_s) / every_s) + 1)
        if pool in (None, sample.pool):
            pools.setdefault(sample.pool, _Replay()).add(sample)
    if due_s is not None:
        for name, running in pools.items():
            yield running.step(name, due_s, known)


class _Replay:
    """One pool on the way through an access log."""

    def __init__(self) -> None:
        self.collector, self.state, self.number = Collector(), PoolScale(), 0
        self.backends: dict[str, None] = {}  # in the order of their first request

    def add(self, sample: Sample) -> None:
        self.backends.setdefault(sample.backend)
        self.collector.add([sample])

    def step(self, pool: str, at_s: float, known: Parameters) -> Replayed:
        self.number += 1
        names = tuple(self.backends)
        occasion = Occasion(
            pool=pool,
            at=datetime.fromtimestamp(at_s, UTC),
            windows=(self.collector.close("log", str(self.number)),),
            load_balancers=("log",),
            backends=names,
            serving=names,
            ramping=(),
        )
        self.state, rescaled = _run(self.state, occasion, known)
        return Replayed(pool=pool, rescaled=rescaled, recorded={})


def _run(state: PoolScale, occasion: Occasion, known: Parameters) -> tuple[PoolScale, Rescaled]:
    return rescale(
        state,
        occasion.windows,
        load_balancers=occasion.load_balancers,
        backends=occasion.backends,
        serving=occasion.serving,
        ramping=occasion.ramping,
        at=occasion.at,
        parameters=known,
    )
