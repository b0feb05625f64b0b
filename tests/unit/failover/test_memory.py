"""What one candidate keeps across restarts."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backstay.change import ClockReading
from backstay.failover import memory as kept
from backstay.failover.keep import Keep
from backstay.failover.memory import Memory, Quarantined, Taking
from backstay.failover.model import Death, Normal, Silence
from backstay.journal.disk import Disk

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AUTOMATIC = Taking(id="01", holder="lb1", at=NOON, planned=False, why="silent")
PLANNED = Taking(id="02", holder="lb1", at=NOON, planned=True, why="maintenance")
LOST = Quarantined(at=NOON, owner="lb1", why="moved")


def at(boottime_s: float, wall: datetime = NOON) -> ClockReading:
    return ClockReading(wall=wall, boot_id="a", boottime_s=boottime_s)


def test_a_takeover_that_arrived_counts_as_taken_until_a_rearm() -> None:
    memory = kept.arrived(kept.intend(Memory(), AUTOMATIC))
    assert (memory.held, memory.took, memory.taking) == (True, True, None)
    assert not kept.rearmed(memory).took


def test_a_planned_move_counts_for_nothing() -> None:
    assert not kept.arrived(kept.intend(Memory(), PLANNED)).took


def test_where_a_person_puts_it_a_person_has_looked() -> None:
    memory = kept.handed_over(kept.arrived(kept.intend(Memory(), AUTOMATIC)))
    assert not kept.arrived(kept.intend(memory, PLANNED)).took


def test_what_did_not_come_about_leaves_no_trace() -> None:
    assert kept.abandoned(kept.intend(Memory(), AUTOMATIC)) == Memory()


def test_whoever_lost_it_is_quarantined_until_rearmed() -> None:
    memory = kept.lost(Memory(held=True, took=True), LOST)
    assert memory.quarantined == LOST
    assert not (memory.held or memory.took)
    assert kept.rearmed(memory).quarantined is None


def test_a_quarantined_candidate_never_begins() -> None:
    with pytest.raises(AssertionError):
        kept.intend(Memory(quarantined=LOST), AUTOMATIC)


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_step_of_the_wall_clock_neither_ends_nor_lengthens_a_freeze(step: timedelta) -> None:
    memory = kept.freeze(Memory(), at(100.0), 600.0, "alice", "switch work")
    assert kept.frozen_for_s(memory, at(400.0, NOON + step)) == pytest.approx(300.0)
    assert kept.frozen_for_s(memory, at(701.0, NOON + step)) is None


def test_a_move_that_a_person_announced_is_expected_for_a_while() -> None:
    memory = kept.expect(Memory(held=True), at(0.0), "lb2")
    assert kept.expects(memory, at(10.0), "lb2")
    assert not kept.expects(memory, at(10.0), "lb3")
    assert not kept.expects(memory, at(kept.EXPECTED_FOR_S + 1), "lb2")
    assert kept.expected_no_more(memory, at(kept.EXPECTED_FOR_S + 1))


def full_memory() -> Memory:
    normal = Normal(
        watched_s=90.0,
        packets_sent=5.0,
        updated_at_s=1_000.0,
        silences=(Silence(death=Death.HUNG, ended_at_s=940.0, duration_s=0.7),),
    )
    memory = kept.freeze(Memory(held=True, normal={"lb2": normal}), at(1_000.0), 60.0, "bob", "")
    return kept.expect(kept.intend(memory, AUTOMATIC), at(1_000.0), "lb2")


def test_all_of_it_survives_the_disk_and_a_boot(tmp_path: Path) -> None:
    keep, memory = Keep(tmp_path / "failover" / "www.json"), full_memory()
    assert keep.load(1_000.0) == (Memory(), "")
    assert keep.save(memory, 1_000.0)
    assert keep.load(1_000.0) == (memory, "")
    rebooted, _ = keep.load(5.0)
    [silence] = rebooted.normal["lb2"].silences
    assert silence.ended_at_s == pytest.approx(5.0 - 60.0)
    assert rebooted.normal["lb2"].updated_at_s == pytest.approx(5.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9}', '{"format": 1, "held": "perhaps"}', "[" * 9_999])
def test_a_damaged_memory_is_set_aside_and_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "www.json"
    path.write_text(text)
    memory, fault = Keep(path).load(0.0)
    assert memory == Memory()
    assert "damaged" in fault
    assert path.with_name("www.json.damaged").read_text() == text


class FullDisk(Disk):
    full = True

    def write(self, fd: int, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(fd, data)


def test_a_full_disk_is_said_and_the_old_memory_stays(tmp_path: Path) -> None:
    disk, path = FullDisk(), tmp_path / "www.json"
    disk.full = False
    keep = Keep(path, disk)
    assert keep.save(Memory(held=True), 0.0)
    disk.full = True
    assert not keep.save(Memory(), 0.0)
    assert "No space left" in keep.fault
    assert json.loads(path.read_text())["held"]
    disk.full = False
    assert keep.save(Memory(), 0.0)
    assert keep.fault == ""
