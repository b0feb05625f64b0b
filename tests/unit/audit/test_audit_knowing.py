"""What the fleet and the past add to one cluster's look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from audit_scenes import LOAD, START, find, levels

from backstay.audit.compare.between import learn_spread
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.fix.model import Outcome, Reason, Verdict
from backstay.audit.knowing import Fleet, Look, Told, alike, explain_in, knowledge, recall, recurrence, remember
from backstay.audit.model import (
    Cluster,
    EvidenceKind,
    FactChange,
    FactTable,
    Grade,
    Grid,
    Habit,
    Pooling,
)
from fix_scenes import CHANGED_AT_ALL, FIX

CPU = "cpu.model name"
COUNT = 400


def a_look(name: str, means: Sequence[float], *, seed: int = 0, indicator: str = "load") -> Look:
    """A cluster whose nodes stand at `means` (log), with a shared cycle and noise of 2%."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 0.02, (len(means), COUNT)) + 0.3 * np.sin(np.arange(COUNT) / 30.0)
    nodes = tuple(f"{name}{at + 1}" for at in range(len(means)))
    values = np.exp(np.array(means)[:, None] + noise)[None]
    grid = Grid(nodes=nodes, indicators=(indicator,), start=START, step_s=600.0, values=values)
    return Look(cluster=Cluster(name=name, nodes=nodes), grid=grid)


def facts_of(looks: Mapping[str, Sequence[str]], more: Mapping[str, Mapping[str, str]] | None = None) -> FactTable:
    """Cluster -> the CPU model of each of its nodes; `more`: further facts by node."""
    values = {
        f"{name}{at + 1}": {CPU: model, "system.serial": f"s-{name}{at}", **(more or {}).get(f"{name}{at + 1}", {})}
        for name, models in looks.items()
        for at, model in enumerate(models)
    }
    return FactTable.of(values)


def clones(count: int, sigma: float = 0.003) -> list[Look]:
    """Clusters of three nodes that are alike."""
    rng = np.random.default_rng(9)
    return [a_look(f"c{at}-", rng.normal(0.0, sigma, 3).tolist(), seed=at) for at in range(count)]


def test_one_odd_node_of_four_needs_less_once_the_fleet_shows_how_alike_alike_nodes_are() -> None:
    """8% off: lost in the wide prior, which asks for about 20%; clear beside six clusters of nodes that are alike."""
    here, others = a_look("web", (0.08, 0.0, 0.001, -0.001)), clones(6)
    names = {"web": ("V1", "V2", "V2", "V2")} | {look.cluster.name: ("V2",) * 3 for look in others}
    alone = explain_in(here, "load", Fleet(table=facts_of(names)))
    among = explain_in(here, "load", Fleet(table=facts_of(names), others=others))
    assert alone.comparison.differs == ()
    assert alone.comparison.spread.pooling is Pooling.WIDE
    assert alone.finding.grade is Grade.NOTHING
    assert among.comparison.differs == ("web1",)
    assert among.comparison.spread.pooling is Pooling.ALIKE
    assert among.finding.grade is Grade.CONSISTENT
    assert among.finding.first is not None
    assert among.finding.first.facts[0].fact == CPU


def test_too_few_alike_nodes_teach_nothing() -> None:
    names = {"web": ("V1",) * 4, "c0-": ("V2",) * 3}
    fleet = Fleet(table=facts_of(names), others=clones(1))
    assert knowledge(a_look("web", (0.0,) * 4), "load", fleet).spread is None


def test_a_few_pairs_that_agree_are_no_law() -> None:
    """The likeliest spread of eight pairs is sure of itself; the one that is kept leaves room."""
    rng = np.random.default_rng(4)
    pairs = [levels(rng.normal(0.0, 0.008, 2).tolist()) for _ in range(8)]
    assert learn_spread(pairs).freedom <= 4.0
    many = [levels(rng.normal(0.0, 0.008, 4).tolist()) for _ in range(100)]
    assert learn_spread(many).freedom >= 8.0


def test_nodes_are_alike_by_what_acts_on_the_indicator_and_jitter_is_none() -> None:
    more = {f"web{at}": {"cpu.bogomips": bogo} for at, bogo in ((1, "4399.99"), (2, "4400.02"), (3, "4400.01"))}
    more["web3"]["package.tzdata"] = "2"
    table = facts_of({"web": ("V1", "V1", "V1", "V2")}, more)
    groups = alike(levels((0.0, 0.1, 0.2, 0.3)), _named(table), LOAD, {})
    assert [[level.node for level in group] for group in groups] == [["web1", "web2", "web3"]]


def _named(table: FactTable) -> FactTable:
    return FactTable(tuple(f"web{at + 1}" for at in range(len(table.nodes))), table.columns)


def test_nobody_knows_whether_nodes_without_a_telling_fact_are_alike() -> None:
    table = FactTable.of({f"web{at}": {"rack.name": "r1"} for at in range(1, 4)})
    assert alike(levels((0.0, 0.1, 0.2)), table, LOAD, {}) == []


def test_what_is_unique_or_changes_by_itself_does_not_tell_nodes_apart() -> None:
    more = {f"web{at}": {"cpu.id": str(at)} for at in range(1, 4)}
    table = facts_of({"web": ("V1",) * 3}, more)
    habit = Habit(fact="cpu.id", nodes=3, distinct=1.0, churn=0.0, volatile=False, identity=True)
    assert alike(levels((0.0, 0.1, 0.2)), table, LOAD, {}) == []
    assert len(alike(levels((0.0, 0.1, 0.2)), table, LOAD, {"cpu.id": habit})) == 1


def test_other_clusters_with_the_effect_make_it_replicated() -> None:
    others = [a_look(f"db{at}-", (0.0, 0.2, 0.2, 0.0), seed=at) for at in range(3)]
    here = a_look("web", (0.0, 0.2, 0.2, 0.0), seed=7)
    models = ("V1", "V2", "V2", "V1")
    table = facts_of({"web": models} | {look.cluster.name: models for look in others})
    found = explain_in(here, "load", Fleet(table=table, others=[*others, here])).finding
    assert found.grade is Grade.REPLICATED
    assert any(one.kind is EvidenceKind.REPLICATION and one.fact == CPU for one in found.evidence)


def test_other_clusters_where_it_differs_without_the_effect_count_against_it() -> None:
    """Aliased with the kernel here; elsewhere the CPU differs and nothing comes of it."""
    others = [a_look(f"db{at}-", (0.0, 0.001, 0.0, 0.001), seed=at) for at in range(4)]
    here = a_look("web", (0.0, 0.2, 0.2, 0.0), seed=7)
    kernels = {f"web{at}": {"kernel.release": version} for at, version in ((1, "6"), (2, "7"), (3, "7"), (4, "6"))}
    models = ("V1", "V2", "V2", "V1")
    table = facts_of({"web": models} | {look.cluster.name: models for look in others}, kernels)
    found = explain_in(here, "load", Fleet(table=table, others=others)).finding
    assert found.first is not None
    assert found.first.facts[0].fact == "kernel.release"


def test_clusters_without_the_indicator_say_nothing() -> None:
    others = [replace(look, grid=replace(look.grid, indicators=("other",))) for look in clones(6)]
    known = knowledge(a_look("web", (0.0,) * 4), "load", Fleet(table=facts_of({"web": ("V1",) * 4}), others=others))
    assert known.spread is None
    assert known.evidence == ()


def test_what_changed_after_the_time_looked_at_is_undone() -> None:
    here = a_look("web", (0.0, 0.3, 0.3, 0.0))
    after = here.grid.end + timedelta(days=1)
    changes = [FactChange(node=node, fact=CPU, before="V2", after="V1", time=after) for node in ("web2", "web3")]
    fleet = Fleet(table=facts_of({"web": ("V1",) * 4}), changes=changes)
    first = explain_in(here, "load", fleet).finding.first
    assert first is not None
    assert (first.facts[0].fact, first.facts[0].values) == (CPU, ("V1", "V2"))


def test_habits_are_learned_from_the_fleets_history() -> None:
    changes = [
        FactChange(node=f"web{node}", fact="cpu.flags", before="a", after="b", time=START + timedelta(hours=hour))
        for node in range(1, 5)
        for hour in range(6)
    ]
    table = facts_of({"web": ("V1",) * 4}, {f"web{at}": {"cpu.flags": str(at)} for at in range(1, 5)})
    known = knowledge(a_look("web", (0.0,) * 4), "load", Fleet(table=table, changes=changes, days=2.0))
    assert known.habits["cpu.flags"].volatile
    assert known.habits == learn_habits(table, changes, days=2.0)


@pytest.mark.parametrize(
    ("cluster", "grade", "counts"),
    [("db", Grade.CONSISTENT, 1), ("web", Grade.PROBABLE, 0), ("now", Grade.PROBABLE, 0), ("db", Grade.DIFFERS, 0)],
    ids=["another cluster", "this one", "one that is a replication now", "no fact was named"],
)
def test_recurrence_counts_clusters_once(cluster: str, grade: Grade, counts: int) -> None:
    told = [Told(cluster=cluster, indicator=name, fact=CPU, grade=grade, time=START) for name in ("load", "drops")]
    assert recurrence(told, "web", {"now"}).get(CPU, 0) == counts


def test_a_finding_is_remembered_and_recalled() -> None:
    table = FactTable.of({f"web{at + 1}": {CPU: model} for at, model in enumerate(("V1", "V2", "V2", "V1"))})
    record = remember(find((0.0, 0.3, 0.3, 0.0), table), START)
    assert record is not None
    recalled = recall({"queue/load": json.loads(json.dumps(record))})
    assert recalled == (Told(cluster="queue", indicator="load", fact=CPU, grade=Grade.CONSISTENT, time=START),)
    assert remember(find((0.0, 0.0, 0.001, 0.0), table), START) is None


def test_a_verified_fix_makes_what_is_left_of_it_confirmed() -> None:
    """web1 was fixed and verified; web2 and web3 still have the old part, and nobody has to prove it again."""
    verdict = Verdict(
        outcome=Outcome.CONFIRMED, reason=Reason.CAME, time=START, log_odds=3.5, placebos=50, nodes=CHANGED_AT_ALL
    )
    fix = replace(FIX, cluster="web", verdict=verdict, confirmed=verdict)
    here = a_look("web", (0.0, 0.2, 0.2, 0.0, 0.0))
    fleet = Fleet(table=facts_of({"web": ("V2", "V1", "V1", "V2", "V2")}), fixes=[fix])
    assert explain_in(here, "load", fleet).finding.grade is Grade.CONFIRMED
    assert explain_in(here, "load", replace(fleet, fixes=[])).finding.grade is Grade.CONSISTENT
    elsewhere = replace(fleet, fixes=[replace(fix, cluster="db")])
    assert explain_in(here, "load", elsewhere).finding.grade is Grade.REPLICATED
