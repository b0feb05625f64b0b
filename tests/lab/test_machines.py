"""The lab's machines from within: what an exporter would tell, and what follows when somebody changes a CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rig import Rig, poll, run
from typer.testing import CliRunner, Result

from backstay.cli.main import app
from backstay.lab.keeper.client import call
from backstay.lab.machines.parts import Cpu
from backstay.lab.machines.record import cpus
from backstay.lab.model import LabError
from backstay.lab.plan.layout import NODE_PORT

pytest.importorskip("numpy", reason="needs numpy: pip install backstay[audit]")
PAST = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def as_it_came(rig: Rig) -> Iterator[None]:
    yield
    run(call(rig.folder, "clock", at=None))
    run(call(rig.folder, "cpu", names=[machine.name for machine in rig.folder.layout.machines], cpu=None))


def told(rig: Rig, node: str) -> dict[str, float]:
    """What the node tells whoever scrapes it; of metrics with labels the last sample."""
    (answer,) = rig.ask(f"http://{rig.folder.layout.host(node).address}:{NODE_PORT}/metrics")
    assert answer["status"] == 200, answer["body"]
    families = text_string_to_metric_families(answer["body"])
    return {sample.name: sample.value for family in families for sample in family.samples}


def facts(rig: Rig, node: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((rig.folder.facts / f"{node}.json").read_text())
    return found


def test_every_node_tells_of_its_machine(rig: Rig) -> None:
    for machine in rig.folder.layout.machines:
        assert told(rig, machine.name)["node_load1"] > 0.0
        assert facts(rig, machine.name)["cpu"]["version"] == machine.cpu


def test_another_cpu_alters_facts_and_load_and_heals(rig: Rig) -> None:
    run(call(rig.folder, "clock", at=PAST.isoformat()))
    before = told(rig, "queue1")
    run(call(rig.folder, "cpu", names=["queue1"], cpu="V3"))
    after = told(rig, "queue1")
    assert after["node_load1"] == pytest.approx(before["node_load1"] / 2.4, rel=0.02)
    assert after["node_boot_time_seconds"] == PAST.timestamp()
    assert facts(rig, "queue1")["cpu"]["version"] == "V3"
    assert {machine.name: cpu for machine, cpu in cpus(rig.folder)}["queue1"] is Cpu.V3
    run(call(rig.folder, "cpu", names=["queue1"], cpu=None))
    assert told(rig, "queue1")["node_load1"] == before["node_load1"]
    assert facts(rig, "queue1")["cpu"]["version"] == "V1"


def test_the_clock_stands_where_it_was_stopped_and_goes_again(rig: Rig) -> None:
    run(call(rig.folder, "clock", at=PAST.isoformat()))
    assert told(rig, "web1") == told(rig, "web1")
    assert told(rig, "web1")["node_time_seconds"] == PAST.timestamp()
    run(call(rig.folder, "clock", at=None))
    now = datetime.fromtimestamp(told(rig, "web1")["node_time_seconds"], UTC)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=5)


def test_the_command_shows_changes_and_heals(rig: Rig) -> None:
    def lab_cpu(*words: str) -> Result:
        return CliRunner().invoke(app, ["lab", "cpu", *words, "--state-dir", str(rig.folder.path.parent)])

    assert lab_cpu("queue1", "V3").exit_code == 0
    rows = {row["node"]: row for row in json.loads(lab_cpu("-o", "json").stdout)}
    assert (rows["queue1"]["cpu"], rows["queue1"]["came with"]) == ("V3", "V1")
    assert (lab_cpu("queue1", "V9").exit_code, lab_cpu("queue1").exit_code) == (2, 2)
    assert lab_cpu("web9", "V3").exit_code == 1
    assert lab_cpu("heal", "queue1").exit_code == 0
    assert {row["cpu"] for row in json.loads(lab_cpu("-o", "json").stdout) if row["node"] == "queue1"} == {"V1"}


def test_a_node_that_there_is_not_has_no_cpu(rig: Rig) -> None:
    with pytest.raises(LabError, match=r'"web9" is no node of this lab\. There are: lb1, lb2, web1'):
        run(call(rig.folder, "cpu", names=["web9"], cpu="V3"))


def test_a_crashed_node_tells_nothing_and_the_same_again_when_it_is_back(rig: Rig) -> None:
    run(call(rig.folder, "clock", at=PAST.isoformat()))
    before = told(rig, "queue2")
    rig.fault("crash", "queue2")
    address = rig.folder.layout.host("queue2").address
    (answer,) = rig.ask(f"http://{address}:{NODE_PORT}/metrics")
    assert answer["status"] == 0
    rig.heal("queue2")
    assert poll(lambda: rig.ask(f"http://{address}:{NODE_PORT}/anything")[0]["status"] == 404)
    assert told(rig, "queue2") == before
