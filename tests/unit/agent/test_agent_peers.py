"""What one agent learns of another that does not answer: that none runs there, or nothing."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.agent.client import AgentClient, AgentUnreachable
from backstay.agent.loops.failover import AgentPeers
from backstay.agent.world import World


@pytest.fixture
def run() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bs-"))  # short: a unix socket's path has a limit
    yield folder
    shutil.rmtree(folder)


def leave_behind(path: Path) -> None:
    """The socket of an agent that was killed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


async def test_a_client_says_that_the_machine_itself_refused(run: Path) -> None:
    leave_behind(run / "lb1.sock")
    async with AgentClient("lb1", socket=run / "lb1.sock") as agent:
        with pytest.raises(AgentUnreachable) as found:
            await agent.status()
    assert found.value.refused


async def test_an_agent_that_was_killed_is_told_from_one_that_was_not_reached(world: World, run: Path) -> None:
    leave_behind(run / "lb1.sock")
    assert await AgentPeers(world, run).standings("www", ["lb1"]) == {"lb1": None}
    (run / "lb1.sock").unlink()
    assert await AgentPeers(world, run).standings("www", ["lb1"]) == {}


async def test_an_agent_that_takes_the_question_and_says_nothing_is_left_out(
    world: World, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backstay.agent.loops.failover.PEER_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(run / "lb1.sock"))
        hung.listen()
        assert await AgentPeers(world, run).standings("www", ["lb1"]) == {}
