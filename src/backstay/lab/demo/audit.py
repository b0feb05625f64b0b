"""The chapter on the audit: four queue workers that ought to be alike, and what the audit finds before and after.

Weeks pass in seconds: the lab's machines are a model that knows any moment, and the lab's clock is stopped in the past
and moved on by hours, until it is the real one again. All else is real: the exporters are asked over HTTP, Facter's
files are read, the store is the audit's own, and the desk is what the command line and the server ask. What it claims
is held against what the lab knows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

from backstay.audit.planned import Planned
from backstay.lab.demo.office import Office
from backstay.lab.demo.scene import Scene
from backstay.lab.hosts.collector import EVERY
from backstay.lab.keeper.client import call
from backstay.lab.machines.parts import Cpu, Machine, Swap
from backstay.lab.model import LabError

CLUSTER = "queue"
CONTROL = "web"  # its machines are alike: nothing may be claimed of it
LOAD = "load"
DROPS = "network_receive_drops_total"
VERSION = "cpu.version"
BEST = Cpu.V3
HISTORY = timedelta(days=28)  # before anybody collected, from files
LOOK = timedelta(days=1)  # collected before anything is changed
BETWEEN = timedelta(days=1)  # from one change to the next
LAST = timedelta(days=4)  # after the last one
WITHIN = 3 * EVERY  # a step is dated by what was measured around it
AGREE = timedelta(days=3)  # looked at when all is changed
TIME = "%d %b %H:%M"
UNCLAIMED = frozenset({"nothing"})
COLUMNS = {  # of the history: indicator, as the exporters' are called -> field of a reading
    LOAD: "load",
    DROPS: "drops",
    "network_receive_bytes_total": "received",
    "network_transmit_bytes_total": "sent",
    "tcp_retransmits_total": "retransmits",
    "context_switches_total": "switches",
    "cpu_busy_seconds_total": "busy_s",
    "cpu_idle_seconds_total": "idle_s",
    "cpu_softirq_seconds_total": "softirq_s",
    "cpu_user_seconds_total": "user_s",
    "cpu_system_seconds_total": "system_s",
    "memory_used_bytes": "memory_used",
}
EXTRA = ("numpy", "scipy", "duckdb")


async def audit(scene: Scene) -> None:
    """The CPUs of the queue workers are of three versions: found, made equal one by one, and proven."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise LabError(f'The audit needs {", ".join(missing)}: pip install "backstay[audit]".')
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    office = Office(scene, end - LAST - 2 * BETWEEN - LOOK)
    scene.say("Audit: four queue workers that ought to be alike, and are not. Time is moved: the lab's clock goes back")
    scene.say("five weeks, and comes forth again.")
    try:
        await _history(office, office.now)
        await office.days(LOOK)
        await _explained(office)
        await _control(office, "before")
        fixes = await _registered(office)
        await _changed(office)
        await _verified(office, fixes)
        await _agreed(office)
        await _control(office, "after")
        await _reviewed(office)
    finally:
        await call(scene.lab.folder, "clock", at=None)
    await office.hand_over()


async def _history(office: Office, until: datetime) -> None:
    """Four weeks before anybody collected, as files that are imported."""
    from backstay.lab.machines.behave import Model
    from backstay.lab.machines.told import facts_lines, indicator_lines

    machines = [machine for machine in office.folder.layout.machines if machine.cluster]
    model = Model(office.folder.machines().epoch)
    start = until - HISTORY
    times = [start + step * EVERY for step in range(HISTORY // EVERY + 1)]
    columns = {**{machine.work: "work_rate" for machine in machines}, **COLUMNS}
    facts, indicators = office.folder.path / "history.jsonl", office.folder.path / "history.csv"
    facts.write_text("\n".join(facts_lines(model, machines, start, {})) + "\n", encoding="utf-8")
    indicators.write_text("\n".join(indicator_lines(model, machines, columns, times)) + "\n", encoding="utf-8")
    async with office.desk() as desk:
        for file in (facts, indicators):
            office.scene.say(f"The desk is asked: audit import {file.name}")
            await desk.bring_in(file)


async def _explained(office: Office) -> None:
    """What the audit says of load and drops before anything is changed, and what it would try."""
    truth = office.by_cpu(CLUSTER)
    for indicator in (LOAD, DROPS):
        office.scene.say(f"The desk is asked: audit explain {CLUSTER} {indicator}")
        begun = time.monotonic()
        async with office.desk() as desk:
            found = await desk.explain(CLUSTER, indicator, HISTORY)
        first = found["hypotheses"][0]
        named = [fact["fact"] for fact in first["facts"]]
        office.claim(
            begun,
            about=f"{indicator} of {CLUSTER}",
            asked="explain",
            claimed=found["sentence"],
            grade=found["grade"],
            truth="the CPU: " + " | ".join(f"{cpu} {', '.join(nodes)}" for cpu, nodes in truth.items()),
            # Four nodes in one look are worth no more, however right it is.
            passed=_same(first["groups"], truth.values()) and VERSION in named and found["grade"] == "consistent",
        )
        for experiment in found["experiments"][:1]:
            office.scene.say(f"    the cheapest experiment: {experiment['detail']}")


async def _control(office: Office, when: str) -> None:
    """A cluster whose machines are alike: nothing may be claimed of it."""
    office.scene.say(f"The desk is asked: audit compare {CONTROL}")
    begun = time.monotonic()
    async with office.desk() as desk:
        rows = (await desk.compare(CONTROL, HISTORY))["indicators"]
    claimed = [row for row in rows if row["finding"]["grade"] not in UNCLAIMED]
    office.claim(
        begun,
        about=f"{CONTROL}, {when}",
        asked="compare",
        claimed="; ".join(row["finding"]["sentence"] for row in claimed) or f"nothing, in {len(rows)} indicators",
        grade=claimed[0]["finding"]["grade"] if claimed else "nothing",
        truth=f"{len(office.machines(CONTROL))} machines that are alike",
        passed=bool(rows) and not claimed,
    )


async def _registered(office: Office) -> list[str]:
    """What will be changed and what is expected of it, before it is done. The ids."""
    ids = []
    async with office.desk() as desk:
        for indicator in (LOAD, DROPS):
            fix = await desk.register(
                Planned(
                    cluster=CLUSTER,
                    indicator=indicator,
                    fact=VERSION,
                    nodes=tuple(machine.name for machine in _old(office)),
                    value=str(BEST),
                    expected=None,
                    by=office.now + timedelta(days=3),
                    reason="CPUs made equal",
                    actor="demo",
                )
            )
            ids.append(fix["id"])
            office.scene.say(f"Registered: fix {fix['id']}: {VERSION} will be {BEST}, {indicator} equal to the peers")
    return ids


async def _changed(office: Office) -> None:
    """One CPU after the other, with a day between, and some days after the last."""
    swaps = [
        Swap(machine=machine.name, cpu=BEST, time=office.now + at * BETWEEN) for at, machine in enumerate(_old(office))
    ]
    await office.days((len(swaps) - 1) * BETWEEN + LAST, swaps)


async def _verified(office: Office, fixes: Sequence[str]) -> None:
    """Did what was expected come, on the changed nodes, with the change?"""
    truth = ", ".join(f"{cpu} in {len(nodes)}" for cpu, nodes in office.by_cpu(CLUSTER).items())
    for fix in fixes:
        office.scene.say(f"The desk is asked: audit fix verify {fix}")
        begun = time.monotonic()
        async with office.desk() as desk:
            found = await desk.verify(fix)
        office.claim(
            begun,
            about=f"fix {fix}",
            asked="fix verify",
            claimed=found["sentence"],
            grade=found["outcome"],
            truth=f"the CPU was changed, nothing else: {truth}",
            passed=found["outcome"] == "confirmed",
        )


async def _agreed(office: Office) -> None:
    """The loads agree, and the drops are gone."""
    for indicator in (LOAD, DROPS):
        office.scene.say(f"The desk is asked: audit explain {CLUSTER} {indicator}, of the last {AGREE.days} days")
        begun = time.monotonic()
        async with office.desk() as desk:
            found = await desk.explain(CLUSTER, indicator, AGREE)
        office.claim(
            begun,
            about=f"{indicator} of {CLUSTER}, after",
            asked="explain",
            claimed=found["sentence"],
            grade=found["grade"],
            truth="one CPU in all of them",
            passed=found["grade"] in UNCLAIMED,
        )


async def _reviewed(office: Office) -> None:
    """The week's review: each worker's load fell when its CPU was changed. Nothing is blamed in the other cluster."""
    office.scene.say("The desk is asked: audit review")
    begun = time.monotonic()
    async with office.desk() as desk:
        found = await desk.review(office.now)
    swapped = {swap.machine: swap.time for swap in office.folder.machines().swaps}
    fell = _fell(found["findings"], swapped)
    for node, step in fell.items():
        office.scene.say(f"  {node}: {LOAD} fell about {step.time:{TIME}}, beside {step.fact}")
    missed = "".join(f"; of {node} nothing" for node in swapped if node not in fell)
    others = [one for one in found["findings"] if one["cluster"] != CLUSTER]
    office.claim(
        begun,
        about=f"the week of {CLUSTER}",
        asked="review",
        claimed="; ".join(f"{node}: {LOAD} fell {step.time:{TIME}}" for node, step in fell.items())
        + f"{missed}; {len(others)} of {len(found['findings'])} findings are of {CONTROL}",
        grade=", ".join(sorted({step.grade for step in fell.values()})) or "nothing",
        truth="; ".join(f"{node}: another CPU {at:{TIME}}" for node, at in swapped.items()),
        # Of four nodes three change within three days, each also a peer of the others: the noise of some weeks hides
        # one of them, and the row says so. A date that is wrong would be another matter.
        passed=2 * len(fell) > len(swapped)
        and all(abs(step.time - swapped[node]) <= WITHIN for node, step in fell.items())
        # One of twenty findings may be false, and says "differs". Naming a cause is another matter.
        and all(one["grade"] == "differs" for one in others),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node's load fell, as the review has it, beside a fact of that node that changed."""

    time: datetime
    fact: str
    grade: str


def _fell(findings: Sequence[Mapping[str, Any]], swapped: Mapping[str, datetime]) -> dict[str, Step]:
    """Of each changed node the step that is nearest to the change of its CPU."""
    found: dict[str, Step] = {}
    for one in findings:
        node = one["node"]
        if node not in swapped or one["indicator"] != LOAD:
            continue
        for change in one["changes"]:
            facts = [about["what"] for about in change["coincides"] if about["same_node"] and about["fact"]]
            step = Step(time=datetime.fromisoformat(change["time"]), fact=", ".join(facts[:1]), grade=one["grade"])
            nearer = node not in found or abs(step.time - swapped[node]) < abs(found[node].time - swapped[node])
            if change["size"] < 0.0 and facts and nearer:
                found[node] = step
    return found


def _old(office: Office) -> list[Machine]:
    """The workers whose CPU is to be changed."""
    return [machine for machine in office.machines(CLUSTER) if machine.cpu is not BEST]


def _same(groups: Iterable[Iterable[str]], others: Iterable[Iterable[str]]) -> bool:
    """The same nodes together, in whatever order."""
    return {frozenset(group) for group in groups} == {frozenset(group) for group in others}
