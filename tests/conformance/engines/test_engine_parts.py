"""What the engines share, against real files, processes and sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_site import ADDRESS, eventually

from backstay.balance.engines.generations import Generations
from backstay.balance.engines.logtail import LogTail
from backstay.balance.engines.process import EngineProcess, run
from backstay.balance.engines.sockets import established, socket_inodes
from backstay.balance.ports import EngineFailed

FILES = {"engine.conf": "a", "maps/hosts": "b"}


class Crash(BaseException):
    """The agent is killed here."""


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    found = Generations(tmp_path / "engine")
    found.prepare()
    return found


def test_a_generation_is_named_by_its_contents(generations: Generations) -> None:
    first = generations.stage(FILES, {"tls/x.pem": b"\0"}, lambda identity: {"id": identity})
    assert generations.stage(FILES, {"tls/x.pem": b"\0"}) == first
    assert generations.stage(FILES, {"tls/x.pem": b"\1"}) != first
    assert generations.stage({"engine.conf": "ab"}, {}) != generations.stage({"engine.confa": "b"}, {})
    assert (generations.folder / generations.path(first) / "id").read_text() == first


def test_keys_and_sockets_are_closed_to_others(generations: Generations) -> None:
    generations.point("current", generations.stage(FILES, {"tls/x.pem.key": b"secret"}))
    modes = {path: path.stat().st_mode & 0o777 for path in generations.folder.rglob("*") if not path.is_symlink()}
    assert modes[generations.folder / "generations"] == 0o700
    assert modes[generations.folder / "run"] == 0o700
    assert {mode for path, mode in modes.items() if path.suffix == ".key"} == {0o600}


def test_pruning_keeps_what_a_pointer_names(generations: Generations) -> None:
    old, good, current = (generations.stage({"engine.conf": text}, {}) for text in "123")
    generations.point("good", good)
    generations.point("current", current)
    generations.prune()
    assert {path.name for path in (generations.folder / "generations").iterdir()} == {good, current}
    assert old not in (generations.id_of("good"), generations.id_of("current"))


@pytest.mark.parametrize("step", range(30))
def test_a_crash_at_any_step_leaves_a_complete_generation_and_the_next_apply_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Every call that alters the disk is a step; the agent dies just before it."""
    generations = Generations(tmp_path / "engine")
    generations.prepare()
    first = generations.stage(FILES, {})
    generations.point("current", first)
    generations.point("good", first)
    left = step

    def counted(name: str, owner: type | object) -> None:
        real = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    for name, owner in (("rename", Path), ("replace", Path), ("symlink_to", Path), ("mkdir", Path), ("fsync", os)):
        counted(name, owner)
    second_files = {**FILES, "engine.conf": "new"}
    try:
        _apply(generations, second_files)
        finished = True
    except Crash:
        finished = False
    monkeypatch.undo()

    successor = Generations(tmp_path / "engine")
    identity = successor.id_of("current")
    assert identity is not None, "current must always name a complete generation"
    folder = successor.folder / successor.path(identity)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(FILES)
    assert successor.id_of("good") is not None
    _apply(successor, second_files)
    assert (successor.folder / "current" / "engine.conf").read_text() == "new"
    assert len(list((successor.folder / "generations").iterdir())) == 1
    if step == 29:
        assert finished, "there are more steps than this test tries: raise the range"


def _apply(generations: Generations, files: dict[str, str]) -> None:
    identity = generations.stage(files, {})
    generations.point("current", identity)
    generations.point("good", identity)
    generations.prune()


def test_a_log_is_read_from_its_present_end_and_only_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    tail = LogTail(path, reopen=lambda: None)
    assert tail.lines() == []
    with path.open("a") as log:
        log.write("one\ntw")
        log.flush()
        assert tail.lines() == ["one"]
        log.write("o\nthree\n")
    assert tail.lines() == ["two", "three"]
    tail.close()


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    tail = LogTail(path, reopen=lambda: None)
    assert tail.lines() == []
    path.write_text("one\n")
    assert tail.lines() == ["one"]
    tail.close()


def test_rotation_loses_no_line_though_the_writer_goes_on_in_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.touch()
    writer = path.open("a")
    reopened = []
    tail = LogTail(path, reopen=lambda: reopened.append(True), rotate_at_bytes=10)
    writer.write("a line of twenty bytes\n")
    writer.flush()
    seen = tail.lines()
    assert reopened == [True]
    assert path.with_name("access.log.1").exists()
    writer.write("late\n")
    writer.flush()
    with path.open("a") as successor:
        successor.write("new\n")
        for _ in range(4):
            seen += tail.lines()
    writer.close()
    for _ in range(3):
        seen += tail.lines()
    assert seen == ["a line of twenty bytes", "late", "new"]
    tail.close()


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.touch()
    tail = LogTail(path, reopen=lambda: None)
    with path.open("a") as log:
        log.write("x" * 2_000_000)
        log.flush()
        assert tail.lines() == []
        log.write("\nnext\n")
    assert tail.lines() == ["", "next"]
    tail.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[EngineProcess]:
    folder = tmp_path / "engine"
    Generations(folder).prepare()
    found = EngineProcess(folder)
    yield found
    pid = found.pid()
    if pid is not None:
        os.killpg(pid, signal.SIGKILL)


async def test_an_engine_process_is_recorded_by_itself_and_found_by_a_successor(process: EngineProcess) -> None:
    assert process.pid() is None
    pid = await process.start(("sleep", "300"))
    assert process.pid() == pid
    assert EngineProcess(process.folder).pid() == pid
    assert os.getsid(pid) == pid
    await process.stop(signal.SIGTERM, grace_s=10)
    assert process.pid() is None
    await process.stop(signal.SIGTERM, grace_s=10)


async def test_a_process_that_died_is_no_zombie_and_not_running(process: EngineProcess) -> None:
    pid = await process.start(("sleep", "300"))
    os.kill(pid, signal.SIGKILL)

    async def found() -> int | None:
        return process.pid()

    async def reaped() -> bool:
        return not Path(f"/proc/{pid}").exists()

    await eventually(found, lambda answer: answer is None)
    await eventually(reaped, lambda gone: gone)


async def test_children_that_outlive_the_first_process_are_found_and_ended(process: EngineProcess) -> None:
    pid = await process.start(("sh", "-c", "trap '' TERM; sleep 300 & sleep 301"))

    async def children() -> tuple[int, ...]:
        return process.children()

    await eventually(children, lambda found: len(found) == 2)
    os.kill(pid, signal.SIGKILL)

    async def orphans() -> tuple[int, ...]:
        return process.orphans()

    await eventually(orphans, lambda found: len(found) == 2)
    await process.stop(signal.SIGTERM, grace_s=1)
    assert process.orphans() == ()


async def test_a_record_of_another_boot_is_not_believed(process: EngineProcess) -> None:
    await process.start(("sleep", "300"))
    record = process.folder / "run" / "engine.stat"
    text = record.read_text()
    stat, _ = text.splitlines()
    record.write_text(f"{stat}\n00000000-0000-0000-0000-000000000000\n")
    assert process.pid() is None
    record.write_text("garbage")
    assert process.pid() is None
    record.write_text(text)
    assert process.pid() is not None


async def test_a_command_has_a_limit_on_its_time_and_its_output(tmp_path: Path) -> None:
    ran = await run(("sh", "-c", "yes | head -c 3000000; exit 3"), cwd=tmp_path, timeout_s=30)
    assert (ran.code, len(ran.output)) == (3, 65_536)
    with pytest.raises(EngineFailed, match="did not end within"):
        await run(("sleep", "300"), cwd=tmp_path, timeout_s=0.2)
    with pytest.raises(EngineFailed, match="No such file"):
        await run(("/nonexistent/engine",), cwd=tmp_path, timeout_s=1)


async def test_connections_are_found_by_port_with_their_process_and_their_last_data() -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((ADDRESS, port))
        peer, _ = server.accept()
        client.send(b"request")
        [outgoing] = established(remote_ports=[port])
        [incoming] = established(local_ports=[port])
        assert outgoing.remote == incoming.local == (ADDRESS, port)
        assert outgoing.inode in socket_inodes([os.getpid()])[os.getpid()]
        assert outgoing.received_bytes == 0
        assert outgoing.since_sent_ms < 60_000
        peer.send(b"answer")

        async def received() -> int:
            return established(remote_ports=[port])[0].received_bytes

        await eventually(received, lambda count: count == len(b"answer"))
        client.close()
        peer.close()
        await asyncio.sleep(0)
        assert established(remote_ports=[port]) == []


def test_a_process_that_is_gone_holds_no_socket() -> None:
    assert socket_inodes([2**22 - 1]) == {2**22 - 1: set()}
