"""Collecting end to end: sources of an estate -> the store -> what the desk answers. Real files, a real store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="needs duckdb: pip install backstay[audit]")

import audit_kinds
from audit_fleet import write_fleet
from audit_kinds import Source
from backstay.audit.desk import Desk, NotSo
from backstay.audit.desk.filling import collecting as collecting_module
from backstay.audit.planned import Planned
from backstay.cli.audit.example import facts_lines, indicator_lines
from backstay.estate import load_text
from backstay.journal import Event, JournalError
from real_prometheus import NodeExporter, needs_node_exporter

NODES = ("queue1", "queue2", "queue3", "queue4")
WEEK = timedelta(days=7)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 6, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def kinds(tmp_path: Path) -> Iterator[None]:
    """The test's kinds of sources, and nobody's from another test."""
    audit_kinds.OPENED.clear()
    packages = tmp_path / "packages"
    packages.mkdir()
    with audit_kinds.installed(packages):
        yield


def estate(facts: str = "[]", indicators: str = "[]", more: str = "") -> str:
    nodes = "".join(f"  {node}: {{zone: dc1, address: 192.0.2.{at}}}\n" for at, node in enumerate(NODES, 11))
    return (
        f"estate: example\nregions: {{home: {{zones: {{dc1: {{}}}}}}}}\nnodes:\n{nodes}"
        f'clusters:\n  queue: {{members: "queue*", work: messages}}\n'
        f"audit:\n  facts: {facts}\n  indicators: {indicators}\n{more}"
    )


@asynccontextmanager
async def desk_at(folder: Path, clock: Clock, text: str, events: list[Event] | None = None) -> AsyncIterator[Desk]:
    record = events.append if events is not None else None
    desk = Desk.open(load_text(text, "backstay.yaml", folder).estate, folder, folder, clock=clock, record=record)
    try:
        yield desk
    finally:
        await desk.close()


def opened(name: str) -> Source:
    """The source of this name that was opened last."""
    return next(one for one in reversed(audit_kinds.OPENED) if one.name == name)


FILES = ("[{kind: file, path: facts.jsonl}]", "[{kind: file, path: indicators.csv}]")


def write_example(folder: Path) -> list[dict[str, Any]]:
    """The made-up queue cluster as files; its facts."""
    lines = [json.loads(line) for line in facts_lines()]
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "indicators.csv").write_text("\n".join(indicator_lines()))
    return lines


async def test_what_was_collected_twice_is_explained_from_the_store(tmp_path: Path, clock: Clock) -> None:
    write_example(tmp_path)
    async with desk_at(tmp_path, clock, estate(*FILES)) as desk:
        first = await desk.collect(True, True, timeout_s=30.0, since=WEEK)
        assert (first["facts"]["read"], first["facts"]["changed"], first["problems"]) == (4, 0, [])
        assert first["facts"]["half"] == [
            {"node": "queue4", "unread": {"memory.manufacturer": "file: needs root"}, "without_root": True}
        ]
        again = await desk.collect(True, True, timeout_s=30.0, since=WEEK)
        assert (first["indicators"]["new"] > 6_000, again["indicators"]["new"], again["changes"]) == (True, 0, [])
    async with desk_at(tmp_path, clock, estate(*FILES)) as desk:  # another run, from the disk
        found = await desk.explain("queue", "load", WEEK)
        rows = await desk.clusters(WEEK)
        differing = await desk.facts_diff("queue")
    assert found["grade"] == "consistent"
    assert found["hypotheses"][0]["groups"] == [["queue1"], ["queue2", "queue3"], ["queue4"]]
    assert "cpu.version" in {fact["fact"] for fact in found["hypotheses"][0]["facts"]}
    assert found["work"] == "messages"
    assert any("queue4: unread: memory.manufacturer" in problem for problem in found["problems"])
    lengths = {len(found["series"]["times_s"]), *(len(one["beside"]) for one in found["series"]["nodes"])}
    assert len(lengths) == 1
    assert max(lengths) <= 400
    assert found["markdown"].startswith("# load of queue")
    assert (rows[0]["cluster"], rows[0]["grade"], rows[0]["facts_at"]) == ("queue", "consistent", rows[0]["facts_at"])
    assert differing["splits"][0]["groups"] == [["queue1"], ["queue2", "queue3"], ["queue4"]]
    assert json.loads(json.dumps([found, rows, differing], allow_nan=False)) == [found, rows, differing]


async def test_files_that_are_brought_in_answer_as_they_do_by_themselves(tmp_path: Path, clock: Clock) -> None:
    write_example(tmp_path)
    async with desk_at(tmp_path, clock, estate()) as desk:
        for name in ("facts.jsonl", "indicators.csv"):
            told = [await desk.bring_in(tmp_path / name) for _ in range(2)]
            assert told[1]["read"] == told[0]["read"] > 0
            assert told[1].get("new", 0) == told[1].get("changed", 0) == 0
        compared = json.loads(json.dumps(await desk.compare("queue", WEEK), allow_nan=False))
    by_name = {one["indicator"]: one for one in compared["indicators"]}
    assert by_name["rx_drops_total"]["differs"] == ["queue4"]
    assert by_name["messages"]["finding"]["grade"] == "nothing"


async def test_other_clusters_of_the_store_speak_for_a_fact(tmp_path: Path, clock: Clock) -> None:
    text = write_fleet(tmp_path)
    async with desk_at(tmp_path, clock, text) as desk:
        await desk.collect(True, True, timeout_s=30.0, since=WEEK)
        found = await desk.explain("c0", "load", WEEK)
        rows = await desk.clusters(WEEK)
    assert found["grade"] == "replicated"
    assert any("3 other clusters with" in one["detail"] for one in found["evidence"])
    assert [(row["grade"], row["indicator"]) for row in rows] == [("replicated", "load")] * 4


async def test_a_fact_that_changed_is_told_and_journaled_and_a_natural_experiment(tmp_path: Path, clock: Clock) -> None:
    lines, events = write_example(tmp_path), list[Event]()
    async with desk_at(tmp_path, clock, estate(*FILES), events) as desk:
        await desk.collect(True, True, timeout_s=30.0, since=WEEK)
        clock.now += timedelta(hours=1)
        later = [{**line, "time": clock.now.isoformat()} for line in lines]
        later[0]["facts"] = {**later[0]["facts"], "cpu.microcode": "0x71b"}
        (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, later)))
        told = await desk.collect(True, False, timeout_s=30.0)
    change = {"node": "queue1", "fact": "cpu.microcode", "before": "0x71a", "after": "0x71b"}
    assert [{key: one[key] for key in change} for one in told["changes"]] == [change]
    assert [(one.kind, one.subject) for one in events] == [("audit.facts_changed", "node/queue1")]
    assert events[0].reason == "cpu.microcode: 0x71a -> 0x71b"
    assert told["indicators"] is None


async def test_a_change_that_the_journal_did_not_take_is_noted_the_next_time(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "facts.json").write_text('{"queue1": {"cpu.microcode": "1"}}')
    full, events = [True], list[Event]()

    def record(event: Event) -> None:
        if full[0]:
            raise JournalError("the disk is full. Make room.")
        events.append(event)

    loaded = load_text(estate("[{kind: file, path: facts.json}]"), "backstay.yaml", tmp_path)
    desk = Desk.open(loaded.estate, tmp_path, tmp_path, clock=clock, record=record)
    await desk.collect(True, False, timeout_s=5.0)
    clock.now += timedelta(hours=1)
    later = {"node": "queue1", "time": clock.now.isoformat(), "facts": {"cpu.microcode": "2"}}
    (tmp_path / "facts.json").write_text(json.dumps([later]))
    with pytest.raises(JournalError):
        await desk.collect(True, False, timeout_s=5.0)
    full[0] = False
    for _ in range(2):
        clock.now += timedelta(hours=1)
        await desk.collect(True, False, timeout_s=5.0)
    await desk.close()
    assert [(one.subject, one.reason) for one in events] == [("node/queue1", "cpu.microcode: 1 -> 2")]


async def test_nodes_are_half_read_without_root_or_not_at_all(tmp_path: Path, clock: Clock) -> None:
    facts = "[{kind: half, without_root: queue2, unreachable: queue3}]"
    async with desk_at(tmp_path, clock, estate(facts)) as desk:
        told = await desk.collect(True, True, timeout_s=5.0)
        diff = await desk.facts_diff("queue")
    assert (told["facts"]["read"], told["facts"]["unreadable"][0]["node"]) == (3, "queue3")
    assert [(one["node"], one["without_root"]) for one in told["facts"]["half"]] == [("queue2", True)]
    assert told["problems"] == [told["facts"]["unreadable"][0]["problem"]]
    assert "no route to it" in told["problems"][0]
    assert diff["unread_why"]["queue2"] == {"dmi.*": "half: needs root"}


async def test_one_source_that_fails_stops_no_other(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting_module, "GRACE_S", 0.1)
    facts = "[{kind: refusing}, {kind: hanging}, {kind: buggy}, {kind: fussy, mood: bad}, {kind: nobody}, {kind: half}]"
    indicators = "[{kind: refusing}, {kind: hanging}, {kind: buggy}, {kind: nobody}, {kind: clockwork}]"
    async with desk_at(tmp_path, clock, estate(facts, indicators)) as desk:
        told = await desk.collect(True, True, timeout_s=0.2)
        diff = await desk.facts_diff("queue")
    said = "\n".join(told["problems"])
    for words in (
        "audit.facts[0] (refusing): http://192.0.2.9: refused. Is it up?",
        "audit.facts[1] (hanging): no answer within 0.2 s.",
        "audit.facts[2] (buggy): failed: KeyError: 'nodes'.",
        "audit.facts[3] (fussy): mood: unknown here.",
        "audit.facts[4] (nobody): no package here brings this kind. Kinds: ",
        "audit.indicators[3] (nobody): no package here brings this kind.",
    ):
        assert words in said
    assert told["facts"]["read"] == 4
    assert told["indicators"]["new"] > 0
    assert diff["nodes"] == list(NODES)
    assert all(source.closed for source in audit_kinds.OPENED)


async def test_facts_of_a_source_that_fails_later_are_unread_and_not_gone(tmp_path: Path, clock: Clock) -> None:
    async with desk_at(tmp_path, clock, estate("[{kind: half}]")) as desk:
        await desk.collect(True, False, timeout_s=5.0)
    clock.now += timedelta(hours=1)
    async with desk_at(tmp_path, clock, estate("[{kind: refusing}]")) as desk:
        told = await desk.collect(True, False, timeout_s=5.0)
    assert told["changes"] == []
    assert (told["facts"]["read"], len(told["problems"])) == (0, 1)  # said once, not for each node


async def test_a_source_is_asked_from_its_last_sample_on_and_not_far_back(tmp_path: Path, clock: Clock) -> None:
    async with desk_at(tmp_path, clock, estate(indicators="[{kind: clockwork}]")) as desk:
        first = await desk.collect(False, True, timeout_s=30.0)
        clock.now += timedelta(minutes=10)
        second = await desk.collect(False, True, timeout_s=30.0)
        clock.now += timedelta(days=30)
        await desk.collect(False, True, timeout_s=30.0)
    asked = [(clock.now - start, end - start) for start, end in opened("clockwork").asked]
    assert asked[0][1] == collecting_module.CATCH_UP
    assert timedelta(minutes=10) <= asked[1][1] <= timedelta(minutes=15)  # with what may have come late
    assert asked[2][1] == collecting_module.CATCH_UP
    assert first["indicators"]["new"] == 4 * 360
    assert second["indicators"]["new"] == 4 * 10  # what was asked for again counts once


async def test_a_source_without_a_memory_is_asked_once_however_far_back(tmp_path: Path, clock: Clock) -> None:
    async with desk_at(tmp_path, clock, estate(indicators="[{kind: present}]")) as desk:
        told = await desk.collect(False, True, timeout_s=30.0, since=timedelta(days=300))
    assert len(opened("present").asked) == 1
    assert told["problems"] == ["audit.indicators[0] (present): queue1: no answer on port 9100. Is its exporter up?"]


async def test_a_source_with_a_memory_is_asked_for_long_times_in_pieces(tmp_path: Path, clock: Clock) -> None:
    text = estate(indicators="[{kind: clockwork}]", more="  every_s: 86400\n")
    async with desk_at(tmp_path, clock, text) as desk:
        await desk.collect(False, True, timeout_s=30.0, since=timedelta(days=60))
    asked = opened("clockwork").asked
    assert [start for start, _ in asked[1:]] == [end for _, end in asked[:-1]]
    assert (asked[0][0], asked[-1][1], len(asked)) == (clock.now - timedelta(days=60), clock.now, 3)


async def test_what_cannot_be_answered_says_why_and_what_next(tmp_path: Path, clock: Clock) -> None:
    async with desk_at(tmp_path, clock, estate()) as desk:
        for question, said in (
            (desk.explain("mail", "load", WEEK), '"mail" is no cluster of the estate. Clusters: queue.'),
            (desk.explain("queue", "load", WEEK), "Nothing was measured of queue yet"),
            (desk.compare("queue", WEEK), "backstay audit collect --indicators"),
            (desk.facts_diff("queue"), "0 of 4 nodes of queue have facts"),
            (desk.verify("queue-load-1"), '"queue-load-1" is no fix. Fixes: none.'),
        ):
            with pytest.raises(NotSo, match=said.replace("(", r"\(")):
                await question
        assert (await desk.clusters(WEEK))[0]["sentence"] == "Nothing was measured."
        write_example(tmp_path)
        await desk.bring_in(tmp_path / "indicators.csv")
        with pytest.raises(NotSo, match="No facts of queue: nothing to explain it with"):
            await desk.explain("queue", "load", WEEK)
        with pytest.raises(NotSo, match='No indicator "speed" of queue in the store'):
            await desk.explain("queue", "speed", WEEK)
        assert "finding" not in (await desk.compare("queue", WEEK))["indicators"][0]


async def test_a_fix_is_registered_reviewed_and_verified_at_the_desk(tmp_path: Path, clock: Clock) -> None:
    write_example(tmp_path)
    async with desk_at(tmp_path, clock, estate()) as desk:
        for name in ("facts.jsonl", "indicators.csv"):
            await desk.bring_in(tmp_path / name)
        fix = await desk.register(
            Planned(
                cluster="queue",
                indicator="load",
                fact="cpu.version",
                nodes=("queue1",),
                expected=-0.5,
                by=clock.now + WEEK,
                reason="the CPU of queue4 goes into it",
                actor="alice",
            )
        )
        clock.now += timedelta(hours=1)
        verdict = await desk.verify(fix["id"], actor="alice")
        assert [one["id"] for one in await desk.fixes()] == [fix["id"]]
        review = await desk.review(None)
    assert (verdict["outcome"], review["clusters"]) == ("waiting", ["queue"])
    assert review["problems"]  # four days are too short for a trend, and it says so
    json.dumps([fix, verdict, review], allow_nan=False)


@needs_node_exporter
async def test_facts_of_a_file_and_a_real_exporter_twice_and_then_explained(tmp_path: Path, clock: Clock) -> None:
    """node_exporter runs on one node of four: its gauges and rates are there, and nothing is claimed of one node."""
    write_example(tmp_path)
    with NodeExporter(tmp_path / "exporter", "127.0.0.11") as exporter:
        text = estate(FILES[0], f"[{{kind: exporter, port: {exporter.port}}}]").replace("192.0.2.", "127.0.0.")
        async with desk_at(tmp_path, clock, text) as desk:
            for _ in range(2):
                clock.now = datetime.now(UTC)
                told = await desk.collect(True, True, timeout_s=30.0)
            measured = [one["indicator"] for one in (await desk.compare("queue", WEEK))["indicators"]]
            load = next(name for name in measured if "load" in name)
            found = await desk.explain("queue", load, WEEK)
    assert told["indicators"]["sources"][0]["series"] > 10
    assert [problem for problem in told["problems"] if "queue1" in problem] == []
    assert all(any(node in problem for problem in told["problems"]) for node in NODES[1:])
    assert [name for name in measured if name.endswith("_total")]
    assert found["grade"] == "nothing"
    assert all(any(problem.startswith(f"{node} is left out") for problem in found["problems"]) for node in NODES[1:])


async def test_what_was_down_sampled_is_found_however_short_the_time_that_is_asked_for(
    tmp_path: Path, clock: Clock
) -> None:
    write_example(tmp_path)
    clock.now += timedelta(days=200)
    async with desk_at(tmp_path, clock, estate(*FILES)) as desk:
        await desk.bring_in(tmp_path / "indicators.csv")
        assert (await desk.collect(True, True, timeout_s=30.0))["forgotten"] > 0
        for since in (timedelta(minutes=1), timedelta(hours=1), WEEK):
            found = await desk.compare("queue", since)
            assert (len(found["indicators"]), found["step_s"]) == (3, 3600.0)
    assert "the last sample is of 2026-03-05 23:50 UTC, 201 days ago" in found["problems"]
