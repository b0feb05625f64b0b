"""What the desk makes of an estate and of what was measured: units of work, natures of indicators, bounds."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from audit_fleet import START, write_fleet
from backstay.audit.catalogue import indicator_of
from backstay.audit.desk import FileDesk
from backstay.audit.desk.answers import compared
from backstay.audit.desk.filling.noting import FACTS_LIMIT, note_changes
from backstay.audit.desk.filling.sources import indicator_sources
from backstay.audit.desk.scene import NO_FACTS, NotSo, Scene, balanced, declared, worked
from backstay.audit.desk.stored import Room, measured
from backstay.audit.explain import NODES_LIMIT
from backstay.audit.knowing import Look
from backstay.audit.model import Cluster, FactChange, Grid, Resource
from backstay.audit.ports import Surroundings
from backstay.audit.sources.tier.reading import WORK
from backstay.estate import Estate, Overrides, load_text
from backstay.journal import Event, event_json


def estate(more: str = "", *, sets: tuple[str, ...] = ()) -> Estate:
    text = (
        "estate: example\nregions: {home: {zones: {dc1: {}}}}\nnodes:\n"
        "  a1: {zone: dc1, address: 192.0.2.1}\n  a2: {zone: dc1, address: 192.0.2.2}\n"
        "  b1: {zone: dc1, address: 192.0.2.3}\n  b2: {zone: dc1, address: 192.0.2.4}\n"
        'clusters: {a: {members: "a*"}, b: {members: "b*", work: jobs}}\n' + more
    )
    return load_text(text, "backstay.yaml", Path(), Overrides(sets=sets)).estate


def grid(nodes: tuple[str, ...], indicators: tuple[str, ...], cells: int = 200) -> Grid:
    rng = np.random.default_rng(7)
    values = np.exp(rng.normal(0.0, 0.05, (len(indicators), len(nodes), cells)))
    return Grid(nodes=nodes, indicators=indicators, start=START, step_s=60.0, values=values)


def around(of: Estate) -> Surroundings:
    return Surroundings(addresses={}, base=Path(), clock=lambda: START, estate=of)


def test_the_requests_of_the_tier_are_the_unit_of_work_where_a_tier_serves_and_nobody_says_otherwise() -> None:
    served = estate("pools: {web: {cluster: a, port: 80}, jobs: {cluster: b, port: 81}}\n")
    assert worked(declared(served, "a"), served, {WORK, "load"}).work == WORK
    assert worked(declared(served, "a"), served, {"load"}).work is None
    assert worked(declared(served, "b"), served, {WORK}).work == "jobs"
    alone = estate()
    assert (worked(declared(alone, "a"), alone, {WORK}).work, balanced(alone, "a")) == (None, False)


def test_what_the_estate_says_of_an_indicator_wins_over_its_name() -> None:
    said = estate("audit: {natures: {load: {resource: storage, higher_is_worse: false}, jobs: {closed_loop: true}}}\n")
    look = Look(cluster=declared(said, "b"), grid=grid(("b1", "b2"), ("load", "jobs")), natures=said.audit.natures)
    load, by_name = look.indicator("load"), indicator_of("load")
    assert (load.resource, load.higher_is_worse, load.per_work) == (Resource.STORAGE, False, by_name.per_work)
    assert look.indicator("jobs").closed_loop
    assert by_name.resource is Resource.CPU


def test_the_tier_is_asked_without_further_set_up_where_there_is_one() -> None:
    alone = estate()
    assert [one.kind for one in alone.audit.indicators] == ["tier"]
    assert indicator_sources(alone, around(alone)) == []
    served = estate("tiers: {edge: {engine: nginx, members: [a1]}}\n")
    assert [one.label for one in indicator_sources(served, around(served))] == ["audit.indicators[0] (tier)"]
    asked = estate("audit: {indicators: [{kind: tier}]}\n")
    assert len(indicator_sources(asked, around(asked))) == 1


def test_settings_of_a_source_can_be_overridden_however_deep() -> None:
    sets = ("audit.indicators[0].port=9200", "audit.indicators[0].tls.ca=ca.pem", "audit.every_s=30")
    found = estate("audit: {indicators: [{kind: exporter}]}\n", sets=sets).audit
    assert (found.every_s, found.indicators[0].settings) == (30.0, {"port": 9200, "tls": {"ca": "ca.pem"}})


def test_a_cluster_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(NotSo, match='"c" is no cluster of the estate'):
        declared(estate(), "c")


def test_a_cluster_too_large_to_explain_is_compared_all_the_same() -> None:
    nodes = tuple(f"n{at}" for at in range(NODES_LIMIT + 1))
    look = Look(cluster=Cluster(name="large", nodes=nodes), grid=grid(nodes, ("load",), cells=20))
    found = compared(Scene(here=look, fleet=NO_FACTS))
    assert ("finding" in found["indicators"][0], len(found["indicators"][0]["nodes"])) == (False, NODES_LIMIT + 1)
    assert found["problems"][0] == f"more than {NODES_LIMIT} nodes: compared, and not explained"


def test_a_look_begins_with_the_first_sample_and_leaves_out_what_has_none() -> None:
    found = grid(("a1", "a2"), ("load", "gone"))
    found.values[0, :, :50] = np.nan
    found.values[1] = np.nan
    cut = measured(found)
    assert (cut.indicators, cut.start, cut.count) == (("load",), START + timedelta(minutes=50), 150)
    nothing = grid(("a1", "a2"), ("load",))
    nothing.values[:] = np.nan
    assert measured(nothing).indicators == ()


def test_a_long_look_at_many_series_gets_coarser_until_it_fits() -> None:
    room, week = Room(values=20_000_000, cells=15_000), timedelta(days=7)
    assert room.step(60.0, week, series=80) == 60.0
    assert room.step(60.0, 4 * week, series=80) == 180.0  # 40,320 minutes
    step_s = room.shared(10).step(60.0, week, series=2_000)
    assert step_s % 60.0 == 0.0
    assert 2_000 * week.total_seconds() / step_s <= 2_000_000


def test_changes_of_a_node_are_one_event_of_bounded_size() -> None:
    changes = [
        FactChange(node="a1", fact=f"package.{at}", before="1" * 5_000, after=None, time=START) for at in range(200)
    ]
    changes.append(FactChange(node="a2", fact="cpu.microcode", before="0x1", after="0x2", time=START))
    events: list[Event] = []
    note_changes(events.append, changes, START)
    assert [one.subject for one in events] == ["node/a1", "node/a2"]
    assert (len(events[0].data["changes"]), events[0].data["count"]) == (FACTS_LIMIT, 200)
    assert events[0].reason.endswith("... -> absent, and 199 facts more")
    assert events[1].reason == "cpu.microcode: 0x1 -> 0x2"
    assert len(str(event_json(events[0]))) < 30_000


async def test_other_clusters_in_the_same_files_speak_for_a_fact(tmp_path: Path) -> None:
    text = write_fleet(tmp_path)
    desk = FileDesk(
        now=START + timedelta(days=1),
        facts=tmp_path / "facts.json",
        indicators=tmp_path / "indicators.csv",
        estate=load_text(text, "backstay.yaml", tmp_path).estate,
    )
    found = await desk.explain("c0", "load", timedelta(days=1))
    assert found["grade"] == "replicated"
    assert any(one["kind"] == "replication" and "3 other clusters with" in one["detail"] for one in found["evidence"])
