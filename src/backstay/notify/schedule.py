"""When to try again, and when to stop. Pure. Counts tries and not hours: a clock that is stepped changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from backstay.notify.model import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """1, 2, 4 .. 300 s, for about a day. A refusal waits the longest at once, and is repeated for an hour: somebody may
    mend the key, and nobody else will."""

    first_s: float = 1.0
    longest_s: float = 300.0
    tries: int = 300
    refused_tries: int = 12
    retry_after_limit_s: float = 3_600.0

    def next_s(self, delivery: Delivery, retry_after_s: float | None) -> float | None:
        """How long to wait after the failure that `delivery` counts last; None: give up."""
        assert delivery.failures > 0
        if delivery.failures >= self.tries or delivery.refusals >= self.refused_tries:
            return None
        if delivery.refusals > 0:
            wait_s = self.longest_s
        else:
            # 2.0 ** 1024 is no float any more
            wait_s = min(self.longest_s, self.first_s * 2.0 ** min(delivery.failures - 1, 64))
        return max(wait_s, min(self.retry_after_limit_s, retry_after_s or 0.0))
