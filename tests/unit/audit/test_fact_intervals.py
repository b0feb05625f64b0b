"""Facts as intervals: whatever the order in which reports come, the intervals are those of the reports by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.intervals import NodeFacts, Reading
from backstay.audit.model import FactChange, FactInterval, FactReport
from backstay.audit.sources.history import fold

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FACTS = ("x", "y", "g.a", "g.b")


def report(
    hour: int, *, unread: dict[str, str] | None = None, problem: str = "", node: str = "a", **values: str
) -> FactReport:
    facts = {name.replace("_", "."): value for name, value in values.items()}
    time = DAY + timedelta(hours=hour)
    return FactReport(node=node, source="test", time=time, values=facts, unread=unread or {}, problem=problem)


def of(*reports: FactReport) -> NodeFacts:
    facts = NodeFacts("a")
    for one in reports:
        facts.add(one)
    return facts


def spans(facts: NodeFacts) -> list[tuple[str, str, int, int]]:
    """fact, value, hour of the first and of the last."""
    hour = timedelta(hours=1)
    found = facts.intervals()
    return sorted((one.fact, one.value, (one.first_seen - DAY) // hour, (one.last_seen - DAY) // hour) for one in found)


def test_a_value_that_stays_is_one_interval() -> None:
    assert spans(of(report(0, x="1"), report(1, x="1"), report(2, x="2"))) == [("x", "1", 0, 1), ("x", "2", 2, 2)]


def test_a_fact_that_a_later_report_has_not_is_gone_and_may_come_back() -> None:
    facts = of(report(0, x="1", y="1"), report(1, y="1"), report(2, x="1", y="1"))
    assert spans(facts) == [("x", "1", 0, 0), ("x", "1", 2, 2), ("y", "1", 0, 2)]
    assert [(one.before, one.after) for one in facts.changes()] == [("1", None), (None, "1")]


def test_unread_facts_neither_end_an_interval_nor_count_as_absent() -> None:
    facts = of(report(0, g_a="1"), report(1, y="1", unread={"g.*": "needs root"}), report(2, g_a="1", y="1"))
    assert ("g.a", "1", 0, 2) in spans(facts)
    assert [one.fact for one in facts.changes()] == ["y"]


def test_a_change_behind_an_unread_time_is_seen_and_says_since_when_nobody_looked() -> None:
    facts = of(report(0, x="1"), report(1, unread={"x": "needs root"}), report(2, x="2"))
    (change,) = facts.changes()
    assert (change.before, change.after, change.time) == ("1", "2", DAY + timedelta(hours=2))
    assert change.unseen_from == DAY


def test_a_node_that_could_not_be_read_keeps_its_facts() -> None:
    facts = of(report(0, x="1"), report(1, problem="no answer"))
    assert facts.values() == {"x": "1"}
    assert facts.changes() == []
    assert facts.reading().problem == "no answer"


def test_the_first_sight_of_what_was_unread_before_is_no_change() -> None:
    assert of(report(0, unread={"g.*": "needs root"}), report(1, g_a="1")).changes() == []


def test_reports_of_one_time_are_one_report() -> None:
    facts = of(report(0, x="1", y="1"), report(1, x="1"), report(1, y="1", unread={"g.*": "no"}))
    assert spans(facts) == [("x", "1", 0, 1), ("y", "1", 0, 1)]
    assert facts.reading().unread == {"g.*": "no"}


def test_a_late_report_cuts_an_interval_in_two() -> None:
    facts = of(report(0, x="1"), report(1, x="1"), report(3, x="1"), report(4, x="1"), report(2, x="2"))
    assert spans(facts) == [("x", "1", 0, 1), ("x", "1", 3, 4), ("x", "2", 2, 2)]


def test_a_reading_survives_its_own_text() -> None:
    reading = Reading.of(report(0, g_a="1", unread={"g.*": "half", "x": "no"}))
    assert not reading.hides("g.a")
    assert reading.hides("g.b")
    assert reading.hides("x")
    assert Reading.parse(reading.text) == reading


# A report in some order; each time once, so that "the last that was told" has no say.
reports = st.lists(
    st.builds(
        lambda hour, values, unread, problem: FactReport(
            node="a",
            source="test",
            time=DAY + timedelta(hours=hour),
            values={} if problem else values,
            unread=dict.fromkeys(unread, "why"),
            problem="no answer" if problem else "",
        ),
        st.integers(0, 11),
        st.dictionaries(st.sampled_from(FACTS), st.sampled_from("12")),
        st.sets(st.sampled_from(("x", "g.*", "g.a"))),
        st.integers(0, 9).map(lambda chance: chance == 0),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.time,
)


def plainly(told: list[FactReport]) -> tuple[set[FactInterval], set[FactChange]]:
    """The definition, slowly: each fact's sequence of what was seen, equal neighbours as one."""
    in_order = sorted(told, key=lambda one: one.time)
    intervals, changes = set(), set()
    for fact in {name for one in told for name in one.values}:
        runs: list[tuple[str | None, datetime, datetime]] = []
        for one in in_order:
            groups = tuple(name[:-1] for name in one.unread if name.endswith("*"))
            hidden = bool(one.problem) or fact in one.unread or fact.startswith(groups)
            if hidden and fact not in one.values:
                continue
            value = one.values.get(fact)
            if runs and runs[-1][0] == value:
                runs[-1] = (value, runs[-1][1], one.time)
            else:
                runs.append((value, one.time, one.time))
        for value, first, last in runs:
            if value is not None:
                intervals.add(FactInterval(node="a", fact=fact, value=value, first_seen=first, last_seen=last))
        for (before, *_), (after, first, _) in pairwise(runs):
            changes.add(FactChange(node="a", fact=fact, before=before, after=after, time=first))
    return intervals, changes


@settings(max_examples=50)
@given(reports)
def test_intervals_are_those_of_the_definition_in_any_order(told: list[FactReport]) -> None:
    facts = of(*told)
    intervals, changes = plainly(told)
    assert set(facts.intervals()) == intervals
    assert set(facts.changes()) == changes
    last = max(told, key=lambda one: one.time)
    assert facts.reading().problem == last.problem


@settings(max_examples=50)
@given(reports)
def test_a_second_time_changes_nothing(told: list[FactReport]) -> None:
    once, twice = of(*told), of(*told, *told)
    assert (once.runs, once.times) == (twice.runs, twice.times)


@settings(max_examples=50)
@given(reports)
def test_folding_gives_the_same_history_in_any_order(told: list[FactReport]) -> None:
    by_time = fold(sorted(told, key=lambda one: one.time))
    as_told = fold(told)
    assert by_time.changes == as_told.changes
    assert (by_time.unread, by_time.problems, by_time.days) == (as_told.unread, as_told.problems, as_told.days)
