"""What every FactStore keeps."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from store_suite import ALL, NOW, STORES, TIMEOUT_S, Clock, report

from backstay.audit.explain.volatility import learn_habits
from backstay.audit.intervals import NodeFacts
from backstay.audit.model import UNREAD, FactReport
from backstay.audit.sources.history import fold
from backstay.audit.store import AuditStore, Retention


@pytest.fixture(params=list(STORES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(kind: str, clock: Clock, tmp_path: Path) -> AsyncIterator[AuditStore]:
    opened = STORES[kind](tmp_path, clock, Retention(fact_days=30))
    yield opened
    await opened.close()


async def values(store: AuditStore, node: str, hour: float | None = None) -> dict[str, str]:
    at = NOW + timedelta(hours=hour) if hour is not None else None
    table = await store.facts.table([node], at=at, timeout_s=TIMEOUT_S)
    return {fact: text for fact, column in table.columns.items() if (text := column.text(0)) is not None}


async def test_what_changed_is_returned_once(store: AuditStore) -> None:
    first = report("a", -3, {"cpu": "V1", "kernel": "6.1"})
    assert await store.facts.add([first], timeout_s=TIMEOUT_S) == []
    second = report("a", -2, {"cpu": "V2", "kernel": "6.1"})
    (change,) = await store.facts.add([first, second], timeout_s=TIMEOUT_S)
    assert (change.node, change.fact, change.before, change.after) == ("a", "cpu", "V1", "V2")
    assert change.time == second.time
    assert await store.facts.add([second, first], timeout_s=TIMEOUT_S) == []
    assert await store.facts.changes([], **ALL, timeout_s=TIMEOUT_S) == [change]


async def test_the_facts_at_an_earlier_time(store: AuditStore) -> None:
    told = [report("a", -9, {"x": "1"}), report("a", -6, {"x": "2", "y": "1"}), report("a", -3, {"x": "2"})]
    await store.facts.add(told, timeout_s=TIMEOUT_S)
    assert await values(store, "a", -10) == {}
    assert await values(store, "a", -7) == {"x": "1"}
    assert await values(store, "a", -5) == {"x": "2", "y": "1"}
    assert await values(store, "a") == {"x": "2"}


async def test_a_node_without_a_report_has_every_fact_unread(store: AuditStore) -> None:
    await store.facts.add([report("a", -1, {"x": "1"})], timeout_s=TIMEOUT_S)
    table = await store.facts.table(["b", "a"], timeout_s=TIMEOUT_S)
    assert table.nodes == ("b", "a")
    assert table.columns["x"].codes.tolist() == [UNREAD, 0]


async def test_intervals_end_with_the_last_report_that_saw_the_value(store: AuditStore) -> None:
    told = [
        report("a", -4, {"x": "1", "dmi.serial": "S"}),
        report("a", -3, {"x": "1"}, unread={"dmi.*": "needs root"}),
        report("a", -2, {"x": "2"}, unread={"dmi.*": "needs root"}),
    ]
    for one in told:
        await store.facts.add([one], timeout_s=TIMEOUT_S)
    found = await store.facts.intervals(["a"], **ALL, timeout_s=TIMEOUT_S)
    hours = [(one.fact, one.value, one.first_seen, one.last_seen) for one in found]
    assert hours == [
        ("dmi.serial", "S", told[0].time, told[0].time),
        ("x", "1", told[0].time, told[1].time),
        ("x", "2", told[2].time, told[2].time),
    ]
    late = await store.facts.intervals(["a"], start=told[2].time, end=NOW, timeout_s=TIMEOUT_S)
    assert [(one.fact, one.value) for one in late] == [("x", "2")]


async def test_unread_reasons_and_problems_are_kept_for_the_report(store: AuditStore) -> None:
    told = [
        report("a", -2, {"x": "1", "dmi.serial": "S"}),
        report("a", -1, {"x": "1"}, unread={"dmi.*": "needs root"}),
        report("b", -1, {}, problem="no route to 192.0.2.7: is it up?"),
    ]
    await store.facts.add(told, timeout_s=TIMEOUT_S)
    history = await store.facts.history([], **ALL, timeout_s=TIMEOUT_S)
    assert history.unread["a"] == {"dmi.*": "needs root"}
    assert history.problems == ("b: no route to 192.0.2.7: is it up?",)
    assert history.changes == ()
    assert history.table.columns["dmi.serial"].codes.tolist() == [0, UNREAD]


async def test_a_late_report_takes_its_place(store: AuditStore) -> None:
    await store.facts.add([report("a", -4, {"x": "1"}), report("a", -2, {"x": "1"})], timeout_s=TIMEOUT_S)
    changes = await store.facts.add([report("a", -3, {"x": "2"})], timeout_s=TIMEOUT_S)
    assert [(one.before, one.after) for one in changes] == [("1", "2"), ("2", "1")]
    assert [one.value for one in await store.facts.intervals([], **ALL, timeout_s=TIMEOUT_S)] == ["1", "2", "1"]


async def test_reports_from_the_future_and_about_forgotten_times_are_left_out_and_told(
    store: AuditStore, clock: Clock
) -> None:
    told = [report("a", 1, {"x": "9"}), report("a", -1, {"x": "1"}), report("a", -24 * 40, {"x": "0"})]
    await store.facts.add(told[1:2], timeout_s=TIMEOUT_S)
    await store.facts.add([told[0], told[2]], timeout_s=TIMEOUT_S)
    assert await values(store, "a") == {"x": "1"}
    assert "later than now" in store.facts.problems[0]
    assert "forgotten" in store.facts.problems[1]
    clock.now += timedelta(hours=2)
    await store.facts.add(told[:1], timeout_s=TIMEOUT_S)
    assert store.facts.problems == ()
    assert await values(store, "a") == {"x": "9"}


async def test_bytes_that_are_no_text_keep_nothing_else_out_and_change_once(store: AuditStore) -> None:
    for hour in (-3, -2):
        told = [report("a", hour, {"x": "broken \udcff", "nul": "a\0b"}), report("b", hour, {"x": "fine"})]
        assert await store.facts.add(told, timeout_s=TIMEOUT_S) == []
    assert await values(store, "a") == {"x": "broken ?", "nul": "a\0b"}
    assert await values(store, "b") == {"x": "fine"}


async def test_old_intervals_are_forgotten_and_what_holds_stays(store: AuditStore) -> None:
    told = [report("a", -24 * 60, {"x": "1", "y": "1"}), report("a", -24 * 50, {"x": "2", "y": "1"})]
    await store.facts.add([*told, report("a", -1, {"x": "3", "y": "1"})], timeout_s=TIMEOUT_S)
    assert await store.facts.prune(now=NOW, timeout_s=TIMEOUT_S) == 2
    found = await store.facts.intervals([], **ALL, timeout_s=TIMEOUT_S)
    assert [(one.fact, one.value) for one in found] == [("x", "3"), ("y", "1")]
    assert found[1].first_seen == told[0].time
    await store.facts.add([report("a", -2, {"x": "3", "y": "1"})], timeout_s=TIMEOUT_S)
    assert await values(store, "a") == {"x": "3", "y": "1"}


async def test_habits_are_learned_from_the_store(store: AuditStore) -> None:
    reports = [
        report(f"n{node}", -hour, {"uptime": str(hour), "serial": f"S{node}", "kernel": "6.1"})
        for node in range(10)
        for hour in range(24, 0, -1)
    ]
    await store.facts.add(reports, timeout_s=TIMEOUT_S)
    history = await store.facts.history([], start=NOW - timedelta(days=2), end=NOW, timeout_s=TIMEOUT_S)
    habits = learn_habits(history.table, history.changes, days=history.days)
    assert [habits[fact].volatile for fact in ("uptime", "serial", "kernel")] == [True, False, False]
    assert [habits[fact].identity for fact in ("uptime", "serial", "kernel")] == [False, True, False]


async def test_nodes_and_when_they_were_last_reported(store: AuditStore) -> None:
    await store.facts.add([report("b", -2, {}), report("a", -1, {}), report("b", -3, {})], timeout_s=TIMEOUT_S)
    assert await store.facts.nodes(timeout_s=TIMEOUT_S) == ("a", "b")
    assert await store.facts.latest(["b", "c"], timeout_s=TIMEOUT_S) == {"b": NOW - timedelta(hours=2)}


# Any reports, in any order, in any number of calls

prefixes = itertools.count(1)
reports = st.lists(
    st.builds(
        lambda node, hour, values, unread, problem: report(
            node,
            -hour,
            {} if problem else values,
            unread=dict.fromkeys(unread, "why"),
            problem="no answer" if problem else "",
        ),
        st.sampled_from("ab"),
        st.integers(1, 9),
        st.dictionaries(st.sampled_from(("x", "y", "g.a")), st.sampled_from("12")),
        st.sets(st.sampled_from(("x", "g.*"))),
        st.integers(0, 9).map(lambda chance: chance == 0),
    ),
    min_size=1,
    max_size=10,
)


@pytest.fixture(scope="module", params=list(STORES))
def long_lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditStore]:
    store = STORES[request.param](tmp_path_factory.mktemp("store"), Clock(), Retention())
    yield store
    asyncio.run(store.close())


@settings(max_examples=10)
@given(told=reports, calls=st.lists(st.integers(0, 10), max_size=4))
def test_reports_in_any_split_give_the_history_of_all_of_them(
    long_lived: AuditStore, told: list[FactReport], calls: list[int]
) -> None:
    mark = next(prefixes)  # nodes of this example
    told = [report_of(one, f"{mark}{one.node}") for one in told]
    bounds = [0, *sorted(min(at, len(told)) for at in calls), len(told)]
    nodes = list(dict.fromkeys(one.node for one in told))

    async def keep() -> None:
        for start, end in itertools.pairwise(bounds):
            await long_lived.facts.add(told[start:end], timeout_s=TIMEOUT_S)
        kept = await long_lived.facts.history(nodes, **ALL, timeout_s=TIMEOUT_S)
        whole = fold(told)
        assert (kept.changes, kept.unread, kept.problems) == (whole.changes, whole.unread, whole.problems)
        assert kept.days == pytest.approx(whole.days)
        plain = {node: NodeFacts(node) for node in nodes}
        for one in told:
            plain[one.node].add(one)
        expected = [interval for facts in plain.values() for interval in facts.intervals()]
        found = await long_lived.facts.intervals(nodes, **ALL, timeout_s=TIMEOUT_S)
        assert sorted(map(str, found)) == sorted(map(str, expected))
        for node, facts in plain.items():
            place = kept.table.nodes.index(node)
            texts = {fact: column.text(place) for fact, column in kept.table.columns.items()}
            assert {fact: text for fact, text in texts.items() if text is not None} == facts.values()

    asyncio.run(keep())


def report_of(one: FactReport, node: str) -> FactReport:
    return FactReport(
        node=node, source=one.source, time=one.time, values=one.values, unread=one.unread, problem=one.problem
    )
