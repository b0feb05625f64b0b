"""The verdict of a demo: a row a chapter and engine, with measured figures; and a row a claim of the audit. Pure."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the audit said of something, beside what the lab knows of it."""

    about: str  # "load of queue"
    asked: str  # the command: "explain"
    claimed: str
    grade: str  # "consistent"; of a fix its outcome
    truth: str
    passed: bool  # it claimed what is so, at the grade that this is worth, and no more
    took_s: float

    def as_data(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "asked": self.asked,
            "claimed": self.claimed,
            "grade": self.grade,
            "truth": self.truth,
            "took_s": round(self.took_s, 2),
            "verdict": "ok" if self.passed else "FAILED",
        }


def all_right(shown: Iterable[Row | Claim]) -> bool:
    """True when there is a row or a claim, and every one passed."""
    every = list(shown)
    return bool(every) and all(one.passed for one in every)
