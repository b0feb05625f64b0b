"""The server's audit with its real child and a real store: passes, failures, several servers, commands both ways."""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit_rig import AUDIT, now_files
from backstay.audit.desk import Desk
from backstay.cli.main import app
from backstay.estate import load_text
from backstay.journal import parse_time
from backstay.journal.store import Filter
from backstay.server.audit import desk
from backstay.server.audit.model import AskKind, Key, Kind
from backstay.server.audit.passes import STATUS
from backstay.server.audit.shell import Auditing
from backstay.server.audit.store import AuditStore
from backstay.server.settings import Settings
from backstay.server.shell import Server
from followed_server import FollowedServer
from server_rig import ALICE, MovedClock, a_server

DEADLINE_S = 60.0
ESTATE = f"""
estate: test
providers: {{p: {{kind: hetzner, token: {{env: TOKEN}}}}}}
regions: {{r: {{provider: p, zones: {{z: {{}}}}}}}}
nodes:
  queue1: {{zone: z, address: 10.0.1.1}}
  queue2: {{zone: z, address: 10.0.1.2}}
  queue3: {{zone: z, address: 10.0.1.3}}
  queue4: {{zone: z, address: 10.0.1.4}}
clusters:
  queue: {{members: "queue*", work: messages}}
{AUDIT}"""


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A server's state folder whose audit has the example in its store."""
    estate = load_text(ESTATE, "estate", tmp_path).estate
    opened = Desk.open(estate, tmp_path, tmp_path / "audit", clock=lambda: datetime.now(UTC))
    try:
        for path in now_files(tmp_path, datetime.now(UTC)):
            await opened.bring_in(path)
    finally:
        await opened.close()
    return tmp_path


def auditing_of(server: Server, folder: Path) -> Auditing:
    return Auditing(server, Settings(state_dir=folder))


async def first_pass(auditing: Auditing, clock: MovedClock) -> None:
    """At a start of the server others come first: it is every_s later."""
    await auditing.turn()
    assert await auditing.find(STATUS) is None
    clock.move(60.0)
    await auditing.turn()


def told(server: Server) -> list[str]:
    return [link.event.kind for link in server.journal.tail(limit=500, where=Filter(kind="audit.*"))]


async def test_a_pass_finds_the_odd_node_and_tells_it_once(filled: Path) -> None:
    clock = MovedClock(datetime.now(UTC))
    async with a_server(filled, ESTATE, now=clock) as server:
        auditing = auditing_of(server, filled)
        await first_pass(auditing, clock)
        found = await auditing.find(Key(kind=Kind.FINDING, cluster="queue", indicator="rx_drops_total", span="1d"))
        assert found is not None
        assert (found.head["grade"], found.head["differs"], found.head["facts"][0]) == (
            "consistent",
            ["queue4"],
            "cpu.version",
        )
        assert found.body["series"]["nodes"][0]["node"] == "queue4"
        facts = await auditing.find(Key(kind=Kind.FACTS, cluster="queue"))
        assert facts is not None and facts.body["splits"]
        assert (await auditing.heads(Kind.REVIEW))[0].head["problem"] == ""
        assert told(server) == ["audit.found"]
        clock.move(1_800.0)
        await auditing.turn()
        assert told(server) == ["audit.found"]
        assert server.snapshot().trouble == ()
        await auditing.rest()
        assert auditing.store.holder() is None


async def test_a_store_that_cannot_be_used_is_trouble_until_it_can(filled: Path) -> None:
    clock = MovedClock(datetime.now(UTC))
    (filled / "audit").rename(filled / "away")
    (filled / "audit").write_text("no folder")
    async with a_server(filled, ESTATE, now=clock) as server:
        auditing = auditing_of(server, filled)
        await first_pass(auditing, clock)
        (words,) = server.snapshot().trouble
        assert words.startswith("The audit failed: ")
        status = await auditing.find(STATUS)
        assert status is not None and status.head["trouble"] in words
        (filled / "audit").unlink()
        (filled / "away").rename(filled / "audit")
        await auditing.turn()  # not yet: it waits for a while after a failure
        assert server.snapshot().trouble == (words,)
        clock.move(31.0)
        await auditing.turn()
        assert server.snapshot().trouble == ()
        status = await auditing.find(STATUS)
        assert status is not None and (status.head["trouble"], parse_time(status.head["collected_at"])) == ("", clock())
        await auditing.rest()


async def test_a_server_without_the_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "LIBRARIES", ("numpy", "no_such_library"))
    clock = MovedClock(datetime.now(UTC))
    async with a_server(tmp_path, ESTATE, now=clock) as server:
        auditing = auditing_of(server, tmp_path)
        await first_pass(auditing, clock)
        (words,) = server.snapshot().trouble
        assert "It needs no_such_library on this server: pip install" in words
        await auditing.rest()


async def test_one_of_two_servers_audits_and_carries_out_what_the_other_is_asked(filled: Path) -> None:
    async with a_server(filled, ESTATE) as one, a_server(filled, None) as two:
        first, second = auditing_of(one, filled), auditing_of(two, filled / "elsewhere")
        await first.turn()
        await second.turn()
        assert not (filled / "elsewhere").exists()
        body = {"do": "explain", "cluster": "queue", "indicator": "load", "since_s": 7 * 86_400.0}
        asking = asyncio.create_task(second.ask("question-1", AskKind.QUESTION, body, ALICE, "explain", wait_s=30.0))
        async with asyncio.timeout(DEADLINE_S):
            while not first.store.waiting():
                await asyncio.sleep(0.01)
        await first.turn()
        answered = await asking
        assert answered.answer is not None
        assert answered.answer["result"]["answer"]["sentence"].startswith("Consistent, no more: cpu.version")
        nothing = {"do": "explain", "cluster": "queue", "indicator": "colour", "since_s": 86_400.0}
        await second.ask("question-2", AskKind.QUESTION, nothing, ALICE, "explain", wait_s=0.0)
        await first.turn()
        refused = second.store.asked("question-2")
        assert refused is not None and refused.answer is not None
        assert (refused.answer["code"], "colour" in refused.answer["detail"]) == ("invalid", True)
        await first.rest()
        await second.rest()


async def test_without_an_audit_in_the_estate_nothing_is_begun(tmp_path: Path) -> None:
    async with a_server(tmp_path, ESTATE.replace(AUDIT, "")) as server:
        auditing = auditing_of(server, tmp_path)
        await auditing.turn()
        assert (auditing.declared, auditing.store.holder()) == (False, None)
        assert not (tmp_path / "audit").exists()


COMMANDS = (
    "audit facts diff queue",
    "audit facts diff queue -o json",
    "audit compare queue --since 7d",
    "audit compare web",
    "audit explain queue load --since 7d",
    "audit explain queue load --since 7d -o json",
    "audit explain queue messages",
    "audit explain queue colour",
    "audit review queue --week 2026-W47",
    "audit fix list",
    "audit fix register queue load --fact cpu.version --nodes queue4 --expect -20% --by 7d --reason board",
    "audit fix register queue load --fact cpu.version --nodes queue9 --expect -20% --by 7d --reason board",
    "audit fix verify queue-load-1",
    "audit fix verify queue-load-9",
)


def test_every_command_says_the_same_both_ways(filled: Path) -> None:
    path = filled / "backstay.yaml"
    path.write_text(ESTATE, encoding="utf-8")
    shutil.copytree(filled / "audit", filled / "mine")
    direct = _Cli(BACKSTAY_ESTATE=str(path), BACKSTAY_AUDIT_STATE=str(filled / "mine"), USER="alice", SUDO_USER="")
    said = [direct(command) for command in COMMANDS]
    with FollowedServer(filled, ESTATE) as server:
        served = _Cli(BACKSTAY_SERVER=server.url, BACKSTAY_TOKEN=server.token)
        served("audit collect")  # its first lines in the log go to where the commands print
        assert AuditStore(server.database).find(STATUS) is not None
        for command, expected in zip(COMMANDS, said, strict=True):
            assert _timeless(served(command)) == _timeless(expected), command


def _timeless(outcome: tuple[str, int]) -> tuple[str, int]:
    """Without the times at which the two were asked, by whom, and the small plots, whose cells begin at those times."""
    printed = re.sub(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?", "TIME", outcome[0])
    return re.sub("[▁▂▃▄▅▆▇█ ]{20,}", " PLOT ", printed.replace("token/alice", "alice")), outcome[1]


class _Cli:
    def __init__(self, **env: str) -> None:
        self._env = {"BACKSTAY_SERVER": "", "BACKSTAY_TOKEN": "", **env}

    def __call__(self, command: str) -> tuple[str, int]:
        """What is printed, and the exit code."""
        result = CliRunner().invoke(app, command.split(), env=self._env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.stdout, result.exit_code
