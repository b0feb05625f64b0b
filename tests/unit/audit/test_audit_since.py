"""Since when the facts are as they are, and what a change within the time looked at does to a finding."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from audit_scenes import LOAD, START, TIGHT, a_grid, facts
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.examine import Examined, examine
from backstay.audit.explain.since import lasting, since_change, table_at
from backstay.audit.model import Cluster, EvidenceKind, FactChange, FactTable, Grade, Habit, Knowledge, Resource
from backstay.audit.report.page import as_html
from backstay.audit.report.story import tell_story

CPU = "cpu.model name"
CELLS = 400
NODES = ("web1", "web2", "web3", "web4")


def change(node: str, cell: int, before: str | None, after: str | None, fact: str = CPU) -> FactChange:
    return FactChange(node=node, fact=fact, before=before, after=after, time=START + timedelta(seconds=60.0 * cell))


def since(table: FactTable, *changes: FactChange) -> int | None:
    grid = a_grid(np.ones((1, 4, CELLS)))
    found = since_change(grid, table, lasting(changes, NODES, {}), Resource.CPU)
    return found.cell if found else None


NOW = facts(cpu_model_name=("V2", "V1", "V1", "V1"))
SAME = facts(cpu_model_name=("V2", "V2", "V2", "V2"))


@pytest.mark.parametrize(
    ("table", "changes", "cell"),
    [
        pytest.param(NOW, [], None, id="nothing changed"),
        pytest.param(NOW, [change("web1", 200, "V1", "V2")], 201, id="a part was swapped"),
        pytest.param(NOW, [change("web1", 200, "V3", "V2")], None, id="it was another odd one before"),
        pytest.param(NOW, [change("web1", 200, "V1", "V2", "rack.name")], None, id="a label changed"),
        pytest.param(NOW, [change("web1", 500, "V1", "V2")], None, id="after the time looked at"),
        pytest.param(NOW, [change("gone", 200, "V1", "V2")], None, id="on another node"),
        pytest.param(
            SAME, [change(f"web{at + 1}", 100 + at, "V1", "V2") for at in range(4)], None, id="a rollout that is over"
        ),
        pytest.param(
            SAME, [change(f"web{at + 1}", 50 + 60 * at, "V1", "V2") for at in range(4)], 231, id="a slow rollout"
        ),
        pytest.param(
            NOW,
            [change("web1", 100, "V1", "V2"), change("web1", 200, "V2", "V1"), change("web1", 300, "V1", "V2")],
            301,
            id="there and back and there again",
        ),
        pytest.param(
            facts(cpu_model_name=("V2", "V1", "V1", "V1")),
            [change("web1", 200, "V1", "V2"), change("web2", 200, "V2", "V1")],
            201,
            id="two nodes swapped their parts",
        ),
    ],
)
def test_since_when_the_nodes_are_split_as_they_are(
    table: FactTable, changes: list[FactChange], cell: int | None
) -> None:
    assert since(table, *changes) == cell


def test_what_changes_by_itself_is_no_change() -> None:
    habit = Habit(fact=CPU, nodes=4, distinct=0.5, churn=2.0, volatile=True, identity=False)
    assert lasting([change("web1", 200, "V1", "V2")], NODES, {CPU: habit}) == ()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(NODES), st.integers(1, 399), st.sampled_from(("V1", "V2", "V3", None))), max_size=8
    )
)
def test_the_table_as_it_was_is_the_table_before_the_changes(steps: list[tuple[str, int, str | None]]) -> None:
    values: dict[str, dict[str, str]] = {node: {CPU: "V1", "os.name": "x"} for node in NODES}
    first = FactTable.of(values)
    changes = []
    for node, cell, after in sorted(steps, key=lambda one: one[1]):
        before = values[node].get(CPU)
        changes.append(change(node, cell, before, after))
        if after is None:
            values[node].pop(CPU, None)
        else:
            values[node][CPU] = after
    back = table_at(FactTable.of(values), changes, START)
    for fact, column in first.columns.items():
        assert [back.columns[fact].text(at) for at in range(4)] == [column.text(at) for at in range(4)]


def looked_at(cell: int, effect: float = 0.3, count: int = CELLS, *, known: Knowledge | None = None) -> Examined:
    """web1's CPU was swapped at `cell`, and its load changed with it."""
    rng = np.random.default_rng(5)
    logs = rng.normal(0.0, 0.02, (4, count)) + 0.3 * np.sin(np.arange(count) / 30.0)
    logs[0, cell:] += effect
    grid = a_grid(np.exp(logs)[None])
    changes = [change("web1", cell, "V1", "V2")]
    known = known or Knowledge(spread=TIGHT, changes=changes)
    return examine(Cluster(name="queue", nodes=grid.nodes), grid, LOAD, NOW, known)


def test_levels_are_those_since_the_change_and_not_a_mean_of_both_states() -> None:
    found = looked_at(200)
    assert found.since is not None
    assert found.since.cell == 201
    assert found.comparison.levels[0].mean - found.comparison.levels[1].mean == pytest.approx(0.3, abs=0.02)
    assert any("levels are those since then (199 of 400 cells" in one for one in found.finding.problems)


def test_the_change_is_a_natural_experiment_that_lifts_the_cap() -> None:
    found = looked_at(200).finding
    assert found.grade is Grade.PROBABLE
    assert [one.kind for one in found.evidence] == [EvidenceKind.CHANGE]
    assert found.evidence[0].log_odds > 2.3


def test_a_change_that_did_nothing_speaks_against_its_fact() -> None:
    found = looked_at(200, effect=0.0).finding
    assert found.evidence[0].log_odds < 0.0


def test_too_short_a_time_since_the_change_says_so() -> None:
    found = looked_at(390)
    assert any("too short to say much" in one for one in found.finding.problems)


def test_a_fact_whose_fix_was_verified_is_no_natural_experiment_as_well() -> None:
    from audit_scenes import proof

    known = Knowledge(
        spread=TIGHT, changes=[change("web1", 200, "V1", "V2")], evidence=[proof(EvidenceKind.INTERVENTION)]
    )
    found = looked_at(200, known=known).finding
    assert [one.kind for one in found.evidence] == [EvidenceKind.INTERVENTION]
    assert found.grade is Grade.CONFIRMED


def test_the_chart_marks_the_change() -> None:
    found = looked_at(200)
    story = tell_story(found, a_grid(np.ones((1, 4, CELLS))))
    assert story.chart.marks == (START + timedelta(minutes=200),)
    assert "2026-03-02 03:20 UTC</title>" in as_html(story)
