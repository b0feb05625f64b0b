"""What every kind of source of indicators keeps: one suite over all of them, against the real thing where it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from indicators_worlds import (
    ALIVE,
    HISTORY,
    STEP_S,
    World,
    exporter_world,
    file_world,
    prometheus_world,
    ssh_world,
    tier_world,
)

from backstay.audit.model import Series, SeriesKind
from backstay.audit.sources.gridding import tidy, to_grid
from real_prometheus import needs_prometheus
from real_sshd import needs_sshd

SOON_S = 60.0  # what hangs for ever would take longer

WORLDS: dict[str, Any] = {
    "file": file_world,
    "prometheus": prometheus_world,
    "exporter": exporter_world,
    "ssh": ssh_world,
    "tier": tier_world,
}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        "file",
        pytest.param("prometheus", marks=needs_prometheus),
        "exporter",
        pytest.param("ssh", marks=needs_sshd),
        "tier",
    ],
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    with TemporaryDirectory(prefix="bs-") as folder:  # short: a socket's path has 107 bytes
        made: AbstractAsyncContextManager[World] = WORLDS[request.param](Path(folder))
        async with made as found:
            yield found
            await found.source.close()


def of(series: list[Series], node: str, indicator: str) -> Series:
    found = [one for one in series if (one.node, one.indicator) == (node, indicator)]
    assert len(found) == 1, sorted((one.node, one.indicator) for one in series)
    return found[0]


async def test_every_node_is_read_and_counters_stay_counters(world: World) -> None:
    series = await world.read(*ALIVE)
    assert {one.node for one in series} == set(ALIVE)
    now_s = time.time()
    for one in series:
        assert one.times_s.shape == one.values.shape
        assert one.times_s.size
        assert np.isfinite(one.values).all()
        assert (one.kind is SeriesKind.COUNTER) == one.indicator.endswith("_total")
        assert (one.times_s <= now_s).all()
    assert of(series, "web1", world.counter).values.max() > 0.0


@pytest.mark.not_for("file", "it knows of no nodes but those in it")
async def test_without_names_all_that_it_knows_is_read(world: World) -> None:
    series = await world.read()
    assert {one.node for one in series} == set(ALIVE)


async def test_a_node_that_is_not_there_is_told_and_the_others_are_read(world: World) -> None:
    series = await world.read(*ALIVE, "gone")
    assert {one.node for one in series} == set(ALIVE)
    told = [problem for problem in world.source.problems if problem.startswith(f"{world.gone}: ")]
    assert len(told) == 1, world.source.problems
    assert told[0].endswith((".", "?"))  # it ends with what next


async def test_a_name_that_nobody_knows_is_told(world: World) -> None:
    await world.read("web1", "nobody")
    assert any(problem.startswith("nobody: ") for problem in world.source.problems), world.source.problems


async def test_problems_are_of_the_last_read_alone(world: World) -> None:
    await world.read("web1", "nobody")
    await world.read("web1")
    assert not any("nobody" in problem for problem in world.source.problems)


@pytest.mark.not_for("file", "one place is read, not each node")
@pytest.mark.not_for("prometheus", "one place is read, not each node")
async def test_a_node_that_says_nothing_holds_up_nobody(world: World) -> None:
    assert world.server is not None
    world.server.hangs = True
    nodes = (*ALIVE, "stuck") if world.stuck == "stuck" else ALIVE
    try:
        async with asyncio.timeout(SOON_S):
            series = await world.read(*nodes, timeout_s=world.patience_s)
    finally:
        world.server.hangs = False
    assert {one.node for one in series} == set(ALIVE)
    told = [problem for problem in world.source.problems if problem.startswith(f"{world.stuck}: not done within")]
    assert len(told) == 1, world.source.problems


async def test_a_reading_may_be_cancelled_and_the_next_one_works(world: World) -> None:
    """Wherever it is at that moment."""
    for turns in (1, 3, 10, 30):
        task = asyncio.create_task(world.read(*ALIVE))
        for _ in range(turns):
            await asyncio.sleep(0)
        was_over = task.done()
        task.cancel()
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(task, return_exceptions=True)
        assert was_over or task.cancelled()
    assert await world.read("web1")


async def test_it_may_be_closed_twice(world: World) -> None:
    await world.source.close()
    await world.source.close()


@pytest.mark.not_for("ssh", "the kernel's own counters are not ours to set back")
@pytest.mark.not_for("tier", "its totals go on: see the next")
async def test_a_counter_that_begins_anew_is_a_gap_and_never_a_spike(world: World) -> None:
    series = list(await world.read("web1"))
    if world.restart is not None:
        series += await world.read("web1")
        world.restart()
        series += await world.read("web1")
    joined = _joined(series, "web1", world.counter)
    tidied = tidy([joined], datetime.now(UTC))
    assert any("resets of counters, as gaps: 1" in problem for problem in tidied.problems), tidied.problems
    rates = tidied.series[0].values
    assert np.isnan(rates).sum() == 1
    assert np.nanmin(rates) >= 0.0
    if world.memory:
        assert rates[np.isfinite(rates)] == pytest.approx(100.0 / STEP_S)


@pytest.mark.parametrize("world", ["tier"], indirect=True)
async def test_a_load_balancer_that_begins_anew_is_no_fall_of_the_whole(world: World) -> None:
    assert world.restart is not None
    before = of(await world.read("web1"), "web1", world.counter).values[-1]
    world.restart()
    after = of(await world.read("web1"), "web1", world.counter).values[-1]
    assert after == before + 20.0  # ten of each load balancer


@pytest.mark.parametrize("world", ["file", pytest.param("prometheus", marks=needs_prometheus)], indirect=True)
async def test_a_gap_stays_a_gap(world: World) -> None:
    series = tidy([of(await world.read("web2"), "web2", world.counter)], datetime.now(UTC)).series
    grid = to_grid(series, ["web2"], [world.counter], start=world.start, end=world.end, step_s=STEP_S)
    empty = np.flatnonzero(np.isnan(grid.values[0, 0]))
    assert set(range(40, 50)) <= set(empty.tolist())
    assert len(empty) <= 12  # the first sample has no rate, and the edges


@pytest.mark.parametrize("world", ["file", pytest.param("prometheus", marks=needs_prometheus)], indirect=True)
async def test_only_the_time_asked_for_is_told(world: World) -> None:
    end = world.end - timedelta(minutes=5)
    start = end - timedelta(minutes=5)
    one = of(await world.read("web1", start=start, end=end), "web1", world.counter)
    assert one.times_s.min() >= start.timestamp()
    assert one.times_s.max() < end.timestamp()
    assert len(one.times_s) == pytest.approx(20, abs=1)


@pytest.mark.parametrize("world", ["file", pytest.param("prometheus", marks=needs_prometheus)], indirect=True)
async def test_what_is_read_twice_counts_once(world: World) -> None:
    """Readings overlap: a late sample comes with the next one, and a doubled one is the same."""
    half = world.start + HISTORY / 2
    first = of(await world.read("web1", start=world.start, end=half + timedelta(minutes=2)), "web1", world.counter)
    second = of(await world.read("web1", start=half, end=world.end), "web1", world.counter)
    all_at_once = of(await world.read("web1"), "web1", world.counter)
    once = tidy([_joined([second, first], "web1", world.counter)], datetime.now(UTC))
    expected = tidy([all_at_once], datetime.now(UTC))
    assert once.series[0].times_s.tolist() == expected.series[0].times_s.tolist()
    assert np.allclose(once.series[0].values, expected.series[0].values, equal_nan=True)
    assert any("doubled samples" in problem for problem in once.problems)


@pytest.mark.parametrize("world", ["exporter", pytest.param("ssh", marks=needs_sshd), "tier"], indirect=True)
async def test_samples_have_our_time_whatever_the_nodes_clock_says(world: World) -> None:
    before_s = time.time()
    series = await world.read(*ALIVE)
    assert all(before_s <= one.times_s[0] <= time.time() for one in series)


def _joined(series: list[Series], node: str, indicator: str) -> Series:
    mine = [one for one in series if (one.node, one.indicator) == (node, indicator)]
    return Series(
        node=node,
        indicator=indicator,
        times_s=np.concatenate([one.times_s for one in mine]),
        values=np.concatenate([one.values for one in mine]),
        kind=mine[0].kind,
    )
