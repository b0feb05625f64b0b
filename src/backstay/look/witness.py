"""The witness: what a user saw, from the fate of every request that was sent. Pure.

    sent(due) -> number ... ended(number, fate, now) -> interval() -> summary()

User-visible downtime is the sum of the intervals in which requests failed. An outage begins when a request that failed
was due, and ends when the next request that succeeded was due; both in the order of their due times, whatever the
order in which they ended. One request lost out of 200 a second is thus 5 ms of downtime.

Latency counts from the moment a request was due, not from when it was written, so a witness that falls behind does not
hide the wait ("coordinated omission", Gil Tene, 2013). Only requests that were answered well have a latency.
Memory is bounded: a histogram, and the requests in flight.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum


class Fate(StrEnum):
    ANSWERED = "answered"  # in time, with a good status, carrying its own id
    BAD_STATUS = "bad_status"  # an answer that is an error (not 2xx)
    WRONG = "wrong"  # an answer to another request, or no HTTP at all
    LOST = "lost"  # written, then the connection was closed without an answer
    TIMED_OUT = "timed_out"
    NO_CONNECTION = "no_connection"  # refused, unreachable, TLS failed: never written


UNANSWERED = frozenset({Fate.LOST, Fate.TIMED_OUT, Fate.NO_CONNECTION})


class Histogram:
    """Latencies in 815 buckets that grow by 2% (10 us to 100 s): quantiles within 1%. The idea is HdrHistogram's."""

    _LEAST_S, _MOST_S, _GROWTH = 1e-5, 100.0, 1.02
    _PER_E = 1 / math.log(_GROWTH)

    def __init__(self) -> None:
        self.count = 0
        self.max_s = 0.0
        self._buckets = [0] * (self._index(self._MOST_S) + 1)

    def _index(self, seconds: float) -> int:
        clipped = min(max(seconds, self._LEAST_S), self._MOST_S)
        return int(math.log(clipped / self._LEAST_S) * self._PER_E)

    def add(self, seconds: float) -> None:
        self._buckets[self._index(seconds)] += 1
        self.count += 1
        self.max_s = max(self.max_s, seconds)

    def quantile_ms(self, q: float) -> float | None:
        """The `q` quantile (0..1) in milliseconds; None when nothing was added."""
        if not self.count:
            return None
        rank, seen = math.ceil(q * self.count), 0
        for index, bucket in enumerate(self._buckets):
            seen += bucket
            if seen >= max(rank, 1):
                middle: float = self._LEAST_S * self._GROWTH ** (index + 0.5)
                return round(min(middle, self.max_s) * 1e3, 4)
        raise AssertionError("the buckets hold every value that was counted")


@dataclass(slots=True)
class Tally:
    """Counts over the whole run, or over one interval of it."""

    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    slow: int = 0  # answered well, but later than a user would call good
    latency: Histogram = field(default_factory=Histogram)

    def add(self, fate: Fate, latency_s: float, *, slow: bool) -> None:
        self.fates[fate] += 1
        if fate is Fate.ANSWERED:
            self.latency.add(latency_s)
            self.slow += slow

    def figures(self) -> dict[str, float | int | None]:
        """For a report: plain names and numbers, units last."""
        ended = sum(self.fates.values())
        return {
            "ended": ended,
            **{fate.value: count for fate, count in self.fates.items()},
            "unanswered": sum(self.fates[fate] for fate in UNANSWERED),
            "failed": ended - self.fates[Fate.ANSWERED],
            "slow": self.slow,
            "latency_ms_p50": self.latency.quantile_ms(0.5),
            "latency_ms_p90": self.latency.quantile_ms(0.9),
            "latency_ms_p99": self.latency.quantile_ms(0.99),
            "latency_ms_p999": self.latency.quantile_ms(0.999),
            "latency_ms_max": round(self.latency.max_s * 1e3, 4) if self.latency.count else None,
        }


class Witness:
    """Accounts for every request of a run. All times in seconds on one clock that never goes back."""

    def __init__(self, *, slow_s: float = 1.0) -> None:
        self.sent_count = 0
        self._slow_s = slow_s
        self._total = Tally()
        self._interval = Tally()
        # Requests in the order of their due times, from the oldest that has not ended: (due, failed or None).
        self._open: deque[list[float | bool | None]] = deque()
        self._first_open = 0
        self._last_due_s = 0.0
        self._down_since_s: float | None = None
        self._downtime_s = 0.0
        self._longest_s = 0.0
        self._outages = 0

    @property
    def in_flight(self) -> int:
        return self.sent_count - sum(self._total.fates.values())

    def sent(self, due_s: float) -> int:
        """A request was due, and was sent or tried. Returns its number, for `ended`."""
        self._last_due_s = max(due_s, self._last_due_s)
        self._open.append([self._last_due_s, None])
        self.sent_count += 1
        return self.sent_count - 1

    def ended(self, number: int, fate: Fate, now_s: float) -> None:
        """Request `number` ended. Each ends once; raises IndexError or ValueError otherwise."""
        entry = self._open[number - self._first_open] if number >= self._first_open else None
        if entry is None or entry[1] is not None:
            raise ValueError(f"request {number} has ended already")
        due = float(entry[0] or 0.0)
        entry[1] = fate is not Fate.ANSWERED
        slow = now_s - due > self._slow_s
        self._total.add(fate, now_s - due, slow=slow)
        self._interval.add(fate, now_s - due, slow=slow)
        while self._open and self._open[0][1] is not None:
            oldest_due, failed = self._open.popleft()
            self._first_open += 1
            self._follow(float(oldest_due or 0.0), failed=bool(failed))

    def _follow(self, due_s: float, *, failed: bool) -> None:
        if failed and self._down_since_s is None:
            self._down_since_s = due_s
        elif not failed and self._down_since_s is not None:
            length = due_s - self._down_since_s
            self._downtime_s += length
            self._longest_s = max(self._longest_s, length)
            self._outages += 1
            self._down_since_s = None

    def interval(self) -> dict[str, float | int | None]:
        """Figures since the last call."""
        done, self._interval = self._interval, Tally()
        return done.figures()

    def summary(self, now_s: float) -> dict[str, float | int | None]:
        """Figures of the whole run; an outage that has not ended counts until `now_s`."""
        ongoing = 0.0 if self._down_since_s is None else max(now_s - self._down_since_s, 0.0)
        return {
            "sent": self.sent_count,
            "in_flight": self.in_flight,
            **self._total.figures(),
            "downtime_s": round(self._downtime_s + ongoing, 4),
            "longest_outage_s": round(max(self._longest_s, ongoing), 4),
            "outages": self._outages + (self._down_since_s is not None),
        }
