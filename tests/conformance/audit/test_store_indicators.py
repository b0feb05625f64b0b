"""What every IndicatorStore keeps, and every RecordStore."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from store_suite import NOW, STORES, TIMEOUT_S, Clock, cells, counter, gauge

from backstay.audit.sources.gridding import tidy, to_grid
from backstay.audit.store import AuditStore, Retention

HOUR_S, DAY_S = 3600.0, 86_400.0
MORNING = NOW - timedelta(hours=6)
WEEKS = Retention(raw_days=2, minute_days=4, hour_days=8)


@pytest.fixture(params=list(STORES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(kind: str, clock: Clock, tmp_path: Path) -> AsyncIterator[AuditStore]:
    opened = STORES[kind](tmp_path, clock, WEEKS)
    yield opened
    await opened.close()


async def add(store: AuditStore, *series: object) -> int:
    return await store.indicators.add(series, timeout_s=TIMEOUT_S)  # type: ignore[arg-type]


async def test_samples_become_means_and_what_was_not_measured_is_a_gap(store: AuditStore) -> None:
    told = gauge("a", "load", [(0, 1.0), (15, 3.0), (130, 5.0)], start=MORNING)
    assert await add(store, told) == 3
    found = await cells(store, "a", "load", start=MORNING, seconds=180, step_s=60)
    assert found[0] == 2.0
    assert math.isnan(found[1])
    assert found[2] == 5.0


async def test_nodes_and_indicators_come_in_the_order_asked_for(store: AuditStore) -> None:
    await add(store, gauge("a", "x", [(0, 1.0)], start=MORNING), gauge("b", "y", [(0, 2.0)], start=MORNING))
    end = MORNING + timedelta(minutes=1)
    grid = await store.indicators.grid(
        ["b", "nobody", "a"], ["y", "nothing", "x"], start=MORNING, end=end, step_s=60, timeout_s=TIMEOUT_S
    )
    assert (grid.nodes, grid.indicators, grid.start) == (("b", "nobody", "a"), ("y", "nothing", "x"), MORNING)
    assert np.nan_to_num(grid.values[:, :, 0]).tolist() == [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


async def test_a_doubled_sample_counts_once(store: AuditStore) -> None:
    told = gauge("a", "load", [(0, 1.0), (15, 3.0), (15, 9.0)], start=MORNING)
    assert await add(store, told) == 2
    assert "doubled" in store.indicators.problems[0]
    assert await add(store, told, gauge("a", "load", [(30, 5.0), (0, 7.0)], start=MORNING)) == 1
    assert (await cells(store, "a", "load", start=MORNING, seconds=60, step_s=60)).tolist() == [3.0]


async def test_late_samples_are_folded_in(store: AuditStore) -> None:
    await add(store, gauge("a", "load", [(600, 1.0)], start=MORNING))
    assert await add(store, gauge("a", "load", [(0, 5.0), (300, 3.0)], start=MORNING)) == 2
    found = await cells(store, "a", "load", start=MORNING, seconds=900, step_s=300)
    assert found.tolist() == [5.0, 3.0, 1.0]


async def test_a_counter_becomes_a_rate_across_calls(store: AuditStore) -> None:
    for second, value in ((0, 100.0), (60, 160.0), (120, 280.0)):
        await add(store, counter("a", "requests", [(second, value)], start=MORNING))
    found = await cells(store, "a", "requests", start=MORNING, seconds=180, step_s=60)
    assert math.isnan(found[0])
    assert found[1:].tolist() == [1.0, 2.0]
    later = MORNING + timedelta(seconds=120)
    assert (await cells(store, "a", "requests", start=later, seconds=60, step_s=60)).tolist() == [2.0]


async def test_resets_and_wraps_are_seen_across_calls(store: AuditStore) -> None:
    top = 2.0**32
    for second, value in ((0, top - 120.0), (60, top - 60.0), (120, 0.0), (180, 60.0), (240, 2.0), (300, 62.0)):
        await add(store, counter("a", "bytes", [(second, value)], start=MORNING))
    found = await cells(store, "a", "bytes", start=MORNING, seconds=360, step_s=60)
    assert np.nan_to_num(found, nan=-1.0).tolist() == [-1.0, 1.0, 1.0, 1.0, -1.0, 1.0]


async def test_a_late_sample_of_a_counter_mends_the_rates_on_both_sides(store: AuditStore) -> None:
    await add(store, counter("a", "requests", [(0, 0.0), (120, 120.0)], start=MORNING))
    await add(store, counter("a", "requests", [(60, 30.0)], start=MORNING))
    found = await cells(store, "a", "requests", start=MORNING, seconds=180, step_s=60)
    assert found[1:].tolist() == [0.5, 1.5]


async def test_samples_from_the_future_and_nonsense_are_left_out_and_told(store: AuditStore, clock: Clock) -> None:
    told = gauge("a", "load", [(-60, 1.0), (3600, 9.0), (-120, math.nan), (-180, math.inf)])
    undated = gauge("b", "load", [(math.nan, 1.0), (-4e9, 1.0)])
    assert await add(store, told, undated) == 1
    text = "\n".join(store.indicators.problems)
    assert "later than now, left out (is the node's clock ahead?): 1 (first: a, load)" in text
    assert "without a time, or from before 1970, left out: 2 (first: b, load)" in text
    assert "infinite or no number, as gaps: 2" in text
    assert await store.indicators.nodes(timeout_s=TIMEOUT_S) == ("a",)
    clock.now += timedelta(hours=2)
    assert await add(store, told) == 1
    assert await store.indicators.latest(timeout_s=TIMEOUT_S) == NOW + timedelta(hours=1)


async def test_what_there_is(store: AuditStore) -> None:
    assert await store.indicators.latest(timeout_s=TIMEOUT_S) is None
    assert await store.indicators.names(timeout_s=TIMEOUT_S) == ()
    await add(
        store,
        gauge("a", "load", [(0, 1.0), (15, 1.0), (30, 1.0)], start=MORNING),
        counter("b", "drops", [(60, 1.0)], start=MORNING),
    )
    assert await store.indicators.names(timeout_s=TIMEOUT_S) == ("drops", "load")
    assert await store.indicators.names(["a"], timeout_s=TIMEOUT_S) == ("load",)
    assert await store.indicators.latest(["a"], timeout_s=TIMEOUT_S) == MORNING + timedelta(seconds=30)
    assert await store.indicators.step_s(["a"], start=MORNING, end=NOW, timeout_s=TIMEOUT_S) == 15.0


async def test_an_indicator_that_changes_its_kind_keeps_both(store: AuditStore) -> None:
    await add(store, gauge("a", "x", [(0, 7.0)], start=MORNING))
    await add(store, counter("a", "x", [(60, 10.0), (120, 70.0)], start=MORNING))
    found = await cells(store, "a", "x", start=MORNING, seconds=180, step_s=60)
    assert np.nan_to_num(found, nan=-1.0).tolist() == [7.0, -1.0, 1.0]


async def test_a_grid_that_is_too_large_is_refused(store: AuditStore) -> None:
    with pytest.raises(ValueError, match="Look at fewer nodes"):
        await store.indicators.grid(
            [f"n{at}" for at in range(2000)],
            ["x"],
            start=NOW - timedelta(days=4),
            end=NOW,
            step_s=1,
            timeout_s=TIMEOUT_S,
        )


async def test_down_sampling_keeps_means_right_and_counters_whole(store: AuditStore, clock: Clock) -> None:
    start = NOW.replace(hour=0) - timedelta(days=7)
    seconds = np.arange(0.0, 7 * DAY_S + 12 * HOUR_S, 600.0).tolist()
    wave = [(second, 10.0 + math.sin(second / 20_000.0)) for second in seconds]
    grown = [(second, 3.0 * second) for second in seconds]
    await add(store, gauge("a", "load", wave, start=start), counter("a", "requests", grown, start=start))
    whole = {
        name: await cells(store, "a", name, start=start, seconds=7 * DAY_S, step_s=HOUR_S)
        for name in ("load", "requests")
    }
    gone = await store.indicators.prune(now=NOW, timeout_s=TIMEOUT_S)
    assert gone > 0
    for name, before in whole.items():
        after = await cells(store, "a", name, start=start, seconds=7 * DAY_S, step_s=HOUR_S)
        assert after == pytest.approx(before, rel=1e-6, nan_ok=True)
    span = {"start": start, "end": NOW, "timeout_s": TIMEOUT_S}
    assert await store.indicators.step_s(["a"], **span) == HOUR_S
    assert await store.indicators.step_s(["a"], **{**span, "start": NOW - timedelta(days=1)}) == 600.0
    assert await store.indicators.prune(now=NOW, timeout_s=TIMEOUT_S) == 0
    # The next sample of the counter has its rate from the last one that was kept.
    clock.now = NOW + timedelta(days=2)
    await store.indicators.prune(now=clock.now, timeout_s=TIMEOUT_S)
    await add(store, counter("a", "requests", [(seconds[-1] + 600.0, grown[-1][1] + 600.0)], start=start))
    last = start + timedelta(seconds=seconds[-1] + 600.0)
    assert (await cells(store, "a", "requests", start=last, seconds=600, step_s=600)).tolist() == [1.0]


async def test_what_is_older_than_the_retention_is_forgotten(store: AuditStore, clock: Clock) -> None:
    clock.now = NOW - timedelta(days=20)
    await add(store, gauge("a", "load", [(-60, 1.0)], start=clock.now))
    clock.now = NOW
    await add(store, gauge("b", "load", [(-60, 1.0)]))
    await store.indicators.prune(now=NOW, timeout_s=TIMEOUT_S)
    assert await store.indicators.nodes(timeout_s=TIMEOUT_S) == ("b",)


async def test_a_time_that_is_down_sampled_takes_no_more_samples_and_says_so(store: AuditStore) -> None:
    old = NOW - timedelta(days=5)
    told = gauge("a", "load", [(0, 1.0), (60, 2.0)], start=old)
    await add(store, told)
    await store.indicators.prune(now=NOW, timeout_s=TIMEOUT_S)
    assert await add(store, told) == 0
    assert "down-sampled already" in store.indicators.problems[0]
    assert await add(store, gauge("new", "load", [(0, 1.0)], start=old)) == 1  # a series of which nothing is


# Records


async def test_records_are_replaced_and_keep_their_order(store: AuditStore) -> None:
    assert await store.records.all("fix", timeout_s=TIMEOUT_S) == {}
    for id, value in (("z", 1), ("a", 2), ("z", 3)):
        await store.records.put("fix", id, {"value": value, "note": "für √2"}, timeout_s=TIMEOUT_S)
    await store.records.put("told", "z", {"value": 9}, timeout_s=TIMEOUT_S)
    found = await store.records.all("fix", timeout_s=TIMEOUT_S)
    assert list(found) == ["z", "a"]
    assert found["z"] == {"value": 3, "note": "für √2"}


@pytest.mark.parametrize("record", [{"x": math.nan}, {"x": datetime.now(UTC)}, {"x": "y" * 2_000_000}])
async def test_a_record_that_json_cannot_carry_is_refused(store: AuditStore, record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="fix 1: "):
        await store.records.put("fix", "1", record, timeout_s=TIMEOUT_S)


# Any samples of a counter, in any order, in any number of calls

numbers = itertools.count(1)


@pytest.fixture(scope="module", params=list(STORES))
def long_lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditStore]:
    store = STORES[request.param](tmp_path_factory.mktemp("store"), Clock(), Retention())
    yield store
    asyncio.run(store.close())


counted = st.lists(
    st.tuples(
        st.integers(0, 3000).map(float),
        st.one_of(st.integers(0, 9), st.integers(2**32 - 9, 2**32 - 1), st.integers(0, 10_000)).map(float),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda sample: sample[0],
)


@settings(max_examples=15)
@given(told=counted, calls=st.lists(st.integers(0, 12), max_size=4))
def test_rates_over_any_split_are_those_of_the_whole(
    long_lived: AuditStore, told: list[tuple[float, float]], calls: list[int]
) -> None:
    node = f"n{next(numbers)}"
    bounds = [0, *sorted(min(at, len(told)) for at in calls), len(told)]
    end = MORNING + timedelta(seconds=3001)
    whole = tidy([counter(node, "x", told, start=MORNING)], NOW).series
    expected = to_grid(whole, [node], ["x"], start=MORNING, end=end, step_s=60).values[0, 0]

    async def keep() -> None:
        for first, last in itertools.pairwise(bounds):
            await add(long_lived, counter(node, "x", told[first:last], start=MORNING))
        found = await cells(long_lived, node, "x", start=MORNING, seconds=3001, step_s=60)
        assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)

    asyncio.run(keep())
