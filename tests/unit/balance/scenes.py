"""Windows for the rescaler's tests, and a pool that answers to its shares."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backstay.balance.rescale import BackendScale, PoolScale, Rescaled, rescale
from backstay.balance.signal import Nature
from backstay.balance.window import Signal, Times, Window, bin_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPREAD = (0.6, 0.75, 0.85, 0.95, 1.0, 1.05, 1.15, 1.25, 1.4)  # of a service time, mean 1.0


def times(mean_s: float, count: int) -> Times:
    """`count` times about `mean_s`, the same each time."""
    bins: dict[int, int] = {}
    for number in range(count):
        index = bin_of(mean_s * SPREAD[number % len(SPREAD)])
        bins[index] = bins.get(index, 0) + 1
    return Times(bins=bins)


def noisy_times(mean_s: float, count: int, chance: random.Random, sigma: float = 0.8) -> Times:
    """Log-normal times of mean `mean_s`."""
    bins: dict[int, int] = {}
    for _ in range(count):
        index = bin_of(mean_s * chance.lognormvariate(-sigma * sigma / 2, sigma))
        bins[index] = bins.get(index, 0) + 1
    return Times(bins=bins)


def signal(ms: float, count: int = 200, errors: int = 0) -> Signal:
    return Signal(requests=count, errors=errors, times=times(ms / 1e3, count - errors))


def window(backends: Mapping[str, Signal | Mapping[str, Signal]], *, lb: str = "lb1", number: int = 1) -> Window:
    """A signal alone is of route class "/"."""
    return Window(
        lb=lb,
        id=str(number),
        backends={name: {"/": seen} if isinstance(seen, Signal) else seen for name, seen in backends.items()},
    )


def state_of(shares: Mapping[str, float], unloaded_ms: Mapping[str, float] | None = None) -> PoolScale:
    unloaded = unloaded_ms or {}
    return PoolScale(
        backends={
            name: BackendScale(share=share, natures={"/": Nature(unloaded_s=unloaded.get(name, 18.0) / 1e3, steps=5)})
            for name, share in shares.items()
        }
    )


def step(state: PoolScale, *windows: Window, backends: Any, **fields: Any) -> tuple[PoolScale, Rescaled]:
    names = list(backends)
    given: dict[str, Any] = {"load_balancers": ["lb1"], "serving": names, "at": NOON, **fields}
    return rescale(state, windows, backends=names, **given)


class Pool:
    """Backends behind an inner loop that follows shares alone: each request takes longer the busier its backend is."""

    def __init__(self, service_ms: Mapping[str, float], *, load: float = 0.5, seed: int = 1) -> None:
        self.service_ms = dict(service_ms)
        self.failing: dict[str, float] = {}
        self.load, self.chance, self.number = load, random.Random(seed), 0
        self.state = PoolScale()
        self.history: list[Rescaled] = []

    @property
    def shares(self) -> dict[str, float]:
        return {name: scale.share for name, scale in self.state.backends.items()}

    def run(self, steps: int, *, requests: int = 2_000, sigma: float = 0.8) -> None:
        for _ in range(steps):
            self.number += 1
            shares = self.shares or dict.fromkeys(self.service_ms, 1.0)
            total = sum(shares.values())
            usual_ms = sorted(self.service_ms.values())[len(self.service_ms) // 2]
            seen = {}
            for name, ms in self.service_ms.items():
                part = shares[name] / total
                busy = min(self.load * part * len(shares) * ms / usual_ms, 0.95)
                count = max(math.floor(requests * part), 0)
                errors = sum(self.chance.random() < self.failing.get(name, 0.0) for _ in range(count))
                good = noisy_times(ms / 1e3 / (1.0 - busy), count - errors, self.chance, sigma)
                seen[name] = Signal(requests=count, errors=errors, times=good)
            self.state, rescaled = step(self.state, window(seen, number=self.number), backends=self.service_ms)
            self.history.append(rescaled)
