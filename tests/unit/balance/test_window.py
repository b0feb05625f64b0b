"""Windows: bounded, mergeable, and safe to take from a peer."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.balance.model import Sample
from backstay.balance.window import (
    BACKENDS_LIMIT,
    BINS,
    OTHER,
    ROUTES_LIMIT,
    BadWindow,
    Collector,
    Times,
    bin_of,
    from_json,
    merged,
    middle_s,
    to_json,
)


def a_sample(backend: str = "web1", *, route: str = "/", header_s: float | None = 0.02, status: int = 200) -> Sample:
    return Sample(
        time=datetime(2026, 3, 1, tzinfo=UTC),
        request_id="r",
        service="app",
        route=route,
        pool="web",
        backend=backend,
        status=status,
        connect_time_s=0.001,
        header_time_s=header_s,
        total_time_s=0.02,
        final=True,
        cut=False,
    )


def collected(*samples: Sample) -> Any:
    collector = Collector()
    collector.add(samples)
    return collector.close("lb1", "1")


def times_of(values: list[float]) -> Times:
    return collected(*(a_sample(header_s=value) for value in values)).backends["web1"]["/"].times


@given(st.floats(1e-4, 600.0))
def test_a_bin_is_right_within_two_percent(time_s: float) -> None:
    assert middle_s(bin_of(time_s)) == pytest.approx(time_s, rel=0.02)


@given(st.floats(allow_nan=False))
def test_every_time_has_a_bin(time_s: float) -> None:
    assert 0 <= bin_of(time_s) < BINS


def test_quantiles_and_trimmed_means_are_those_of_the_times() -> None:
    chance = random.Random(1)
    values = sorted(chance.lognormvariate(-4, 0.8) for _ in range(5_000))
    times = times_of(values)
    assert times.count == 5_000
    assert times.quantile(0.1) == pytest.approx(values[500], rel=0.03)
    assert times.quantile(0.95) == pytest.approx(values[4_750], rel=0.03)
    assert times.trimmed_mean(0.1)[0] == pytest.approx(mean(values[500:-500]), rel=0.02)
    assert times.trimmed_mean(0.0)[0] == pytest.approx(mean(values), rel=0.02)


def test_the_standard_error_is_that_of_repeated_trimmed_means() -> None:
    chance = random.Random(2)
    results = [times_of([chance.lognormvariate(-4, 0.8) for _ in range(200)]).trimmed_mean(0.1) for _ in range(300)]
    means, errors = [m for m, _ in results], [error for _, error in results]
    centre = mean(means)
    spread = (sum((m - centre) ** 2 for m in means) / len(means)) ** 0.5
    assert mean(errors) == pytest.approx(spread, rel=0.2)


def test_nothing_has_no_quantile_and_no_mean() -> None:
    with pytest.raises(ValueError, match="no times"):
        Times().quantile(0.5)
    with pytest.raises(ValueError, match="no times"):
        Times().trimmed_mean(0.1)


def test_errors_count_and_their_times_do_not() -> None:
    seen = collected(a_sample(), a_sample(status=503), a_sample(status=0, header_s=None)).backends["web1"]["/"]
    assert (seen.requests, seen.errors, seen.times.count) == (3, 2, 1)


def test_a_closed_window_is_left_alone_by_what_comes_next() -> None:
    collector = Collector()
    collector.add([a_sample()])
    first = collector.close("lb1", "1")
    collector.add([a_sample(), a_sample()])
    assert first.backends["web1"]["/"].requests == 1
    assert collector.close("lb1", "2").backends["web1"]["/"].requests == 2


def test_a_window_is_bounded_whatever_comes_in() -> None:
    routes = collected(*(a_sample(route=f"/{n}") for n in range(500))).backends["web1"]
    assert len(routes) == ROUTES_LIMIT + 1
    assert routes[OTHER].requests == 500 - ROUTES_LIMIT
    assert len(collected(*(a_sample(f"b{n}") for n in range(BACKENDS_LIMIT + 9))).backends) == BACKENDS_LIMIT


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["/", "/x"]), st.floats(0.0, 9.0)), max_size=60))
def test_merging_windows_is_seeing_all_of_it_at_once(requests: list[tuple[str, str, float]]) -> None:
    samples = [a_sample(name, route=route, header_s=header_s) for name, route, header_s in requests]
    parts = [collected(*samples[n::3]) for n in range(3)]
    assert merged(parts) == merged([collected(*samples)])
    assert merged(parts) == merged(reversed(parts))


def test_a_window_crosses_the_wire() -> None:
    sent = collected(a_sample(), a_sample("web2", route="/x", status=500), a_sample("web2", header_s=3.0))
    assert from_json("lb1", "1", json.loads(json.dumps(to_json(sent)))) == sent


ENTRY = {"backend": "web1", "routes": {"/": {"requests": 2, "errors": 1, "bins": [[3, 1]]}}}


@pytest.mark.parametrize(
    ("signals", "says"),
    [
        ("x", "not a list"),
        ([{}], "without the name"),
        ([["web1"]], "without the name"),
        ([ENTRY | {"routes": []}], "routes"),
        ([ENTRY | {"routes": {str(n): {} for n in range(99)}}], "routes"),
        ([ENTRY | {"routes": {"/": 5}}], "not a mapping"),
        ([ENTRY | {"routes": {"/": {"requests": -1, "errors": 0, "bins": []}}}], "-1 is no count"),
        ([ENTRY | {"routes": {"/": {"requests": 1.5, "errors": 0, "bins": []}}}], "1.5 is no count"),
        ([ENTRY | {"routes": {"/": {"requests": True, "errors": 0, "bins": []}}}], "True is no count"),
        ([ENTRY | {"routes": {"/": {"requests": 1, "errors": 0, "bins": [[BINS, 1]]}}}], "a bin is a pair"),
        ([ENTRY | {"routes": {"/": {"requests": 1, "errors": 0, "bins": [[1]]}}}], "a bin is a pair"),
        ([ENTRY | {"routes": {"/": {"requests": 1, "errors": 0, "bins": [[1, 1]] * 999}}}], "bins are not"),
        ([ENTRY | {"routes": {"/": {"requests": 1, "errors": 1, "bins": [[1, 1]]}}}], "more errors and times"),
        ([ENTRY] * (BACKENDS_LIMIT + 1), "not a list of at most"),
    ],
)
def test_what_a_peer_sends_is_checked(signals: Any, says: str) -> None:
    with pytest.raises(BadWindow, match=says):
        from_json("lb2", "1", signals)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["backend", "routes", "requests", "errors", "bins", "/"]), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_a_peer_sends_is_a_window_or_a_fault(signals: Any) -> None:
    try:
        window = from_json("lb2", "1", signals)
    except BadWindow:
        return
    assert merged([window]) is not None
