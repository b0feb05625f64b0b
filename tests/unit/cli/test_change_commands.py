"""drain, undrain, weight, maintenance, changes and journal, against small agents on unix sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backstay.cli.main import app
from backstay.estate import load_file
from backstay.journal import Event
from backstay.journal.store import JournalStore
from small_agent import SmallFleet

ESTATE = """
estate: test
regions: {r: {zones: {z: {}}}}
nodes:
  lb1: {zone: z, address: 10.0.0.1}
  lb2: {zone: z, address: 10.0.0.2}
  lb3: {zone: z, address: 10.0.0.3}
  web1: {zone: z, address: 10.0.1.1}
  web2: {zone: z, address: 10.0.1.2}
  web3: {zone: z, address: 10.0.1.3}
  db1: {zone: z, address: 10.0.2.1}
clusters:
  web: {members: "web*", spare: 1}
  api: {members: [web1, web2], spare: 1}
tiers:
  a: {engine: nginx, members: [lb1, lb2]}
  b: {engine: haproxy, members: [lb3]}
pools:
  web: {cluster: web, port: 80}
  api: {cluster: api, port: 81}
services:
  www: {tiers: [a], hostnames: [www.example.com], routes: [{path: /, pool: web}]}
  api: {tiers: [a, b], hostnames: [api.example.com], http_port: 81, routes: [{path: /, pool: api}]}
"""


class Cli:
    """Runs commands as a user would, and reads what they print."""

    def __init__(self, estate: Path, database_url: str) -> None:
        self._env = {"BACKSTAY_ESTATE": str(estate), "BACKSTAY_DATABASE_URL": database_url, "USER": "alice"}

    def __call__(self, *arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, arguments, env=self._env | {"SUDO_USER": ""}, input=stdin)
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "-o", "json", code=code).stdout)


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    path = tmp_path / "backstay.yaml"
    path.write_text(ESTATE)
    return path


@pytest.fixture
def fleet(estate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallFleet]:
    with tempfile.TemporaryDirectory(prefix="backstay-") as run:  # short: a socket's path has 107 bytes
        monkeypatch.setenv("BACKSTAY_RUN_DIR", run)
        with SmallFleet(load_file(estate).estate, ["lb1", "lb2", "lb3"], Path(run), tmp_path) as fleet:
            yield fleet


@pytest.fixture
def cli(estate: Path, fleet: SmallFleet, sqlite_url: str) -> Cli:
    return Cli(estate, sqlite_url)


def drained_on(fleet: SmallFleet) -> list[str]:
    return [lb for lb, agent in fleet.agents.items() if agent.book.changes]


# -- drain ------------------------------------------------------------------------------------------------------------


def test_a_drain_is_put_on_every_load_balancer_that_carries_the_node(cli: Cli, fleet: SmallFleet) -> None:
    told = cli.json("drain", "web2", "--for", "30m", "--reason", "kernel")
    assert told["reach"] == "all"
    assert [one["lb"] for one in told["load_balancers"]] == ["lb1", "lb2", "lb3"]
    for agent in fleet.agents.values():
        (change,) = agent.book.changes
        assert (change.id, change.node, change.actor, change.reason) == (
            told["change"]["id"],
            "web2",
            "alice",
            "kernel",
        )
        assert change.deadline is not None


def test_and_on_no_other(cli: Cli, fleet: SmallFleet) -> None:
    result = cli("drain", "web3", "--reason", "kernel")
    assert drained_on(fleet) == ["lb1", "lb2"]
    assert "In force on lb1, lb2, until undone. Undo: backstay changes undo" in result.stderr


def test_one_guard_that_refuses_leaves_every_load_balancer_as_it_was(cli: Cli, fleet: SmallFleet) -> None:
    fleet["lb3"].health = {("api", "web1"): False}
    result = cli("drain", "web2", "--reason", "kernel", code=5)
    assert drained_on(fleet) == []
    assert "lb3: web2 is the last active backend of pool api (out: web1)" in result.stderr
    assert "Nothing was changed on any load balancer." in result.stderr


def test_force_overrides_the_guard_and_says_what_it_overrode(cli: Cli, fleet: SmallFleet) -> None:
    fleet["lb3"].health = {("api", "web1"): False}
    result = cli("drain", "web2", "--reason", "kernel", "--force")
    assert drained_on(fleet) == ["lb1", "lb2", "lb3"]
    assert "overridden: web2 is the last active backend" in result.stderr
    assert fleet["lb3"].book.changes[0].forced


def test_a_dry_run_asks_every_guard_and_changes_nothing(cli: Cli, fleet: SmallFleet) -> None:
    result = cli("drain", "web2", "--reason", "kernel", "--dry-run")
    assert "Nothing was changed (--dry-run)." in result.stderr
    assert drained_on(fleet) == []


def test_a_load_balancer_that_does_not_answer_is_asked_about_then_said_and_can_be_finished(
    cli: Cli, fleet: SmallFleet
) -> None:
    fleet.stop("lb2")
    result = cli("drain", "web2", "--reason", "kernel", code=2)
    assert "Go on without lb2?" in result.stderr
    assert drained_on(fleet) == []

    result = cli("drain", "web2", "--reason", "kernel", "--for", "1h", "--yes", code=6)
    assert drained_on(fleet) == ["lb1", "lb3"]
    assert "It reached only lb1, lb3, not lb2." in result.stderr
    change = fleet["lb1"].book.changes[0]
    assert f"backstay changes finish {change.id}" in result.stderr

    fleet.start("lb2")
    (listed,) = cli.json("changes")
    assert listed["in_force_on"] == ["lb1", "lb3"]
    assert "lb2" in cli("changes").stdout
    cli("changes", "finish", change.id)
    assert fleet["lb2"].book.changes[0].id == change.id
    cli("changes", "finish", change.id)


def test_when_none_answers_nothing_happens(cli: Cli, fleet: SmallFleet) -> None:
    for lb in ("lb1", "lb2", "lb3"):
        fleet.stop(lb)
    result = cli("drain", "web2", "--reason", "kernel", "--yes", code=6)
    assert "Nothing was changed on any load balancer." in result.stderr


def test_waiting_ends_with_the_proof(cli: Cli, fleet: SmallFleet) -> None:
    fleet["lb1"].in_flight = 3
    result = cli("drain", "web2", "--reason", "kernel", "--wait", "--deadline", "60s")
    lines = result.stdout.splitlines()
    assert [line.split()[:7] for line in lines if line.startswith(("lb1", "all"))] == [
        ["lb1", "3", "0", "3", "0", "0", "yes"],
        ["all", "3", "0", "3", "0", "0", "yes"],
    ]


def test_waiting_in_vain_says_what_is_left_and_the_drain_stays(cli: Cli, fleet: SmallFleet) -> None:
    fleet["lb1"].in_flight = 1_000_000
    result = cli("drain", "web2", "--reason", "kernel", "--wait", "--deadline", "1s", code=1)
    assert "Not done within 1 s" in result.stderr
    assert "The drain stays in force" in result.stderr
    assert drained_on(fleet) == ["lb1", "lb2", "lb3"]


def test_requests_that_were_cut_are_a_finding(cli: Cli, fleet: SmallFleet) -> None:
    fleet["lb2"].cut = 2
    assert "2 requests were cut or refused." in cli("drain", "web2", "--reason", "kernel", "--wait", code=3).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("drain", "web9", "--reason", "r"), '"web9" is no node'),
        (("drain", "db1", "--reason", "r"), "db1 serves in no pool"),
        (("drain", "web3", "--pool", "api", "--reason", "r"), "web3 does not serve in pool api"),
        (("drain", "web2", "--reason", "r", "--for", "soon"), "is no duration"),
        (("drain", "web2", "--reason", "r", "--for", "40d"), "30 days at most"),
        (("drain", "web2", "--reason", "a\nb"), "change.reason"),
        (("drain", "WEB 2", "--reason", "r"), "change.node"),
        (("weight", "web2", "0", "--reason", "r"), "change.factor"),
        (("weight", "web2", "nan", "--reason", "r"), "change.factor"),
        (("drain", "web2"), "--reason"),
        (("maintenance", "web2", "--reason", "r"), "--for"),
        (("undrain", "web9"), '"web9" is no node'),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    assert words in cli(*arguments, code=2).stderr


# -- undrain, weight, maintenance, changes ----------------------------------------------------------------------------


def test_undrain_ends_every_drain_and_maintenance_of_the_node_and_nothing_else(cli: Cli, fleet: SmallFleet) -> None:
    cli("drain", "web2", "--reason", "kernel")
    cli("maintenance", "web2", "--for", "1h", "--reason", "disk")
    cli("weight", "web2", "0.5", "--reason", "slow")
    cli("undrain", "web2", "--dry-run")
    assert len(fleet["lb3"].book.changes) == 3
    rows = cli.json("undrain", "web2")
    assert [(row["load balancer"], row["result"]) for row in rows] == [
        (lb, "done") for _ in range(2) for lb in ("lb1", "lb2", "lb3")
    ]
    assert [change.kind for change in fleet["lb3"].book.changes] == ["weight"]
    assert "Nothing to undo" in cli("undrain", "web2").stderr


def test_undrain_of_one_pool_leaves_a_drain_of_all_pools_and_says_so(cli: Cli, fleet: SmallFleet) -> None:
    cli("drain", "web2", "--reason", "kernel")
    result = cli("undrain", "web2", "--pool", "api", code=2)
    assert "drained in all of its pools" in result.stderr
    assert len(fleet["lb3"].book.changes) == 1


def test_a_drain_of_one_pool_is_undrained_by_pool(cli: Cli, fleet: SmallFleet) -> None:
    cli("drain", "web2", "--pool", "api", "--reason", "kernel")
    cli("undrain", "web2", "--pool", "api")
    assert drained_on(fleet) == []


def test_changes_are_listed_shown_and_undone(cli: Cli, fleet: SmallFleet) -> None:
    assert cli.json("changes") == []
    cli("weight", "web2", "0.5", "--reason", "slow disk", "--for", "2h")
    (listed,) = cli.json("changes")
    assert (listed["kind"], listed["factor"], listed["in_force_on"]) == ("weight", 0.5, ["lb1", "lb2", "lb3"])
    table = cli("changes").stdout
    for word in ("weight 0.5", "web2", "alice", "slow disk", "lb1, lb2, lb3"):
        assert word in table
    assert "in 2h" in table or "in 1h 59m" in table
    assert "slow disk" in cli("changes", "show", listed["id"]).stderr
    cli("changes", "undo", listed["id"], "--reason", "better")
    assert drained_on(fleet) == []
    assert cli.json("changes") == []
    (ended,) = cli.json("changes", "--ended")
    assert (ended["ended"]["by"], ended["ended"]["actor"], ended["ended"]["reason"]) == ("undone", "alice", "better")
    assert "Nothing to undo" in cli("changes", "undo", listed["id"]).stderr


@pytest.mark.parametrize("verb", ["show", "undo", "finish"])
def test_a_change_that_nobody_knows_is_told(cli: Cli, verb: str) -> None:
    assert "knows a change unknown-id" in cli("changes", verb, "unknown-id", code=1).stderr


# -- journal ----------------------------------------------------------------------------------------------------------


def test_the_journal_is_collected_from_the_agents_and_tells_the_drain(cli: Cli, fleet: SmallFleet) -> None:
    cli("drain", "web2", "--reason", "kernel")
    assert cli.json("journal", "tail", "--offline") == []
    events = cli.json("journal", "tail")
    assert [(event["kind"], event["subject"], event["actor"]) for event in events] == [
        ("drain.started", "node/web2", "alice")
    ] * 3
    assert fleet["lb1"].spool.waiting == 0
    table = cli("journal", "tail", "--kind", "drain.*", "--since", "1h").stdout
    assert table.count("kernel") == 3
    assert cli.json("journal", "tail", "--actor", "bob") == []
    shown = cli.json("journal", "show", events[0]["id"])
    assert (shown["reason"], shown["causes"], shown["effects"]) == ("kernel", [], [])
    assert cli.json("journal", "verify")["events"] == 3


def test_agents_that_do_not_answer_are_told_and_the_rest_is_shown(cli: Cli, fleet: SmallFleet) -> None:
    cli("drain", "web2", "--reason", "kernel")
    fleet.stop("lb2")
    result = cli("journal", "tail")
    assert result.stdout.count("drain.started") == 2
    assert "lb2: " in result.stderr
    rows = cli.json("journal", "collect", code=6)
    assert {row["load balancer"]: row["result"] for row in rows} == {"lb1": "done", "lb2": "unreachable", "lb3": "done"}


def test_following_prints_what_is_there_and_then_what_comes(sqlite_url: str) -> None:
    def event(number: int) -> Event:
        return Event(id=f"event{number:08}", time=datetime.now(UTC), kind="a.b", subject="s", actor="a", reason="r")

    # A shell starts what runs in the background with SIGINT ignored, and children inherit that.
    heeds_sigint = ["env", "--default-signal=INT", sys.executable]
    command = [*heeds_sigint, "-m", "backstay.cli.main", "journal", "tail", "-f", "--database-url", sqlite_url]
    with JournalStore.open(sqlite_url) as store:
        store.append(event(1))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert "event00000001" in process.stdout.readline()
            store.append(event(2))
            assert "event00000002" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait(timeout=60)


def test_verify_ends_with_3_and_names_the_broken_link(cli: Cli, sqlite_url: str) -> None:
    import sqlite3

    cli("drain", "web2", "--reason", "kernel")
    cli("journal", "collect")
    head = cli.json("journal", "verify")["head"]
    cli("journal", "verify", "--expect", head)
    cli("journal", "verify", "--expect", "f" * 64, code=3)
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("DROP TRIGGER journal_link_no_update")
        connection.execute("UPDATE journal_link SET reason='disk' WHERE seq=2")
    found = cli.json("journal", "verify", code=3)
    assert (found["whole"], found["link"], found["fault"]) == (False, 2, "altered")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tail", "--since", "yesterday"), 2, "is no time"),
        (("show", "unknown-id"), 1, "No event unknown-id"),
        (("verify", "--database-url", "mysql://root:secret@db/x"), 1, "is no database URL"),
        (("verify", "--database-url", "nonsense"), 1, "is no database URL"),
        (("verify", "--database-url", "sqlite:////proc/nowhere/j.db"), 1, "Name another place"),
    ],
)
def test_a_wrong_journal_command_says_what_is_wrong(
    cli: Cli, arguments: tuple[str, ...], code: int, words: str
) -> None:
    stderr = cli("journal", *arguments, code=code).stderr
    assert words in stderr
    assert "secret" not in stderr
