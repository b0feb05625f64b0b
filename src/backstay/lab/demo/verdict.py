"""The verdict of a demo: one row a chapter and engine, each with measured figures. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one chapter showed on one engine. `proof` is what was verified besides the requests."""

    chapter: str
    engine: str  # "nginx 1.31.3"
    via: str  # the global IP that the users came by
    requests: int
    lost: int
    wrong: int
    errors: int  # answers with a status that is an error
    downtime_s: float
    latency_ms_p99: float | None
    proof: str
    proven: bool
    losses_allowed: int = 0  # requests that this chapter's fault may cost

    @property
    def passed(self) -> bool:
        return self.proven and self.requests > 0 and self.wrong == 0 and self.lost + self.errors <= self.losses_allowed

    def as_data(self) -> dict[str, Any]:
        return {
            "chapter": self.chapter,
            "engine": self.engine,
            "via": self.via,
            "requests": self.requests,
            "lost": self.lost,
            "wrong": self.wrong,
            "errors": self.errors,
            "downtime_ms": round(self.downtime_s * 1000),
            "p99_ms": None if self.latency_ms_p99 is None else round(self.latency_ms_p99, 1),
            "proof": self.proof,
            "verdict": "ok" if self.passed else "FAILED",
        }


def all_right(rows: Iterable[Row]) -> bool:
    """True when there is a row, and every row passed."""
    shown = list(rows)
    return bool(shown) and all(row.passed for row in shown)
