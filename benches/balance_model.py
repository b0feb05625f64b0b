"""The balance bench as a discrete-event model: minutes of traffic in a second, no engine, no clock, no process.

    python -m benches.balance_model [--load 0.7] [--slots 4] [--cv 1] [--every-s 2] [--seeds 3] [--parameter pull=0.05]

For choosing the rescaler's parameters; what it says is confirmed by `./run bench balance` on real engines. Backends
have slots and a queue, work is log-normal, arrivals are Poisson. The inner loops are models of the engines': HAProxy's
leastconn ((in flight + 1) / weight) and a least_time ((in flight + 1) * mean time / weight). Printed is p99 over that
of the inner loop alone, for backends that were unequal from the start ("born") and that became so ("became").
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backstay.balance.replay import parameters
from backstay.balance.rescale import PoolScale, rescale
from backstay.balance.signal import Parameters
from backstay.balance.window import Signal, Times, Window, bin_of
from benches.harness import quantile, table

WORK_MEAN_S = 0.030
BECOMES_AT_S = 20.0
MEASURE_FROM_S = 45.0
UNTIL_S = 100.0
CASES = {"A": (1.0,) * 6 + (0.5,) * 2, "B": (1.0,) * 11 + (0.5,), "D": (1.0, 1.0, 0.6)}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Backend:
    name: str
    slots: int
    speed: float = 1.0
    weight: float = 1.0
    in_flight: int = 0
    mean_s: float = 0.0  # as least_time keeps it
    credit: float = 0.0  # of the smooth round robin that breaks ties
    waiting: deque[float] = field(default_factory=deque)  # arrival times
    bins: dict[int, int] = field(default_factory=dict)  # since the last step


INNER_LOOPS: dict[str, Callable[[Backend], float]] = {
    "leastconn": lambda backend: (backend.in_flight + 1) / backend.weight,
    "least_time": lambda backend: (backend.in_flight + 1) * max(backend.mean_s, 1e-3) / backend.weight,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    speeds: Sequence[float]
    inner_loop: str
    load: float  # of what all backends can serve together
    slots: int
    cv: float
    becomes_at_s: float  # when the speeds come into force; everyone is at full speed before
    every_s: float  # between steps of the rescaler
    known: Parameters | None  # None: the inner loop alone


class Model:
    """One run."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.chance = setting, random.Random(seed)
        self.backends = [Backend(name=f"b{n}", slots=setting.slots) for n in range(len(setting.speeds))]
        self.rate_per_s = setting.load * setting.slots * sum(setting.speeds) / WORK_MEAN_S
        self.sigma = math.sqrt(math.log1p(setting.cv**2))
        self.events: list[tuple[float, int, str, Backend | None, float]] = []
        self.numbers: Iterator[int] = itertools.count()
        self.times_s: list[float] = []
        self.state, self.steps = PoolScale(), 0

    def run(self) -> list[float]:
        """Times of the requests that arrived after MEASURE_FROM_S, in seconds."""
        self._plan(0.0, "arrival")
        self._plan(self.setting.becomes_at_s, "become")
        self._plan(self.setting.every_s, "step")
        while self.events[0][0] < UNTIL_S:
            now_s, _, kind, backend, arrived_s = heapq.heappop(self.events)
            if kind == "arrival":
                self._plan(now_s + self.chance.expovariate(self.rate_per_s), "arrival")
                self._arrive(now_s)
            elif kind == "become":
                for one, speed in zip(self.backends, self.setting.speeds, strict=True):
                    one.speed = speed
            elif kind == "step":
                self._plan(now_s + self.setting.every_s, "step")
                self._step()
            elif backend is not None:
                self._finish(backend, now_s, arrived_s)
        return self.times_s

    def _plan(self, at_s: float, kind: str, backend: Backend | None = None, arrived_s: float = 0.0) -> None:
        heapq.heappush(self.events, (at_s, next(self.numbers), kind, backend, arrived_s))

    def _arrive(self, now_s: float) -> None:
        backend = self._pick()
        backend.in_flight += 1
        if backend.in_flight <= backend.slots:
            self._serve(backend, now_s, now_s)
        else:
            backend.waiting.append(now_s)

    def _pick(self) -> Backend:
        score = INNER_LOOPS[self.setting.inner_loop]
        scores = [score(backend) for backend in self.backends]
        lowest = min(scores) * (1 + 1e-9)
        equals = [one for one, its in zip(self.backends, scores, strict=True) if its <= lowest]
        for one in equals:
            one.credit += one.weight
        best = max(equals, key=lambda one: one.credit)
        best.credit -= sum(one.weight for one in equals)
        return best

    def _serve(self, backend: Backend, now_s: float, arrived_s: float) -> None:
        work_s = WORK_MEAN_S * self.chance.lognormvariate(-(self.sigma**2) / 2, self.sigma)
        self._plan(now_s + work_s / backend.speed, "finish", backend, arrived_s)

    def _finish(self, backend: Backend, now_s: float, arrived_s: float) -> None:
        backend.in_flight -= 1
        took_s = now_s - arrived_s
        if arrived_s >= MEASURE_FROM_S:
            self.times_s.append(took_s)
        backend.mean_s = 0.95 * backend.mean_s + 0.05 * took_s if backend.mean_s else took_s
        number = bin_of(took_s)
        backend.bins[number] = backend.bins.get(number, 0) + 1
        if backend.waiting:
            self._serve(backend, now_s, backend.waiting.popleft())

    def _step(self) -> None:
        seen = {
            one.name: {"/": Signal(requests=sum(one.bins.values()), errors=0, times=Times(bins=one.bins))}
            for one in self.backends
        }
        for one in self.backends:
            one.bins = {}
        if self.setting.known is None:
            return
        self.steps += 1
        names = [one.name for one in self.backends]
        window = Window(lb="lb", id=str(self.steps), backends=seen)
        self.state, _ = rescale(
            self.state,
            [window],
            load_balancers=["lb"],
            backends=names,
            serving=names,
            at=EPOCH,
            parameters=self.setting.known,
        )
        for one in self.backends:
            one.weight = self.state.backends[one.name].share


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.balance_model")
    parser.add_argument("--load", type=float, default=0.6)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--cv", type=float, default=1.0)
    parser.add_argument("--every-s", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=NUMBER")
    given = parser.parse_args()
    known = parameters(given.parameter)
    rows = []
    for case, speeds in CASES.items():
        for inner_loop in INNER_LOOPS:
            for word, becomes_at_s in (("born", 0.0), ("became", BECOMES_AT_S)):
                p99_ms = {}
                for name, its in (("alone", None), ("rescaled", known)):
                    setting = Setting(
                        speeds=speeds,
                        inner_loop=inner_loop,
                        load=given.load,
                        slots=given.slots,
                        cv=given.cv,
                        becomes_at_s=becomes_at_s,
                        every_s=given.every_s,
                        known=its,
                    )
                    runs = [Model(setting, seed).run() for seed in range(given.seeds)]
                    p99_ms[name] = 1e3 * statistics.mean(quantile(times_s, 0.99) for times_s in runs)
                ratio = p99_ms["rescaled"] / p99_ms["alone"]
                rows.append({"case": case, "inner loop": inner_loop, "unequal": word, **p99_ms, "ratio": ratio})
    print(table(rows))


if __name__ == "__main__":
    main()
