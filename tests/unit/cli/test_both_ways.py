"""One table of commands, run against the agents and by way of a server: they print the same and end alike."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backstay.cli.main import app
from backstay.estate import load_text
from followed_server import FollowedServer, ToldAgent
from small_agent import SmallFleet

ESTATE = """
estate: test
providers:
  softlayer: {kind: softlayer, username: {env: SL_USER}, api_key: {env: SL_KEY}}
regions: {r: {provider: softlayer, zones: {z: {}}}}
nodes:
  lb1: {zone: z, address: 10.0.0.1}
  lb2: {zone: z, address: 10.0.0.2}
  lb3: {zone: z, address: 10.0.0.3}
  web1: {zone: z, address: 10.0.1.1}
  web2: {zone: z, address: 10.0.1.2}
  web3: {zone: z, address: 10.0.1.3}
clusters:
  web: {members: "web*", spare: 1}
  api: {members: [web1, web2], spare: 1}
global_ips:
  www: {provider: softlayer, address: 203.0.113.10, candidates: [lb1, lb2]}
tiers:
  a: {engine: nginx, members: [lb1, lb2], global_ip: www}
  b: {engine: haproxy, members: [lb3]}
pools:
  web: {cluster: web, port: 80}
  api: {cluster: api, port: 81}
services:
  www: {tiers: [a], hostnames: [www.example.com], routes: [{path: /, pool: web}]}
  api: {tiers: [a, b], hostnames: [api.example.com], http_port: 81, routes: [{path: /, pool: api}]}
"""

# {id}: of the change that was put last. In their order, on one estate.
COMMANDS = [
    "status",
    "pool list",
    "pool show web",
    "pool explain web",
    "ip list",
    "ip show www",
    "ip explain www",
    "ip explain www --lb lb2",
    "ip history www",
    "changes",
    "drain web9 --reason why --yes",
    "drain web2 --reason why --dry-run",
    "drain web2 --reason why --for 30m",
    "drain web1 --reason why",  # refused: the api pool would have nobody left
    "changes",
    "changes -o json",
    "changes show {id}",
    "changes finish {id}",
    "pool show web",
    "weight web3 0.5 --pool web --reason half --for 2h",
    "changes undo {id} --reason enough",
    "changes --ended",
    "undrain web2 --dry-run",
    "undrain web2 --reason back",
    "undrain web2",
    "maintenance web2 --reason kernel --for 1h --wait",
    "changes undo {id}",
    "changes show no-such-change",
    "changes undo no-such-change",
    "ip freeze www --for 1h --reason network",
    "ip rearm www lb2 --reason looked",
    "ip rearm www lb2 --reason looked --false-alarm",
    "ip move www --to lb2 --reason planned --yes",
    "ip list",
    "ip show www",
    "ip move www --to lb3 --reason planned --yes",
    "status --lb lb3",
    "status -o json",
]
READS = ("status", "pool", "ip list", "ip show", "ip explain")
DEADLINE_S = 20.0


class Cli:
    def __init__(self, **env: str) -> None:
        self._env = {"USER": "alice", "SUDO_USER": "", "BACKSTAY_SERVER": "", "BACKSTAY_TOKEN": "", **env}

    def __call__(self, *arguments: str, code: int | None = None, **env: str) -> Result:
        result = CliRunner().invoke(app, arguments, env=self._env | env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert code in (None, result.exit_code), (result.exit_code, result.stdout, result.stderr)
        return result


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    (tmp_path / "backstay.yaml").write_text(ESTATE)
    estate = load_text(ESTATE, "backstay.yaml", tmp_path).estate
    holders: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="backstay-") as run:  # short: a socket's path has 107 bytes
        monkeypatch.setenv("BACKSTAY_RUN_DIR", run)

        def make(lb: str, estate: Any, folder: Path) -> ToldAgent:
            agent = ToldAgent(lb, estate, folder, holders)
            agent.revision = 1  # that it follows, were it asked by way of a server
            return agent

        with SmallFleet(estate, ["lb1", "lb2", "lb3"], Path(run), tmp_path / "direct", make):
            yield Cli(BACKSTAY_ESTATE=str(tmp_path / "backstay.yaml"))


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[FollowedServer]:
    with FollowedServer(tmp_path, ESTATE) as server:
        yield server


@pytest.fixture
def served(followed: FollowedServer, tmp_path: Path) -> Cli:
    token = tmp_path / "token"
    token.write_text(followed.token + "\n")
    return Cli(BACKSTAY_SERVER=followed.url, BACKSTAY_TOKEN_FILE=str(token))


def plain(text: str) -> list[str]:
    """What is printed, without what no two runs share: ids, times, widths of columns, how far a server counts."""
    for pattern, word in (
        (r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "ID"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "TIME"),
        (r"token/alice", "alice"),
        (r"\bin (\d+[dhms] ?)+", "in DURATION "),
        (r'"remaining_s": [\d.]+', '"remaining_s": N'),
        (r'follows \d+|"revision": \d+', "REVISION"),
    ):
        text = re.sub(pattern, word, text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def test_every_command_says_the_same_both_ways(agents: Cli, served: Cli) -> None:
    put = dict.fromkeys((agents, served), "")  # id of the change that was put last
    for command in COMMANDS:
        direct = agents(*command.format(id=put[agents]).split())
        by_server = served(*command.format(id=put[served]).split())
        deadline = time.monotonic() + DEADLINE_S
        # What a load balancer says of itself is its newest report: it may be a moment old.
        while command.startswith(READS) and outcome(by_server) != outcome(direct) and time.monotonic() < deadline:
            by_server = served(*command.format(id=put[served]).split())
        assert outcome(by_server) == outcome(direct), (command, by_server.stderr, direct.stderr)
        for cli, result in ((agents, direct), (served, by_server)):
            if found := re.search(r"Undo: backstay changes undo (\S+)", result.stderr):
                put[cli] = found[1]


def outcome(result: Result) -> tuple[list[str], int]:
    return plain(result.stdout), result.exit_code


def test_a_load_balancer_whose_agent_is_away_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    server = FollowedServer(tmp_path, ESTATE)
    server.silent = {"lb3"}
    with server:
        cli = Cli(BACKSTAY_SERVER=server.url, BACKSTAY_TOKEN=server.token)
        result = cli("drain", "web2", "--reason", "why", code=2)  # not asked: stdin is no terminal
        assert "lb3: its agent is not connected" in result.stderr
        result = cli("drain", "web2", "--reason", "why", "--yes", code=6)
        assert "It reached only lb1, lb2, not lb3" in result.stderr
        assert "NOT REACHED" in cli("status", code=6).stdout


def test_parameters_are_the_servers_alone(agents: Cli, served: Cli) -> None:
    assert "--server URL" in agents("param", "set", "web1", "role=web", "--reason", "why", code=2).stderr
    served("param", "set", "cluster/api", "nginx::workers=4", "--for", "2h", "--reason", "why", code=0)
    served("param", "set", "web3", "motd=hello there", "--reason", "why", code=0)
    listed = json.loads(served("param", "list", "-o", "json", code=0).stdout)
    assert [(one["node"], one["name"], one["value"]) for one in listed] == [
        ("web1", "nginx::workers", 4),
        ("web2", "nginx::workers", 4),
        ("web3", "motd", "hello there"),
    ]
    shown = served("changes", code=0).stdout
    assert 'parameter motd="hello there"' in shown
    served("changes", "undo", listed[2]["change"], code=0)
    assert "motd" not in served("param", "list", code=0).stdout
    assert "no name" in served("param", "set", "web1", "No Name=1", "--reason", "why", code=1).stderr


def test_an_estate_is_planned_and_adopted_for_all(served: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(ESTATE.replace("web: {cluster: web, port: 80}", "web: {cluster: web, port: 8080}"))
    planned = served("plan", "-e", str(path), code=3)
    assert "lb1, lb2, lb3: by the server" in planned.stdout
    assert "pools.web.port: 80 -> 8080" in planned.stdout
    served("plan", "-e", str(path), "--out", str(tmp_path / "plan.json"), code=3)
    assert "--lb" in served("apply", "-e", str(path), "--lb", "lb1", code=2).stderr
    applied = served("apply", str(tmp_path / "plan.json"), "-e", str(path), "--reason", "port", code=0)
    assert applied.stdout.count("applied") == 3
    served("plan", "-e", str(path), code=0)
    again = served("apply", str(tmp_path / "plan.json"), "-e", str(path), code=5)
    assert "changed since the plan" in again.stderr


def test_the_journal_of_a_server_is_read_as_any(served: Cli) -> None:
    served("drain", "web2", "--reason", "a kernel", code=0)
    events = json.loads(served("journal", "tail", "--kind", "change.*", "-o", "json", code=0).stdout)
    assert [event["kind"] for event in events] == ["change.put"]
    shown = json.loads(served("journal", "show", events[0]["id"], "-o", "json", code=0).stdout)
    assert (shown["hash"], shown["causes"]) == (events[0]["hash"], [])
    assert len(json.loads(served("journal", "tail", "-n", "3", "-o", "json", code=0).stdout)) == 3
    assert "No event" in served("journal", "show", "../../me", code=1).stderr


def test_what_is_wrong_with_the_way_is_said(served: Cli, followed: FollowedServer, tmp_path: Path) -> None:
    assert "no token" in served("changes", BACKSTAY_TOKEN_FILE="", code=2).stderr
    assert "unknown, expired or revoked" in served("changes", BACKSTAY_TOKEN_FILE="", BACKSTAY_TOKEN="x", code=1).stderr
    assert "in the clear" in served("changes", "--server", "http://192.0.2.1", code=2).stderr
    assert "https://HOST" in served("changes", "--server", "server", code=2).stderr
    assert "Does `backstay server run`" in served("changes", "--server", "http://127.0.0.1:9", code=6).stderr
    assert "PEM" in served("changes", "--ca", str(tmp_path / "token"), code=6).stderr
    assert "--token-file" in served("changes", "--token-file", str(tmp_path / "nowhere"), code=2).stderr


def test_who_may_only_look_changes_nothing(served: Cli, followed: FollowedServer) -> None:
    from backstay.server.access.registry import Registry
    from backstay.server.model import Role

    registry = Registry(followed.database)
    _, secret = registry.create_token("looker", Role.VIEWER, actor="root", reason="for a test")
    refused = served("drain", "web2", "--reason", "why", BACKSTAY_TOKEN_FILE="", BACKSTAY_TOKEN=secret, code=1)
    assert "lb1, lb2, lb3: token/looker may not" in refused.stderr
    assert served("changes", code=0).stdout == ""
