"""When an agent asks its server again after a failure. Pure."""

from __future__ import annotations

FIRST_S = 0.25
LIMIT_S = 10.0  # a server that is back is known within that time by everybody


def retry_after_s(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (1, 2, ...): twice as long each time, up to LIMIT_S.

    `chance` in [0, 1) spreads it over its upper half, so that a thousand agents do not come back in one moment
    ("equal jitter": Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
    """
    whole_s = min(LIMIT_S, FIRST_S * 2.0 ** min(failures - 1, 16))
    return whole_s / 2 + whole_s / 2 * chance
