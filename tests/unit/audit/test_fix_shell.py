"""Fixes as they are kept: registered once, journaled, judged again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_scenes import START

from backstay.audit.fix import Fix, FixRefused
from backstay.audit.fix.files import FileRecords
from backstay.audit.fix.model import Outcome
from backstay.audit.fix.shell import Fixes
from backstay.audit.knowing import Fleet, Look
from backstay.audit.model import Cluster, FactChange, FactTable, Grade, Grid
from backstay.audit.ports import SourceError
from backstay.audit.report.render import as_text
from backstay.journal import Event
from fix_scenes import DAY, FACT, FIX, STEP_S, at, change, fixed

NODES = ("web1", "web2", "web3", "web4")
TABLE = FactTable.of({node: {FACT: "V2" if node == "web4" else "V1"} for node in NODES})
PLANNED = replace(FIX, id="")


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Rig:
    def __init__(self, path: Path) -> None:
        self.clock, self.events, self.path = Clock(), list[Event](), path
        self.records = FileRecords(path)
        self.fixes = Fixes(self.records, clock=self.clock, record=self.events.append)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "fixes.json")


def measured(values: np.ndarray, changes: list[FactChange]) -> tuple[Look, Fleet]:
    """The queue up to the last cell of `values`, and its facts as the changes left them."""
    facts: Mapping[str, dict[str, str]] = {
        node: {FACT: str(TABLE.columns[FACT].text(p))} for p, node in enumerate(NODES)
    }
    for one in changes:
        facts[one.node][one.fact] = str(one.after)
    grid = Grid(nodes=NODES, indicators=("load",), start=START, step_s=STEP_S, values=np.exp(values)[None])
    look = Look(cluster=Cluster(name="queue", nodes=NODES), grid=grid)
    return look, Fleet(table=FactTable.of(facts), changes=changes, days=10.0)


async def test_a_fix_is_registered_once_and_its_expectation_is_journaled(rig: Rig) -> None:
    first = await rig.fixes.register(PLANNED, NODES, TABLE)
    again = await rig.fixes.register(PLANNED, NODES, TABLE)
    assert first == again
    assert first.id == "queue-load-1"
    assert rig.kinds == ["audit.fix_registered"]
    event = rig.events[0]
    assert (event.subject, event.actor, event.reason) == ("cluster/queue", "alice", "V1 is slow")
    assert event.data["expects"] == "-30%"
    other = await rig.fixes.register(replace(PLANNED, nodes=("web2",)), NODES, TABLE)
    assert [fix.id for fix in await rig.fixes.all()] == [other.id, first.id] == ["queue-load-2", "queue-load-1"]


@pytest.mark.parametrize(
    ("change_", "words"),
    [
        ({"nodes": ("web9",)}, '"web9" is no node of queue. Nodes: web1, web2, web3, web4.'),
        ({"nodes": ()}, "no node is named"),
        ({"nodes": NODES}, "leave one as it is"),
        ({"nodes": ("web1", "web1")}, "a node is named twice"),
        ({"fact": "cpu.stepping"}, 'has a fact "cpu.stepping". There is: cpu.model name'),
        ({"nodes": ("web1", "web4")}, "cpu.model name of web4 is V2 already: leave web4 out"),
        ({"expected": -1.0}, "an expected change of -100.0% cannot be verified"),
        ({"expected": 0.0}, "cannot be verified"),
        ({"by": START}, "2026-03-02 00:00 UTC is over"),
        ({"reason": " "}, "give a reason"),
    ],
)
async def test_what_could_never_be_verified_is_refused(rig: Rig, change_: dict[str, Any], words: str) -> None:
    with pytest.raises(FixRefused) as refused:
        await rig.fixes.register(replace(PLANNED, **change_), NODES, TABLE)
    assert words in str(refused.value)
    assert rig.events == []
    assert not rig.path.exists()


async def look(rig: Rig, fix: Fix, values: np.ndarray, changes: list[FactChange], day: float) -> Fix:
    """Verify on this day, with what was measured and changed until then."""
    rig.clock.now = at(day)
    seen = [one for one in changes if one.time <= rig.clock.now]
    done = await rig.fixes.verify(fix, *measured(values[:, : int(day * DAY)], seen), actor="audit")
    return done.fix


async def test_from_waiting_to_confirmed_to_reopened(rig: Rig) -> None:
    """The story of a fix, a verdict each time, and an event for each that is new."""
    values, changes = fixed(40, days=21.0), [change("web1", 7.0)]
    values[0, 15 * DAY :] += 0.35
    fix = await rig.fixes.register(PLANNED, NODES, TABLE)
    outcomes = []
    for day in (2.0, 3.0, 7.02, 9.0, 12.0, 21.0):
        fix = await look(rig, await rig.fixes.get(fix.id), values, changes, day)
        outcomes.append(fix.outcome)
    assert outcomes == [
        Outcome.WAITING,
        Outcome.WAITING,
        Outcome.TOO_EARLY,
        Outcome.CONFIRMED,
        Outcome.CONFIRMED,
        Outcome.REOPENED,
    ]
    assert rig.kinds == ["audit.fix_registered", *["audit.fix_verified"] * 4]
    said = [event.reason.split(":")[0] for event in rig.events[1:]]
    assert said == ["Waiting", "Too early", "Confirmed by intervention", "Reopened"]
    assert rig.events[3].data["effect"]["high"] < 0.0
    assert (await rig.fixes.get(fix.id)).confirmed is not None


async def test_a_confirmed_fix_closes_the_finding_as_it_was_before(rig: Rig) -> None:
    values = fixed(41, effect=-0.3)
    values[3] = values[3] - np.mean(values[3] - values[1]) - 0.36
    values[0] = values[0] - np.mean(values[0, : 7 * DAY] - values[1, : 7 * DAY])
    fix = await rig.fixes.register(PLANNED, NODES, TABLE)
    rig.clock.now = at(10.0)
    done = await rig.fixes.verify(fix, *measured(values, [change("web1", 7.0)]), actor="audit")
    assert done.finding is not None
    assert done.finding.grade is Grade.CONFIRMED
    assert done.finding.first is not None
    assert done.finding.first.facts[0].values == ("V1", "V2")
    assert "The finding that it closes" in as_text(done.story)


async def test_an_indicator_that_was_not_measured_is_named(rig: Rig) -> None:
    fix = await rig.fixes.register(replace(PLANNED, indicator="drops"), NODES, TABLE)
    with pytest.raises(KeyError, match="no indicator 'drops' here"):
        await rig.fixes.verify(fix, *measured(fixed(42), []), actor="audit")


async def test_a_name_that_is_no_fix_is_told_with_those_that_are(rig: Rig) -> None:
    await rig.fixes.register(PLANNED, NODES, TABLE)
    with pytest.raises(FixRefused, match=r'"x" is no fix\. Fixes: queue-load-1\.'):
        await rig.fixes.get("x")


async def test_a_damaged_record_is_named_and_nothing_is_lost(rig: Rig) -> None:
    await rig.fixes.register(PLANNED, NODES, TABLE)
    await rig.records.put("fix", "bad", {"id": "bad"}, timeout_s=5.0)
    with pytest.raises(FixRefused, match="the record of the fix bad is damaged"):
        await rig.fixes.all()


@pytest.mark.parametrize("text", ["", "[]", '{"fix": []}', '{"fix": {"a": 1}}', "\x00"])
async def test_a_file_that_holds_no_fixes_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fixes.json"
    path.write_text(text)
    with pytest.raises(SourceError, match="no file of fixes"):
        await FileRecords(path).put("fix", "a", {}, timeout_s=5.0)
    assert path.read_text() == text


async def test_records_keep_their_place_when_they_are_replaced(tmp_path: Path) -> None:
    records = FileRecords(tmp_path / "fixes.json")
    for name, value in (("a", 1), ("b", 2), ("a", 3)):
        await records.put("fix", name, {"value": value}, timeout_s=5.0)
    assert dict(await records.all("fix", timeout_s=5.0)) == {"a": {"value": 3}, "b": {"value": 2}}
    assert dict(await records.all("other", timeout_s=5.0)) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["fixes.json"]
