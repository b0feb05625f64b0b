"""The review of a week: what is told of a cluster, in which order, beside what; and what is too little to tell."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from review_scenes import END, START, WEEK, a_change, a_week

from backstay.audit.model import Cluster, Grade, Grid
from backstay.audit.report.week import of_review, review_html, review_markdown, review_text
from backstay.audit.review import Watched, Week, review
from backstay.audit.review.model import Aspect, Shape
from backstay.journal import Event

WEEKS = json.loads((Path(__file__).parents[2] / "cases" / "audit" / "review" / "weeks.json").read_text())


@pytest.mark.parametrize(("name", "monday"), WEEKS["good"].items())
def test_a_week_is_named_as_iso_8601_counts(name: str, monday: str) -> None:
    assert f"{Week.of(name).start:%Y-%m-%d}" == monday


@pytest.mark.parametrize("name", WEEKS["bad"])
def test_what_is_no_week_is_told_what_to_write(name: str) -> None:
    with pytest.raises(ValueError, match="Write 2026-W47"):
        Week.of(name)


def test_seven_days_that_are_a_calendar_week_have_its_name() -> None:
    assert Week.until(END) == WEEK
    assert Week.until(END - timedelta(hours=1)).name == "7 days to 2026-11-22 23:00"


def test_a_quiet_week_claims_nothing_and_says_how_the_weeks_went() -> None:
    found = review([a_week()], WEEK)
    assert found.findings == ()
    assert found.problems == ()
    assert [one.indicator for one in found.quiet] == ["messages", "load", "latency_ms"]
    assert len(found.quiet[0].weeks) == 8
    assert review_text(found).splitlines()[1] == "Nothing moved in 15 series of 1 cluster, as far as they can tell."


def test_a_step_of_one_node_is_named_beside_the_fact_that_changed_then() -> None:
    changes = [
        a_change("queue2", 59),
        a_change("queue3", 61, "package.tzdata"),
        a_change("queue2", 700, "kernel.release"),
    ]
    found = review([a_week(step={"queue2": 0.15})], WEEK, changes=changes)
    (finding,) = found.findings
    assert (finding.indicator, finding.node, finding.aspect) == ("load", "queue2", Aspect.BESIDE)
    assert finding.worse
    assert finding.fresh
    assert finding.grade is Grade.CONSISTENT
    (change,) = finding.changes
    assert change.shape is Shape.LEVEL
    assert abs(change.time - (END - timedelta(hours=60))) <= timedelta(hours=12)
    assert change.low <= 0.15 <= change.high
    assert change.coincides[0].what == "cpu.governor: performance -> powersave"
    assert [one.same_node for one in change.coincides] == [True, False]
    assert change.by_chance < 0.1
    text = review_text(found)
    assert "load of queue2 beside its peers in queue, per unit of messages" in text
    assert "no proof" in text


def test_a_fact_that_changes_every_day_is_no_news() -> None:
    changes = [a_change("queue2", 24 * day + 11, f"package.{day}") for day in range(50)]
    (finding,) = review([a_week(step={"queue2": 0.15})], WEEK, changes=changes).findings
    assert finding.changes[0].by_chance > 0.1
    assert finding.grade is Grade.DIFFERS


def test_events_of_the_journal_are_named_those_of_the_node_first() -> None:
    def event(subject: str, hours: float) -> Event:
        time = END - timedelta(hours=hours)
        return Event(id=subject, time=time, kind="drain.started", subject=subject, actor="alice", reason="new disk")

    events = [event("pool/web", 60), event("node/queue2", 58), event("node/elsewhere", 60), event("node/queue2", 300)]
    (finding,) = review([a_week(step={"queue2": 0.15})], WEEK, events=events).findings
    told = [one.what for one in finding.changes[0].coincides]
    assert told == ["drain.started node/queue2 (alice): new disk", "drain.started pool/web (alice): new disk"]


def test_what_gets_slowly_worse_is_found_and_when_it_reaches_the_limit() -> None:
    watched = replace(a_week(growth=0.02), limits={"latency_ms": 30.0})
    found = review([watched], WEEK)
    limit, *others = found.findings
    assert limit.aspect is Aspect.LIMIT
    assert limit.projection is not None
    assert 2.0 < limit.projection.earliest_weeks < 10.0
    assert limit.projection.latest_weeks is not None
    (trend,) = [one for one in others if one.aspect is Aspect.ABSOLUTE]
    assert trend.trend is not None
    assert trend.trend.low <= 0.02 <= trend.trend.high
    assert trend.worse
    assert "latency_ms of queue reaches 30 in " in review_text(found)


def test_the_week_before_knows_nothing_of_what_came_after() -> None:
    watched = a_week(step={"queue2": 0.3})
    assert review([watched], Week.of("2026-W46")).findings == ()
    assert review([watched], Week.of("2020-W01")).findings == ()
    assert "no value that can be used" in " ".join(review([watched], Week.of("2030-W01")).problems)
    assert "nothing was measured" in " ".join(review([watched], Week.of("2026-W49")).problems)


def test_a_step_of_an_earlier_week_is_told_last() -> None:
    watched = a_week(weeks=9, step={"queue2": 0.2}, growth=0.0)
    shifted = replace(watched.grid, start=watched.grid.start - timedelta(days=5))
    calm = a_week(seed=2, step={"queue1": 0.12})
    found = review([replace(watched, grid=shifted), replace(calm, cluster=replace(calm.cluster, name="z"))], WEEK)
    assert [one.fresh for one in found.findings] == [True, False]
    assert [one.cluster for one in found.findings] == ["z", "queue"]


@pytest.mark.parametrize(("weeks", "needs"), [(2, "three weeks are needed for a trend")])
def test_a_short_history_says_what_it_needs(weeks: int, needs: str) -> None:
    found = review([a_week(weeks=weeks)], WEEK)
    assert all(one.trend is None for one in found.findings)
    assert needs in " ".join(found.problems)


def test_three_days_know_no_daily_cycle() -> None:
    watched = a_week()
    grid = replace(watched.grid, start=END - timedelta(days=3), values=watched.grid.values[:, :, -72:])
    found = review([replace(watched, grid=grid)], WEEK)
    assert not [one for one in found.findings if one.aspect is Aspect.ABSOLUTE]
    assert "3.0 days: a daily cycle is known after a week, a trend after three" in " ".join(found.problems)


def test_one_node_is_reviewed_for_itself_and_two_cannot_be_told_apart() -> None:
    alone = review([a_week(nodes=1)], WEEK)
    assert alone.series == 3
    assert "one node has no peers" in alone.problems[0]
    both = review([a_week(nodes=2, step={"queue2": 0.25})], WEEK).findings
    (pair,) = [one for one in both if one.aspect is Aspect.BESIDE]
    assert "two nodes: which of them moved cannot be told" in " ".join(pair.caps)


def test_of_three_nodes_the_one_that_moved_is_named_and_not_its_echo_in_the_others() -> None:
    found = review([a_week(nodes=3, step={"queue2": 0.25})], WEEK)
    assert [one.node for one in found.findings if one.aspect is Aspect.BESIDE] == ["queue2"]


def test_a_node_that_was_away_moves_nobody_else() -> None:
    watched = a_week()
    values = watched.grid.values.copy()
    values[:, 0, :] *= 3.0  # another level than the others
    values[:, 0, 600:900] = np.nan
    found = review([replace(watched, grid=replace(watched.grid, values=values))], WEEK)
    assert found.findings == ()


def test_nothing_but_gaps_and_constants_is_said_and_claimed_of() -> None:
    watched = a_week()
    values = watched.grid.values.copy()
    values[1] = np.nan
    values[2] = 5.0
    found = review([replace(watched, grid=replace(watched.grid, values=values))], WEEK)
    assert found.findings == ()
    assert "queue, load: no value that can be used, up to the end of the week." in found.problems
    assert any("constant" in one for one in found.problems)


VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32) | st.sampled_from([0.0, 1.0, math.nan])


@given(
    st.integers(1, 3).flatmap(
        lambda nodes: arrays(np.float64, st.tuples(st.just(2), st.just(nodes), st.integers(1, 90)), elements=VALUES)
    ),
    st.sampled_from([60.0, 3600.0, 43_200.0, 86_400.0, 604_800.0]),
)
@settings(max_examples=25, deadline=None)
def test_nonsense_is_survived_and_told_as_json(values: np.ndarray, step_s: float) -> None:
    nodes = tuple(f"n{at}" for at in range(values.shape[1]))
    grid = Grid(nodes=nodes, indicators=("load", "drops"), start=START, step_s=step_s, values=values)
    watched = Watched(cluster=Cluster(name="<b>&`*", nodes=nodes), grid=grid, limits={"load": 1.0})
    found = review([watched], Week.until(grid.end))
    json.dumps(of_review(found), allow_nan=False)
    assert "<b>" not in review_html(found)
    assert review_text(found)
    assert review_markdown(found)


def test_the_report_is_one_screen_and_the_page_stands_alone() -> None:
    steps = {f"queue{at + 1}": 0.1 + 0.05 * at for at in range(3)}
    found = review([replace(a_week(nodes=8, step=steps, growth=0.02), limits={"latency_ms": 30.0})], WEEK)
    assert len(found.findings) >= 4
    assert len(review_text(found).splitlines()) <= 60
    page = review_html(found, "indicators.csv")
    assert page.count("<svg") == len(found.findings)
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    data = of_review(found)
    assert data["week"] == "2026-W47"
    assert [one["name"] for one in data["presets"]] == ["1h", "6h", "1d", "1w", "4w", "1y"]
    assert all(one["sentence"].endswith(".") for one in data["findings"])
