"""What tools write: Facter, Ansible (old and new caches), osquery's tables and result log; what they leave out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.audit.model import FactReport
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources import ansible, facter, file, osquery, puppetdb, ssh
from backstay.audit.sources.osquery.log import Log
from backstay.audit.sources.osquery.rows import facts_of_rows, table_of
from backstay.audit.sources.reports import fresh, names_of, which
from backstay.audit.sources.tools import ansible as of_ansible
from backstay.audit.sources.tools import facter as of_facter

NOW = datetime(2026, 3, 10, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


# Facter and Ansible


def test_facter_without_root_may_have_missed_what_only_root_reads() -> None:
    values, unread = of_facter({"identity": {"privileged": False}, "kernel": "Linux"})
    assert values["kernel"] == "Linux"
    assert {"dmi.*", "bios.*", "system.*"} <= unread.keys()
    assert of_facter({"identity": {"privileged": True}})[1] == {}


ANSIBLE = {
    "ansible_kernel": "6.1",
    "ansible_bios_version": "NA",
    "ansible_env": {"PASSWORD": "hunter2"},
    "ansible_date_time": {"epoch": "1"},
    "gather_subset": ["all"],
    "module_setup": True,
}


@pytest.mark.parametrize(
    "content",
    [ANSIBLE, {"ansible_facts": ANSIBLE, "changed": False}, {"__payload__": json.dumps(ANSIBLE)}],
    ids=["cache", "tree", "cache of 2.19"],
)
def test_every_form_of_ansible_gives_the_same_facts(content: dict[str, Any]) -> None:
    values, unread = of_ansible(content)
    assert values == {"ansible.kernel": "6.1"}  # no environment of whoever ran it, and not when
    assert unread == {"ansible.bios_version": "needs root"}


@pytest.mark.parametrize(
    ("subset", "partly"),
    [
        (["all"], False),
        (["all", "!facter", "!ohai"], False),
        (["all", "!hardware"], True),
        (["network"], True),
        (5, True),
    ],
)
def test_ansible_that_gathered_a_part_leaves_the_rest_unread(subset: Any, partly: bool) -> None:
    assert ("ansible.*" in of_ansible({"ansible_kernel": "6.1", "gather_subset": subset})[1]) is partly


@given(JSON)
def test_nonsense_is_told_never_a_traceback(content: Any) -> None:
    for reader in (of_facter, of_ansible, osquery.source.tables):
        try:
            values, _ = reader(content)
        except ValueError as error:
            assert str(error)
        else:
            assert all(fact.isprintable() and value.isprintable() for fact, value in values.items())


# osquery


def test_rows_have_facts_by_their_key() -> None:
    rows = [{"name": "openssl", "version": "1"}, {"name": "bash", "version": "5"}, {"name": "bash", "version": "4"}]
    assert facts_of_rows("rpm_packages", rows) == {
        "osquery.rpm_packages.openssl.version": "1",
        "osquery.rpm_packages.bash.version": "4, 5",
    }
    assert facts_of_rows("system_info", [{"cpu_brand": "V1", "board_serial": ""}]) == {
        "osquery.system_info.cpu_brand": "V1"
    }


def test_the_order_of_rows_makes_no_difference() -> None:
    rows = [{"a": "2"}, {"a": "1"}]
    assert facts_of_rows("t", rows) == facts_of_rows("t", rows[::-1]) == {"osquery.t.a": "1, 2"}


def test_secrets_of_the_kernel_are_not_kept() -> None:
    rows = [
        {"name": "net.ipv4.tcp_fastopen_key", "current_value": "x"},
        {"name": "vm.swappiness", "current_value": "1"},
    ]
    assert list(facts_of_rows("system_controls", rows)) == ["osquery.system_controls.vm.swappiness.current_value"]


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("system_info", "system_info"),
        ("pack_hardware_system_info", "system_info"),
        ("pack/inventory/rpm_packages", "rpm_packages"),
        ("my_query", "my_query"),
        ("mysystem_info", "mysystem_info"),
    ],
)
def test_a_packs_query_is_known_by_its_table(query: str, table: str) -> None:
    assert table_of(query) == table


def line(**more: Any) -> dict[str, Any]:
    return {"name": "q", "hostIdentifier": "web1", "unixTime": "100", "epoch": "0", "counter": "0"} | more


def rows(log: Log) -> list[Any]:
    return list(log.hosts["web1"].queries["q"].rows.values())


def test_differences_add_up_and_a_snapshot_replaces_all() -> None:
    log = Log()
    log.add(line(action="added", columns={"name": "a"}))
    log.add(line(action="added", columns={"name": "b"}))
    log.add(line(counter="1", unixTime="200", diffResults={"added": [{"name": "c"}], "removed": [{"name": "a"}]}))
    assert rows(log) == [{"name": "b"}, {"name": "c"}]
    assert log.hosts["web1"].queries["q"].whole
    assert log.hosts["web1"].time_s == 200.0
    log.add(line(action="snapshot", snapshot=[{"name": "z"}]))
    assert rows(log) == [{"name": "z"}]


def test_a_log_that_begins_in_the_middle_is_not_whole_until_the_next_epoch() -> None:
    log = Log()
    log.add(line(counter="7", action="added", columns={"name": "a"}))
    assert not log.hosts["web1"].queries["q"].whole
    log.add(line(epoch="1", counter="0", action="added", columns={"name": "b"}))
    assert log.hosts["web1"].queries["q"].whole
    assert rows(log) == [{"name": "b"}]


@pytest.mark.parametrize(
    "bad",
    [
        [], {}, {"name": "q"}, line(unixTime="soon", action="snapshot", snapshot=[]), line(action="exploded"),
        line(action="added"), line(action="added", columns=[1]), line(diffResults={"added": "x"}), line(snapshot={}),
    ],
)  # fmt: skip
def test_a_line_that_is_no_result_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"no result|unixTime|neither|rows"):
        Log().add(bad)


# Names and ages


def test_a_node_is_known_by_its_name_or_by_its_first_label() -> None:
    known = ["web1.example.com", "web2", "web2.example.com", "db.a.example.com", "db.b.example.com"]
    found = names_of(["web1", "web2", "db", "web9"], known)
    assert found == {
        "web1": ("web1.example.com",),
        "web2": ("web2",),
        "db": ("db.a.example.com", "db.b.example.com"),
        "web9": (),
    }
    assert which("web2", found["web2"], "PuppetDB") == ""
    assert "any of db.a.example.com, db.b.example.com in PuppetDB may be it" in which("db", found["db"], "PuppetDB")
    assert "not in PuppetDB" in which("web9", found["web9"], "PuppetDB")


def test_facts_that_are_too_old_claim_nothing() -> None:
    report = FactReport(node="web1", source="puppetdb", time=NOW - timedelta(days=8), values={"a": "1"})
    old = fresh(report, NOW, 7 * 86_400.0)
    assert not old.values
    assert "8 days" in old.problem
    assert old.unread == {"*": old.problem}
    assert fresh(report, NOW - timedelta(days=2), 7 * 86_400.0) is report


def test_a_clock_that_is_ahead_says_now() -> None:
    report = FactReport(node="web1", source="puppetdb", time=NOW + timedelta(hours=1), values={"a": "1"})
    assert fresh(report, NOW, 60.0).time == NOW


# Settings

AROUND = Surroundings(addresses={"web1": "127.0.0.1"}, base=Path("/nonexistent"), clock=lambda: NOW)
KEY: dict[str, Any] = {"key": {"file": "key"}, "known_hosts": "known_hosts"}


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (ssh, {}, "source ssh: key: missing; known_hosts: missing. Its keys: key, known_hosts, user"),
        (ssh, KEY | {"prot": 22}, "source ssh: prot: unknown here"),
        (ssh, KEY | {"key": "-----BEGIN"}, "never the secret itself"),
        (ssh, KEY | {"port": 0}, "source ssh: port: "),
        (ssh, KEY | {"user": "a; reboot"}, "source ssh: user: "),
        (facter, {"path": "x", "user": "y"}, "source facter: user: unknown here"),
        (facter, KEY | {"command": []}, "source facter: command: "),
        (puppetdb, {}, "source puppetdb: url: missing"),
        (puppetdb, {"url": "puppetdb:8081"}, "write it as https://HOST:PORT"),
        (puppetdb, {"url": "https://u:p@h/"}, "write it as https://HOST:PORT"),
        (puppetdb, {"url": "https://h", "certificate": "c.pem"}, "certificate and key go together"),
        (puppetdb, {"url": "https://h", "token": "abc"}, "never the secret itself"),
        (ansible, {"path": ""}, "source ansible: path: "),
        (ansible, {"path": "x", "max_age_s": 0}, "source ansible: max_age_s: "),
        (osquery, {"path": "x", "sql": "y"}, "source osquery: sql: unknown here"),
        (file, {}, "source file: path: missing"),
    ],
)
def test_settings_that_are_wrong_are_told_by_key(kind: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError) as error:
        kind.facts(settings, AROUND)
    assert said in str(error.value)
    assert "BEGIN" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (ssh, KEY, "no file /nonexistent/known_hosts. Make it: ssh-keyscan"),
        (facter, {"path": "facts"}, "/nonexistent/facts: no folder"),
        (osquery, {"path": "results.log"}, "No such file"),
        (puppetdb, {"url": "https://127.0.0.1:9", "token": {"env": "BACKSTAY_NO_SUCH"}}, "is not set"),
        (puppetdb, {"url": "https://127.0.0.1:9", "ca": "ca.pem"}, "ca: /nonexistent/ca.pem"),
    ],
)
async def test_a_source_that_lacks_what_it_needs_says_so(kind: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError) as error:
        await kind.facts(settings, AROUND).read(["web1"], timeout_s=20.0)
    assert said in str(error.value)
