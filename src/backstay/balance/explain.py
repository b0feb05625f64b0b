"""`pool explain`: the rescaler's last step of a pool as rows. Pure."""

from __future__ import annotations

import math
from typing import TypedDict

from backstay.balance.rescale import Rescaled


class Row(TypedDict):
    backend: str
    share_before: float
    share: float
    signal_ms: float | None  # trimmed mean time to the response's header, successes only
    unloaded_ms: float | None  # its own unloaded time
    inflation: float | None  # errors counted in
    against_pool: float | None  # inflation over the pool's median
    band: float | None  # within this of 1.0 it is noise
    error_rate: float
    samples: int
    confidence: float
    reason: str
    why: str  # in words


def rows(rescaled: Rescaled) -> list[Row]:
    """One row a backend, in the pool's order; figures rounded for people."""
    return [
        Row(
            backend=step.backend,
            share_before=round(step.share_before, 3),
            share=round(step.share, 3),
            signal_ms=_rounded(step.signal_s, 1e3, 1),
            unloaded_ms=_rounded(step.unloaded_s, 1e3, 1),
            inflation=_rounded(step.inflation, 1.0, 2),
            against_pool=None if step.deviation is None else round(math.exp(step.deviation), 2),
            band=None if step.band is None else round(math.expm1(step.band), 2),
            error_rate=round(step.error_rate, 4),
            samples=step.samples,
            confidence=round(step.confidence, 2),
            reason=str(step.reason),
            why=step.sentence,
        )
        for step in rescaled.steps
    ]


def _rounded(value: float | None, factor: float, digits: int) -> float | None:
    return None if value is None else round(value * factor, digits)
