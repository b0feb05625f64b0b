"""The proof of a drain: what was in flight on the backend when it began, and what became of it. Pure.

Two witnesses are put together: the engine's statistics (in flight at the start, and now) and its access log (each
request that ended on the backend since). A request belongs to the drain when it began before it and ended after.

    begin(stats) -> observe(stats, samples) ... -> done        one load balancer
    merged(proofs)                                             the tier
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from backstay.balance.model import EngineStats, Sample

TOLERANCE = timedelta(milliseconds=5)  # access logs tell the time to the millisecond, and add two such times


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainProof:
    """One node's drain on one load balancer. All numbers are requests (TCP pools: connections)."""

    change: str  # id
    lb: str
    node: str
    pool: str | None  # None: every pool that the node serves in
    started_at: datetime  # UTC, when the engine had taken the drain
    in_flight_at_start: int
    in_flight: int  # now
    finished: int = 0  # of those in flight at the start: answered in full
    cut: int = 0  # answered in part
    refused: int = 0  # not answered at all
    started_after: int = 0  # should be 0; an nginx worker that ends lets its kept-alive clients finish for seconds
    idle: int = 0  # observations in a row without anything in flight or begun
    done: bool = False
    done_at: datetime | None = None  # UTC
    seen_at: datetime | None = None  # UTC, of the last observation; None: the engine did not answer yet

    @property
    def lost(self) -> int:
        return self.cut + self.refused

    @property
    def sentence(self) -> str:
        """The proof in words."""
        counts = f"{self.finished} finished, {self.cut} cut, {self.refused} refused"
        after = f", {self.started_after} began after" if self.started_after else ""
        now = "done" if self.done else f"{self.in_flight} in flight"
        return f"{self.node} on {self.lb}: {self.in_flight_at_start} in flight at the start; {counts}{after}; {now}"


def begin(*, change: str, lb: str, node: str, pool: str | None, at: datetime, stats: EngineStats | None) -> DrainProof:
    """A drain that the engine has just taken. `stats`: as it saw the backend then; None when it did not answer."""
    count = _in_flight(stats, node, pool) if stats is not None else 0
    return DrainProof(
        change=change,
        lb=lb,
        node=node,
        pool=pool,
        started_at=at,
        in_flight_at_start=count,
        in_flight=count,
        seen_at=stats.time if stats is not None else None,
    )


def observe(proof: DrainProof, stats: EngineStats | None, samples: Iterable[Sample]) -> DrainProof:
    """Fold in what the engine shows now (None: it did not answer) and the requests that ended since the last call.

    Done after two observations in a row with nothing in flight and nothing begun: one could fall between two
    requests of a client that an nginx worker still serves. What ends after that is counted all the same.
    """
    finished = cut = refused = after = 0
    for sample in samples:
        if sample.backend != proof.node or proof.pool not in (None, sample.pool):
            continue
        if sample.time < proof.started_at - TOLERANCE:
            continue
        began = sample.time - timedelta(seconds=sample.total_time_s)
        if began > proof.started_at + TOLERANCE:
            after += 1
        elif sample.cut:
            cut += 1
        elif sample.status == 0:
            refused += 1
        else:
            finished += 1
    proof = replace(
        proof,
        finished=proof.finished + finished,
        cut=proof.cut + cut,
        refused=proof.refused + refused,
        started_after=proof.started_after + after,
    )
    if stats is None:
        return proof
    count = _in_flight(stats, proof.node, proof.pool)
    idle = 0 if count or after else proof.idle + 1
    done = proof.done or idle >= 2
    return replace(
        proof,
        in_flight=count,
        idle=idle,
        done=done,
        done_at=(proof.done_at or stats.time) if done else None,
        seen_at=stats.time,
    )


def _in_flight(stats: EngineStats, node: str, pool: str | None) -> int:
    return sum(seen.in_flight for seen in stats.backends if seen.backend == node and pool in (None, seen.pool))


@dataclass(frozen=True, slots=True, kw_only=True)
class TierProof:
    """A drain over all load balancers of the tier."""

    proofs: tuple[DrainProof, ...]
    in_flight_at_start: int
    in_flight: int
    finished: int
    cut: int
    refused: int
    started_after: int
    done: bool  # on every load balancer
    done_at: datetime | None  # UTC, the last one's

    @property
    def lost(self) -> int:
        return self.cut + self.refused


def merged(proofs: Sequence[DrainProof]) -> TierProof:
    """The sum. A drain of which no load balancer has told is not done."""
    done = bool(proofs) and all(proof.done for proof in proofs)
    times = [proof.done_at for proof in proofs if proof.done_at is not None]
    return TierProof(
        proofs=tuple(proofs),
        in_flight_at_start=sum(proof.in_flight_at_start for proof in proofs),
        in_flight=sum(proof.in_flight for proof in proofs),
        finished=sum(proof.finished for proof in proofs),
        cut=sum(proof.cut for proof in proofs),
        refused=sum(proof.refused for proof in proofs),
        started_after=sum(proof.started_after for proof in proofs),
        done=done,
        done_at=max(times) if done and times else None,
    )


def to_json(proof: DrainProof) -> dict[str, Any]:
    """JSON values for the journal, the API and the agent's disk; times in ISO 8601."""
    plain = asdict(proof)
    for name in ("started_at", "done_at", "seen_at"):
        plain[name] = plain[name].isoformat() if plain[name] is not None else None
    return plain


def from_json(data: dict[str, Any]) -> DrainProof:
    """The inverse of `to_json`. Raises ValueError, TypeError or KeyError for anything else."""
    plain = dict(data)
    for name in ("started_at", "done_at", "seen_at"):
        plain[name] = datetime.fromisoformat(plain[name]) if plain[name] is not None else None
    return DrainProof(**plain)
