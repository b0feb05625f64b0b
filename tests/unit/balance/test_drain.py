"""The proof of a drain: what was in flight, and what became of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backstay.balance.drain import DrainProof, begin, from_json, merged, observe, to_json
from backstay.balance.model import BackendStats, EngineStats, Sample

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stats(at_s: float, *counts: tuple[str, str, int]) -> EngineStats:
    """counts: pool, backend, in flight."""
    return EngineStats(
        time=NOON + timedelta(seconds=at_s),
        running=True,
        client_connections=9,
        backends=tuple(
            BackendStats(pool=pool, backend=backend, in_flight=count, engine_state="drain")
            for pool, backend, count in counts
        ),
    )


def a_sample(ended_s: float, took_s: float, **fields: Any) -> Sample:
    given: dict[str, Any] = {"status": 200, "cut": False, "pool": "web", "backend": "web2", **fields}
    return Sample(
        time=NOON + timedelta(seconds=ended_s),
        request_id="r",
        service="app",
        route="/",
        connect_time_s=0.001,
        header_time_s=0.01,
        total_time_s=took_s,
        final=True,
        **given,
    )


def a_proof(in_flight: int = 3, **fields: Any) -> DrainProof:
    given: dict[str, Any] = {"change": "c1", "lb": "lb1", "node": "web2", "pool": None, **fields}
    return begin(at=NOON, stats=stats(0, ("web", "web2", in_flight), ("web", "web1", 50)), **given)


def test_a_drain_that_loses_nothing() -> None:
    proof = a_proof(3)
    proof = observe(proof, stats(1, ("web", "web2", 1)), [a_sample(0.5, 1.0), a_sample(0.9, 2.0)])
    assert (proof.finished, proof.in_flight, proof.done) == (2, 1, False)
    proof = observe(proof, stats(2, ("web", "web2", 0)), [a_sample(1.5, 4.0)])
    assert not proof.done  # one observation may fall between two requests
    proof = observe(proof, stats(3, ("web", "web2", 0)), [])
    assert (proof.done, proof.done_at, proof.lost) == (True, NOON + timedelta(seconds=3), 0)
    assert proof.sentence == "web2 on lb1: 3 in flight at the start; 3 finished, 0 cut, 0 refused; done"


@pytest.mark.parametrize(
    ("sample", "counted"),
    [
        (a_sample(0.5, 1.0), "finished"),
        (a_sample(0.5, 1.0, status=500), "finished"),  # an answer, if a bad one
        (a_sample(0.5, 1.0, cut=True), "cut"),
        (a_sample(0.5, 1.0, status=0), "refused"),
        (a_sample(0.5, 0.1), "started_after"),
        (a_sample(0.003, 0.001), "finished"),  # within the log's precision of the start
        (a_sample(-0.5, 1.0), None),  # ended before the drain
        (a_sample(0.5, 1.0, backend="web1"), None),
    ],
)
def test_each_request_is_counted_once(sample: Sample, counted: str | None) -> None:
    proof = observe(a_proof(), stats(1, ("web", "web2", 1)), [sample])
    counts = {name: getattr(proof, name) for name in ("finished", "cut", "refused", "started_after")}
    assert counts == {name: int(name == counted) for name in counts}


def test_a_drain_of_one_pool_counts_that_pool_alone() -> None:
    proof = begin(
        change="c1", lb="lb1", node="web2", pool="web", at=NOON, stats=stats(0, ("web", "web2", 1), ("api", "web2", 7))
    )
    proof = observe(proof, stats(1, ("api", "web2", 7)), [a_sample(0.5, 1.0), a_sample(0.5, 1.0, pool="api")])
    assert (proof.in_flight_at_start, proof.in_flight, proof.finished) == (1, 0, 1)


def test_without_the_engines_word_a_drain_is_not_done() -> None:
    proof = begin(change="c1", lb="lb1", node="web2", pool=None, at=NOON, stats=None)
    for _ in range(5):
        proof = observe(proof, None, [a_sample(0.5, 1.0)])
    assert (proof.done, proof.seen_at, proof.finished) == (False, None, 5)


def test_a_request_that_begins_after_the_drain_puts_it_off() -> None:
    proof = observe(a_proof(0), stats(1), [])
    proof = observe(proof, stats(2), [a_sample(1.9, 0.2)])
    assert (proof.done, proof.started_after) == (False, 1)
    proof = observe(observe(proof, stats(3), []), stats(4), [])
    assert proof.done
    assert "1 began after" in proof.sentence


def test_a_straggler_after_the_end_is_counted_and_does_not_undo_it() -> None:
    proof = observe(observe(a_proof(0), stats(1), []), stats(2), [])
    late = observe(proof, stats(3), [a_sample(2.5, 4.0, cut=True)])
    assert (late.done, late.done_at, late.cut) == (True, proof.done_at, 1)


def test_the_tiers_proof_is_the_sum_and_done_when_all_are() -> None:
    done = observe(observe(a_proof(2), stats(1), [a_sample(0.5, 1.0)]), stats(5), [a_sample(1.5, 3.0)])
    going = observe(a_proof(4, lb="lb2"), stats(1, ("web", "web2", 3)), [a_sample(0.5, 1.0, cut=True)])
    tier = merged([done, going])
    assert (tier.in_flight_at_start, tier.in_flight, tier.finished, tier.cut, tier.lost) == (6, 3, 2, 1, 1)
    assert not tier.done
    assert merged([done, done]).done
    assert merged([done]).done_at == NOON + timedelta(seconds=5)
    assert not merged([]).done


def test_a_proof_survives_a_restart() -> None:
    proof = observe(a_proof(), stats(1, ("web", "web2", 1)), [a_sample(0.5, 1.0)])
    assert from_json(json.loads(json.dumps(to_json(proof)))) == proof
