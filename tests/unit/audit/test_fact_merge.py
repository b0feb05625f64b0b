"""Reports of several sources of one node -> one: who wins, what stays unread, where each fact is from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backstay.audit.model import UNREAD, FactReport, FactTable
from backstay.audit.sources.merge import Merged, failed, merge
from backstay.audit.sources.names import SAME, canonical, of_card

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def report(
    source: str,
    node: str = "web1",
    unread: dict[str, str] | None = None,
    problem: str = "",
    age_h: float = 0.0,
    **values: str,
) -> FactReport:
    """`values`: "a__b" stands for "a.b"."""
    return FactReport(
        node=node,
        source=source,
        time=NOW - timedelta(hours=age_h),
        values={name.replace("__", "."): value for name, value in values.items()},
        unread=unread or {},
        problem=problem,
    )


def one(*reports: FactReport) -> Merged:
    (merged,) = merge([[each] for each in reports])
    return merged


def test_an_earlier_source_wins_and_a_later_one_fills_in() -> None:
    merged = one(report("ssh", cpu__model="V1", only="a"), report("facter", cpu__model="V2", more="b"))
    assert merged.report.values == {"cpu.model": "V1", "only": "a", "more": "b"}
    assert merged.provenance == {"cpu.model": "ssh", "only": "ssh", "more": "facter"}
    assert merged.report.source == "ssh+facter"
    assert merged.problems == ()


def test_what_the_earlier_could_not_read_the_later_tells() -> None:
    early = report("ssh", unread={"bios.version": "needs root", "memory.*": "needs root"}, cpu__model="V1")
    merged = one(early, report("puppetdb", bios__version="2.9"))
    assert merged.report.values["bios.version"] == "2.9"
    assert merged.report.unread == {"memory.*": "ssh: needs root"}


def test_what_nobody_could_read_is_unread_and_never_absent() -> None:
    """Also when the other source has some of the group: the rest of it may still be there."""
    half = one(report("ssh", unread={"bios.*": "needs root"}), report("facter", bios__version="2.9")).report
    whole = report("ssh", node="web2", bios__version="2.9", bios__revision="7")
    table = FactTable.of({"web1": half.values, "web2": whole.values}, {"web1": half.unread})
    assert table.columns["bios.revision"].codes.tolist() == [UNREAD, 0]


def test_a_node_that_one_source_cannot_reach_is_no_problem_of_the_node() -> None:
    merged = one(report("ssh", unread={"*": "refused"}, problem="web1: refused"), report("facter", a="1"))
    assert merged.report.problem == ""
    assert merged.problems == ("ssh: web1: refused",)
    assert merged.report.unread == {"*": "ssh: refused"}
    assert merged.report.source == "facter"


def test_a_node_that_no_source_can_read_is() -> None:
    merged = one(
        report("ssh", unread={"*": "x"}, problem="web1: refused"),
        report("facter", unread={"*": "y"}, problem="web1: not in the folder"),
    )
    assert merged.report.problem == "ssh: web1: refused; facter: web1: not in the folder"
    assert not merged.report.values


def test_a_source_that_failed_hides_facts_and_does_not_remove_them() -> None:
    lost = failed("puppetdb", ["web1", "web2"], "no answer in 10 s", NOW)
    merged = merge([[report("ssh", a="1"), report("ssh", node="web2", a="2")], lost])
    assert [one.report.unread for one in merged] == [{"*": "puppetdb: no answer in 10 s"}] * 2
    assert [one.report.values for one in merged] == [{"a": "1"}, {"a": "2"}]


def test_of_a_source_with_a_history_the_newest_report_counts() -> None:
    (merged,) = merge([[report("file", a="new", age_h=1.0), report("file", a="old", age_h=9.0)], []])
    assert merged.report.values == {"a": "new"}
    assert merged.report.time == NOW - timedelta(hours=1)


def test_the_time_is_that_of_the_newest_report_that_tells_something() -> None:
    late_and_empty = report("ssh", unread={"*": "x"}, problem="x")
    assert one(late_and_empty, report("file", a="1", age_h=5.0)).report.time == NOW - timedelta(hours=5)


def test_one_fact_under_several_names_is_one() -> None:
    merged = one(
        report("facter", dmi__bios__version="2.9", kernelrelease="6.1"),
        report("ansible", ansible__bios_version="2.9", ansible__kernel="6.1", ansible__eth0__mtu="1500"),
        report("ssh", unread={"bios.version": "needs root"}, kernel__release="6.1"),
    )
    assert merged.report.values == {"bios.version": "2.9", "kernel.release": "6.1", "eth0.mtu": "1500"}
    assert merged.report.unread == {}


@pytest.mark.parametrize(
    ("fact", "name"),
    [
        ("networking.interfaces.eth0.mtu", "eth0.mtu"),
        ("networking.interfaces.p4p1.mac", "nic.p4p1.mac address"),
        ("ansible.enp3s0.module", "enp3s0.driver"),
        ("ansible.default_ipv4.mtu", "ansible.default_ipv4.mtu"),
        ("osquery.interface_details.eth1.mtu", "eth1.mtu"),
        ("osquery.system_controls.vm.swappiness.current_value", "sysctl.vm.swappiness"),
        ("processors.models", "processors.models"),
        ("dmi.*", "dmi.*"),
    ],
)
def test_names_are_made_one(fact: str, name: str) -> None:
    assert canonical(fact) == name


def test_a_name_that_was_made_one_stays_so() -> None:
    assert all(canonical(name) == name for name in SAME.values())
    assert canonical(f"{of_card('p4p1')}.mtu") == "nic.p4p1.mtu"


def test_nothing_merged_is_nothing() -> None:
    assert merge([]) == ()
    assert merge([[], []]) == ()
