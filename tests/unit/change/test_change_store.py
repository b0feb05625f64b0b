"""The book on disk: durable before it is acknowledged, whole after a crash at any step, repaired after damage."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.change import BookNotSaved, Change, ChangeBook, ChangeKind, ChangeStore, ClockReading, deadline_at
from crashing_disk import Crash, CrashingDisk

NOW = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)
READING = ClockReading(wall=NOW, boot_id="one", boottime_s=1_000.25)


def book(changes: int) -> ChangeBook:
    """A book with that many changes in force, and one that was undone."""
    made = ChangeBook()
    for number in range(changes + 1):
        made = made.put(
            Change(
                id=f"change-{number:04}",
                kind=ChangeKind.WEIGHT,
                node="web2",
                factor=0.1 * (number + 1),
                actor="alice",
                reason="zwölf ☃",
                created_at=NOW,
                deadline=deadline_at(READING, 60),
            )
        )
    return made.undo("change-0000", actor="bob", reason="r", now=NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "changes.json"


def test_a_book_comes_back_as_it_was_saved(path: Path) -> None:
    assert ChangeStore(path).load().book == ChangeBook()
    ChangeStore(path).save(book(3))
    loaded = ChangeStore(path).load()
    assert loaded.book == book(3)
    assert loaded.faults == ()


@pytest.mark.parametrize("power_cut", [False, True], ids=["kill", "power-cut"])
@pytest.mark.parametrize("where", ["before", "half", "after"])
def test_a_crash_at_any_step_leaves_the_old_book_or_the_new(tmp_path: Path, where: str, power_cut: bool) -> None:
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        path = tmp_path / str(crash_at) / "changes.json"
        disk = CrashingDisk()
        store = ChangeStore(path, disk)
        store.save(book(1))
        disk.crash_at, disk.where, disk.operations = crash_at, where, 0
        try:
            store.save(book(2))
            finished = True
        except Crash:
            pass
        if power_cut:
            disk.cut_power()
        loaded = ChangeStore(path).load()
        assert loaded.faults == ()
        assert loaded.book == book(2) if finished else loaded.book in (book(1), book(2))
        ChangeStore(path).save(book(3))
        assert ChangeStore(path).load().book == book(3)
    assert crash_at >= 10


@pytest.mark.parametrize("failing", ["create", "write", "fsync", "rename"])
def test_a_book_that_cannot_be_saved_is_an_error_and_the_old_one_stays(path: Path, failing: str) -> None:
    disk = CrashingDisk()
    store = ChangeStore(path, disk)
    store.save(book(1))
    disk.failing.add(failing)
    disk.error = errno.ENOSPC
    with pytest.raises(BookNotSaved, match=r"No space left.*The change is not in force"):
        store.save(book(2))
    assert ChangeStore(path).load().book == book(1)


DAMAGE = {
    "empty": b"",
    "cut short": b'{"format": 1, "bo',
    "not JSON": b"\x00\xff\xfe",
    "another shape": b"[1, 2]",
    "a newer format": b'{"format": 2, "digest": "", "book": {}}',
    "a wrong digest": b'{"format": 1, "digest": "00", "book": {"changes": [], "ended": []}}',
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_set_aside_and_said_and_the_backup_is_used(path: Path, case: str) -> None:
    ChangeStore(path).save(book(2))
    path.write_bytes(DAMAGE[case])
    loaded = ChangeStore(path).load()
    assert loaded.book == book(2)
    assert "set aside as changes.json.damaged" in loaded.faults[0]
    assert "used instead" in loaded.faults[1]
    assert path.with_name("changes.json.damaged").read_bytes() == DAMAGE[case]


def test_a_file_that_is_gone_is_replaced_by_its_backup(path: Path) -> None:
    ChangeStore(path).save(book(2))
    path.unlink()
    assert ChangeStore(path).load().book == book(2)


def test_without_a_good_copy_the_agent_starts_with_no_changes_and_says_so(path: Path) -> None:
    ChangeStore(path).save(book(2))
    path.write_bytes(b"{")
    path.with_name("changes.json.backup").write_bytes(b"{")
    loaded = ChangeStore(path).load()
    assert loaded.book == ChangeBook()
    assert "no good copy is left" in loaded.faults[-1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_no_altered_byte_gives_another_book(path: Path, position: int, value: int) -> None:
    ChangeStore(path).save(book(2))
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    assert ChangeStore(path).load().book == book(2)
