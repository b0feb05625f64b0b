"""What one load balancer saw of each backend since the last step: compact, bounded, and mergeable. Pure.

    Sample -> Collector -> Window -> (the peers', by /v1/pools/{pool}/signals) -> merged -> rescale

Times are kept in bins that grow by 4%, so that any quantile is right within 2% and two windows merge by adding
counts (the idea of DDSketch: Masson, Rim, Lee, VLDB 2019).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backstay.balance.model import Sample

GROWTH = 1.04
FASTEST_S = 1e-4
SLOWEST_S = 600.0
BINS = 400  # from the fastest to the slowest
ROUTES_LIMIT = 32  # a backend; what comes later is counted as OTHER
BACKENDS_LIMIT = 1_000
OTHER = "other"
_LOG_GROWTH = math.log(GROWTH)


class BadWindow(ValueError):
    """What a peer sent is no window: what and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Times to the response's header, successes only. `bins`: number of the bin -> count."""

    bins: Mapping[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.bins.values())

    def quantile(self, q: float) -> float:
        """The `q` quantile in seconds, within 2%. Raises ValueError when there are no times."""
        left = q * (self.count - 1)
        for number in sorted(self.bins):
            left -= self.bins[number]
            if left < 0:
                return middle_s(number)
        raise ValueError("no times: no quantile")

    def below(self, time_s: float) -> int:
        """How many lie in bins below that of `time_s`."""
        limit = bin_of(time_s)
        return sum(count for number, count in self.bins.items() if number < limit)

    def trimmed_mean(self, trim: float) -> tuple[float, float]:
        """Mean without the lowest and the highest `trim` (0..0.5) of the times, and its standard error, in seconds.

        The error is that of the trimmed mean: by the winsorised variance (Tukey and McLaughlin 1963).
        Raises ValueError when there are no times.
        """
        count = self.count
        cut = int(count * trim)
        ordered = sorted(self.bins.items())
        kept = _trim(_trim(ordered, cut)[::-1], cut)[::-1]
        if not kept:
            raise ValueError("no times: no mean")
        total = sum(n for _, n in kept)
        mean = sum(middle_s(number) * n for number, n in kept) / total
        tails = [(kept[0][0], cut), (kept[-1][0], cut)]
        centre = sum(middle_s(number) * n for number, n in [*kept, *tails]) / count
        spread = sum((middle_s(number) - centre) ** 2 * n for number, n in [*kept, *tails]) / max(count - 1, 1)
        return mean, math.sqrt(spread / count) / (1.0 - 2.0 * cut / count)


def _trim(ordered: list[tuple[int, int]], cut: int) -> list[tuple[int, int]]:
    """Without the first `cut` counts."""
    kept = []
    for number, n in ordered:
        gone = min(cut, n)
        cut -= gone
        if n > gone:
            kept.append((number, n - gone))
    return kept


def bin_of(time_s: float) -> int:
    kept_s = min(max(time_s, FASTEST_S), SLOWEST_S)
    return min(int(math.log(kept_s / FASTEST_S) / _LOG_GROWTH), BINS - 1)


def middle_s(number: int) -> float:
    return FASTEST_S * math.pow(GROWTH, number + 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One backend on one route class."""

    requests: int
    errors: int
    times: Times = Times()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What load balancer `lb` saw of a pool: backend -> route class -> signal."""

    lb: str
    id: str  # another one with each window of this load balancer: a window counts once
    backends: Mapping[str, Mapping[str, Signal]]


class Collector:
    """Gathers samples of one pool until the next step. Bounded whatever comes in."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, list[int]]] = {}  # requests, errors
        self._bins: dict[tuple[str, str], dict[int, int]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            routes = self._counts.get(sample.backend)
            if routes is None:
                if len(self._counts) >= BACKENDS_LIMIT:
                    continue
                routes = self._counts[sample.backend] = {}
            route = sample.route if sample.route in routes or len(routes) < ROUTES_LIMIT else OTHER
            counts = routes.setdefault(route, [0, 0])
            counts[0] += 1
            if sample.error:
                counts[1] += 1
            elif sample.header_time_s is not None:
                bins = self._bins.setdefault((sample.backend, route), {})
                number = bin_of(sample.header_time_s)
                bins[number] = bins.get(number, 0) + 1

    def close(self, lb: str, window_id: str) -> Window:
        """The window so far; the next one starts empty."""
        window = Window(
            lb=lb,
            id=window_id,
            backends={
                backend: {
                    route: Signal(
                        requests=requests, errors=errors, times=Times(bins=self._bins.get((backend, route), {}))
                    )
                    for route, (requests, errors) in routes.items()
                }
                for backend, routes in self._counts.items()
            },
        )
        self._counts, self._bins = {}, {}
        return window


def merged(windows: Iterable[Window]) -> dict[str, dict[str, Signal]]:
    """All windows as one: backend -> route class -> signal."""
    parts: dict[str, dict[str, list[Signal]]] = defaultdict(lambda: defaultdict(list))
    for window in windows:
        for backend, routes in window.backends.items():
            for route, signal in routes.items():
                parts[backend][route].append(signal)
    return {backend: {route: _sum(signals) for route, signals in routes.items()} for backend, routes in parts.items()}


def _sum(signals: list[Signal]) -> Signal:
    bins: dict[int, int] = defaultdict(int)
    for signal in signals:
        for number, count in signal.times.bins.items():
            bins[number] += count
    return Signal(
        requests=sum(signal.requests for signal in signals),
        errors=sum(signal.errors for signal in signals),
        times=Times(bins=dict(bins)),
    )


def to_json(window: Window) -> list[dict[str, Any]]:
    """JSON values for a peer, one element a backend (`lb` and `id` go beside them)."""
    return [
        {
            "backend": backend,
            "routes": {
                route: {
                    "requests": signal.requests,
                    "errors": signal.errors,
                    "bins": [[number, count] for number, count in sorted(signal.times.bins.items())],
                }
                for route, signal in routes.items()
            },
        }
        for backend, routes in window.backends.items()
    ]


def from_json(lb: str, window_id: str, signals: Any) -> Window:
    """The inverse of `to_json`, for what a peer sent. Raises BadWindow for anything else."""
    if not isinstance(signals, list) or len(signals) > BACKENDS_LIMIT:
        raise BadWindow(f"signals of {lb}: not a list of at most {BACKENDS_LIMIT} backends")
    backends: dict[str, dict[str, Signal]] = {}
    for entry in signals:
        if not isinstance(entry, dict) or not isinstance(entry.get("backend"), str):
            raise BadWindow(f"signals of {lb}: an entry without the name of its backend")
        routes = entry.get("routes")
        if not isinstance(routes, dict) or len(routes) > ROUTES_LIMIT + 1:
            raise BadWindow(f"signals of {lb}, {entry['backend']}: not at most {ROUTES_LIMIT + 1} routes")
        backends[entry["backend"]] = {
            str(route): _signal(f"signals of {lb}, {entry['backend']}, {route}", plain)
            for route, plain in routes.items()
        }
    return Window(lb=lb, id=window_id, backends=backends)


def _signal(where: str, plain: Any) -> Signal:
    if not isinstance(plain, dict):
        raise BadWindow(f"{where}: not a mapping")
    requests, errors = _count(where, plain.get("requests")), _count(where, plain.get("errors"))
    pairs = plain.get("bins")
    if not isinstance(pairs, list) or len(pairs) > BINS:
        raise BadWindow(f"{where}: bins are not a list of at most {BINS} pairs")
    bins: dict[int, int] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or _count(where, pair[0]) >= BINS:
            raise BadWindow(f"{where}: a bin is a pair [number below {BINS}, count]")
        bins[pair[0]] = _count(where, pair[1])
    if errors + sum(bins.values()) > requests:
        raise BadWindow(f"{where}: more errors and times than requests")
    return Signal(requests=requests, errors=errors, times=Times(bins=bins))


def _count(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise BadWindow(f"{where}: {value!r} is no count")
    return value
