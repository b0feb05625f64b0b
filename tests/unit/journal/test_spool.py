"""The spool's promises: durable, once and in order, bounded, and nothing lost unsaid."""

from __future__ import annotations

import errno
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backstay.journal import Event, EventInvalid, JournalError, Limits, Spool
from crashing_disk import Crash, CrashingDisk

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SMALL = Limits(size_bytes=16_384, events=1_000, segment_bytes=600, held_events=5)


def event_id(number: int) -> str:
    return f"event{number:08}"


def event(number: int, **data: object) -> Event:
    return Event(
        id=event_id(number), time=NOW, kind="test.happened", subject="node/web1", actor="test", reason="r", data=data
    )


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


def numbered(first: int, last: int) -> list[str]:
    return [event_id(number) for number in range(first, last + 1)]


def open_spool(folder: Path, disk: CrashingDisk | None = None, limits: Limits = SMALL) -> Spool:
    return Spool(folder, actor="agent/lb1", limits=limits, disk=disk, now=lambda: NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_an_event_comes_back_as_it_went_in_also_after_a_restart(folder: Path) -> None:
    told = event(1, text="zwölf\n☃\u2028", nested={"a": [1, 2.5, None, True]}, quote='"\\')
    with open_spool(folder) as spool:
        spool.append(told)
        assert spool.read() == [told]
    with open_spool(folder) as spool:
        assert spool.read() == [told]


def test_reading_goes_on_after_an_id_and_acknowledged_events_do_not_come_again(folder: Path) -> None:
    with open_spool(folder) as spool:
        for number in range(1, 21):
            spool.append(event(number))
        first = spool.read(limit=5)
        assert ids(first) == numbered(1, 5)
        assert ids(spool.read(after=first[-1].id, limit=5)) == numbered(6, 10)
        assert spool.waiting == 20
        assert spool.ack(event(8).id) == 8
        assert spool.ack(event(8).id) == 0
        assert spool.waiting == 12
        assert ids(spool.read()) == numbered(9, 20)
    with open_spool(folder) as spool:
        assert spool.waiting == 12
        assert ids(spool.read()) == numbered(9, 20)
        assert ids(spool.read(after=event(12).id)) == numbered(13, 20)


def test_an_id_that_the_spool_does_not_hold_starts_from_the_oldest_event(folder: Path) -> None:
    with open_spool(folder) as spool:
        spool.append(event(1))
        assert ids(spool.read(after="unknown-id")) == numbered(1, 1)
        assert ids(spool.read(after="\ud800")) == numbered(1, 1)
        assert spool.ack("unknown-id") == 0


def test_acknowledging_frees_the_segments_but_never_reuses_their_numbers(folder: Path) -> None:
    with open_spool(folder) as spool:
        for number in range(1, 21):
            spool.append(event(number))
        before = sorted(path.name for path in folder.glob("*.spool"))
        spool.ack(event(20).id)
        assert spool.waiting == 0
    with open_spool(folder) as spool:
        for number in range(21, 31):
            spool.append(event(number))
        assert ids(spool.read()) == numbered(21, 30)
    after = sorted(path.name for path in folder.glob("*.spool"))
    assert len(after) < len(before)
    assert after[-1] > before[-1]


def test_a_second_process_is_refused(folder: Path) -> None:
    with open_spool(folder), pytest.raises(JournalError, match="another process"):
        open_spool(folder)
    open_spool(folder).close()


def test_what_is_no_event_is_refused_before_anything_is_written(folder: Path) -> None:
    with open_spool(folder) as spool:
        for bad in (event(1, x=float("nan")), event(2, x={1}), event(3, x="a" * 70_000), event(4, x="\ud800")):
            with pytest.raises(EventInvalid):
                spool.append(bad)
        assert spool.waiting == 0
        assert spool.flush() == 0


# -- bounds ------------------------------------------------------------------------------------------------------


def test_a_full_spool_forgets_its_oldest_events_and_says_how_many(folder: Path) -> None:
    limits = Limits(size_bytes=8_192, events=1_000, segment_bytes=1_024)
    with open_spool(folder, limits=limits) as spool:
        for number in range(1, 201):
            spool.append(event(number))
            assert sum(path.stat().st_size for path in folder.glob("*.spool")) <= limits.size_bytes
        kept = spool.read()
    assert_all_accounted_for(kept, last=200)
    assert len(kept) < 60


def test_a_spool_is_bounded_by_events_too(folder: Path) -> None:
    with open_spool(folder, limits=Limits(size_bytes=1_000_000, events=24)) as spool:
        for number in range(1, 101):
            spool.append(event(number))
        assert spool.waiting <= 24
        assert_all_accounted_for(spool.read(), last=100)


def assert_all_accounted_for(kept: list[Event], *, last: int) -> None:
    """Every event is there, or counted by a `journal.lost` event."""
    there = [event for event in kept if event.kind != "journal.lost"]
    lost = [event for event in kept if event.kind == "journal.lost"]
    assert ids(there) == numbered(last - len(there) + 1, last)
    assert sum(event.data["events"] for event in lost) == last - len(there)
    assert min(event.data["first"] for event in lost) == event_id(1)
    assert max(event.data["last"] for event in lost) == event_id(last - len(there))


def test_acknowledged_events_make_room_without_being_called_lost(folder: Path) -> None:
    with open_spool(folder, limits=Limits(size_bytes=8_192, events=1_000, segment_bytes=1_024)) as spool:
        for number in range(1, 201):
            spool.append(event(number))
            spool.ack(event(number).id)
        assert spool.waiting == 0
        assert spool.read() == []


# -- a disk that is full or fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["write", "fsync", "open_append"])
def test_an_event_that_finds_the_disk_full_is_written_when_there_is_room(folder: Path, failing: str) -> None:
    disk = CrashingDisk()
    with open_spool(folder, disk) as spool:
        spool.append(event(1))
        disk.failing.add(failing)
        if failing == "open_append":
            disk.failing.add("write")  # the open descriptor must be given up first
        for number in (2, 3):
            with pytest.raises(JournalError, match=r"No space left.*Make room"):
                spool.append(event(number))
        assert spool.waiting == 3
        assert spool.flush() == 2
        assert ids(spool.read()) == numbered(1, 1)
        disk.failing.clear()
        spool.append(event(4))
        assert ids(spool.read()) == numbered(1, 4)
    with open_spool(folder) as spool:
        assert ids(spool.read()) == numbered(1, 4)


def test_flush_writes_what_was_held_and_a_repeated_append_is_one_event(folder: Path) -> None:
    disk = CrashingDisk()
    with open_spool(folder, disk) as spool:
        disk.failing.add("fsync")
        disk.error = errno.EIO
        for _ in range(2):
            with pytest.raises(JournalError, match="Input/output error"):
                spool.append(event(1))
        disk.failing.clear()
        assert spool.flush() == 0
        assert ids(spool.read()) == numbered(1, 1)


def test_what_does_not_even_fit_in_memory_is_counted(folder: Path) -> None:
    disk = CrashingDisk()
    with open_spool(folder, disk) as spool:
        disk.failing.add("write")
        for number in range(1, 9):
            with pytest.raises(JournalError):
                spool.append(event(number))
        disk.failing.clear()
        assert spool.flush() == 0
        lost, *kept = spool.read()
    assert lost.kind == "journal.lost"
    assert lost.data == {"events": 3, "first": event(1).id, "last": event(3).id}
    assert ids(kept) == numbered(4, 8)


def test_an_acknowledgement_that_is_not_durable_is_an_error_and_the_events_come_again(folder: Path) -> None:
    disk = CrashingDisk()
    with open_spool(folder, disk) as spool:
        spool.append(event(1))
        disk.failing.add("rename")
        with pytest.raises(JournalError, match="acknowledgement"):
            spool.ack(event(1).id)
        assert ids(spool.read()) == numbered(1, 1)


# -- damage ---------------------------------------------------------------------------------------------------------


def test_damage_in_the_middle_costs_only_the_damaged_event_and_is_said(folder: Path) -> None:
    with open_spool(folder, limits=Limits()) as spool:
        for number in range(1, 6):
            spool.append(event(number))
    path = next(folder.glob("*.spool"))
    path.write_bytes(path.read_bytes().replace(b"event00000003", b"eventX0000003"))
    with open_spool(folder, limits=Limits()) as spool:
        assert ids(spool.read()) == [*numbered(1, 2), *numbered(4, 5)]
        assert "are damaged" in spool.faults[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"number":"x"}', b'{"number":-5,"offset":3}', b"\xff\x00"])
def test_a_damaged_acknowledgement_delivers_everything_again(folder: Path, content: bytes) -> None:
    with open_spool(folder) as spool:
        for number in range(1, 4):
            spool.append(event(number))
        spool.ack(event(2).id)
    (folder / "acked.json").write_bytes(content)
    with open_spool(folder) as spool:
        assert ids(spool.read()) == numbered(1, 3)


def test_an_acknowledgement_beyond_the_end_never_hides_later_events(folder: Path) -> None:
    with open_spool(folder) as spool:
        spool.append(event(1))
    (folder / "acked.json").write_text('{"number": 1, "offset": 99999}')
    with open_spool(folder) as spool:
        spool.append(event(2))
        assert ids(spool.read()) == numbered(2, 2)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_tail_is_cut_off_and_the_spool_goes_on(folder: Path, cut: int) -> None:
    with open_spool(folder) as spool:
        spool.append(event(1))
        spool.append(event(2))
    path = next(folder.glob("*.spool"))
    path.write_bytes(path.read_bytes()[:-cut])
    with open_spool(folder) as spool:
        assert spool.faults == ()
        spool.append(event(3))
        assert ids(spool.read()) == [event(1).id, event(3).id]


# -- crashes at every step -------------------------------------------------------------------------------------------


class Story:
    """A life of a spool, with what was promised on the way. It ends where the disk crashes."""

    def __init__(self, folder: Path, disk: CrashingDisk, limits: Limits) -> None:
        self.appended: list[str] = []
        self.asked = 0  # the last event that an ack was asked for
        self.acked = 0  # and the last whose ack returned
        self.finished = False
        try:
            self._live(folder, disk, limits)
        except Crash:
            return
        self.finished = True

    def _live(self, folder: Path, disk: CrashingDisk, limits: Limits) -> None:
        for start in (1, 13):  # two lives, so that a crash may also meet an opening
            with open_spool(folder, disk, limits) as spool:
                for number in range(start, start + 12):
                    spool.append(event(number))
                    self.appended.append(event(number).id)
                    if number % 5 == 0:
                        self.asked = number - 2
                        spool.ack(event_id(number - 2))
                        self.acked = number - 2


@pytest.mark.parametrize("power_cut", [None, 0, 7], ids=["kill", "power-cut", "torn"])
@pytest.mark.parametrize("where", ["before", "half", "after"])
def test_a_crash_at_any_step_loses_no_acknowledged_event(tmp_path: Path, where: str, power_cut: int | None) -> None:
    limits = Limits(size_bytes=16_384, events=1_000, segment_bytes=500)
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        folder = tmp_path / f"{crash_at}"
        disk = CrashingDisk(crash_at, where)
        story = Story(folder, disk, limits)
        finished = story.finished
        if power_cut is not None:
            disk.cut_power(torn_bytes=power_cut)
        assert_kept(folder, story, limits)
    assert crash_at > 100


def assert_kept(folder: Path, story: Story, limits: Limits) -> None:
    with open_spool(folder, limits=limits) as spool:
        found = ids(spool.read())
        assert found == sorted(set(found)), "twice, or out of order"
        assert set(story.appended[story.asked :]) <= set(found), "an acknowledged event is gone"
        assert not set(story.appended[: story.acked]) & set(found), "came again after a completed ack"
        assert set(found) <= set(numbered(1, len(story.appended) + 1)), "more than the append that was cut short"
        spool.append(event(99))
        assert ids(spool.read())[-1] == event(99).id
        assert spool.waiting == len(found) + 1


@pytest.mark.parametrize("power_cut", [False, True], ids=["kill", "power-cut"])
@pytest.mark.parametrize("where", ["before", "half", "after"])
def test_a_crash_while_a_full_spool_forgets_leaves_every_event_there_or_told_lost(
    tmp_path: Path, where: str, power_cut: bool
) -> None:
    limits = Limits(size_bytes=5_000, events=1_000, segment_bytes=625)
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        folder = tmp_path / f"{crash_at}"
        disk = CrashingDisk(crash_at, where)
        appended: list[str] = []
        try:
            with open_spool(folder, disk, limits) as spool:
                for number in range(1, 31):
                    spool.append(event(number))
                    appended.append(event(number).id)
            finished = True
        except Crash:
            pass
        if power_cut:
            disk.cut_power()
        with open_spool(folder, limits=limits) as spool:
            kept = spool.read()
        lost = sum(event.data["events"] for event in kept if event.kind == "journal.lost")
        there = [event.id for event in kept if event.kind != "journal.lost"]
        # The append that was cut short may have left its event behind.
        assert there in (numbered(lost + 1, len(appended)), numbered(lost + 1, len(appended) + 1)), f"crash {crash_at}"
    assert crash_at > 60


# -- kill -9 ---------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from backstay.journal import Event, Limits, Spool

spool = Spool(Path(sys.argv[1]), actor="writer", limits=Limits(segment_bytes=4_000))
number = int(sys.argv[2])
while True:
    event = Event(id=f"event{number:08}", time=datetime.now(UTC), kind="test.happened", subject="s", actor="a",
                  reason="r" * (number * 37 % 200))
    spool.append(event)
    sys.stdout.write(event.id + "\\n")
    sys.stdout.flush()
    number += 1
"""


def test_kill_9_at_a_hundred_random_points_loses_no_acknowledged_event(folder: Path) -> None:
    acknowledged: list[str] = []
    number = 1
    for round_ in range(100):
        # The kill comes while some append or other is under way: after a number of lines that varies, at once.
        lines = _write_until_killed(folder, number, kill_after=1 + round_ * 7 % 23)
        acknowledged += lines
        with Spool(folder, actor="reader") as spool:
            found = _read_all(spool)
        assert found == sorted(set(found)), f"round {round_}: twice, or out of order"
        missing = set(acknowledged) - set(found)
        assert not missing, f"round {round_}: {sorted(missing)[:5]} were acknowledged and are gone"
        assert len(found) <= len(acknowledged) + round_ + 1, "more than one unacknowledged event a kill"
        number = int(found[-1].removeprefix("event")) + 1
    assert len(acknowledged) > 1_000


def _read_all(spool: Spool) -> list[str]:
    found: list[str] = []
    while batch := spool.read(after=found[-1] if found else None):
        found += ids(batch)
    return found


def _write_until_killed(folder: Path, number: int, *, kill_after: int) -> list[str]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", _with_path(WRITER), str(folder), str(number)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(kill_after)]
    finally:
        process.kill()
    lines += process.stdout.readlines()  # acknowledged between the last line that we read and the kill
    process.wait(timeout=30)
    process.stdout.close()
    return [line.strip() for line in lines if line.endswith("\n")]


def _with_path(script: str) -> str:
    """-S leaves site-packages out, which makes a hundred starts quick; the path is given instead."""
    return f"import sys; sys.path[:0] = {sys.path!r}\n{script}"
