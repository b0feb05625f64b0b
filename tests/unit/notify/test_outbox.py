"""The outbox: durable, bounded, and never the reason that a page is lost."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backstay.journal.disk import Disk
from backstay.notify import outbox as module
from backstay.notify.model import Delivery, Fate, Page
from backstay.notify.outbox import Outbox, Put

DELIVERED = Delivery(fate=Fate.DELIVERED)


def page(key: str = "takeover-1") -> Page:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return Page(key=key, at=at, summary="s", source="lb2", subject="ip/www", commands={"look": "backstay ip list"})


class FullDisk(Disk):
    full = True

    def write(self, fd: int, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(fd, data)


def test_a_page_is_there_after_a_restart(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "outbox").put(page(), ["slack", "smtp"]) is Put.NEW

    again = Outbox(tmp_path / "outbox")

    assert [letter.page for letter in again.waiting("smtp")] == [page()]


def test_what_is_delivered_stays_delivered_after_a_restart(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    first.put(page(), ["slack", "smtp"])
    first.note("takeover-1", "slack", DELIVERED)

    again = Outbox(tmp_path)

    assert list(again.waiting("slack")) == []
    assert len(list(again.waiting("smtp"))) == 1


def test_the_same_key_is_the_same_page_also_after_it_was_delivered_and_after_a_restart(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    first.put(page(), ["slack"])
    assert first.put(page(), ["slack"]) is Put.KNOWN
    first.note("takeover-1", "slack", DELIVERED)

    again = Outbox(tmp_path)

    assert again.put(page(), ["slack"]) is Put.KNOWN
    assert list(again.waiting("slack")) == []


def test_a_full_disk_costs_no_page_and_it_is_written_when_there_is_room(tmp_path: Path) -> None:
    disk = FullDisk()
    box = Outbox(tmp_path, disk)
    assert box.put(page(), ["slack"]) is Put.NEW
    assert "No space left" in box.fault
    assert len(list(box.waiting("slack"))) == 1

    disk.full = False
    box.flush()

    assert box.fault == ""
    assert len(list(Outbox(tmp_path).waiting("slack"))) == 1


def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path) -> None:
    Outbox(tmp_path).put(page(), ["slack"])
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(path.read_bytes()[:40])

    again = Outbox(tmp_path)

    assert again.letters() == ()
    assert path.name in again.damaged[0]
    assert path.with_name(path.name + ".damaged").exists()


def test_pages_are_delivered_in_the_order_in_which_they_were_put(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    keys = [f"takeover-{number}" for number in (3, 1, 2)]
    for key in keys:
        first.put(page(key), ["slack"])
    assert [letter.page.key for letter in Outbox(tmp_path).waiting("slack")] == keys


def test_pages_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT", 3)
    box = Outbox(tmp_path)
    puts = [box.put(page(str(number)), ["slack"]) for number in range(4)]
    assert puts == [Put.NEW, Put.NEW, Put.NEW, Put.FULL]


def test_pages_that_are_done_are_forgotten_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DONE_LIMIT", 2)
    box = Outbox(tmp_path)
    for number in range(5):
        box.put(page(str(number)), ["slack"])
        box.note(str(number), "slack", DELIVERED)
    box.put(page("new"), ["slack"])
    assert [letter.page.key for letter in box.letters()] == ["3", "4", "new"]
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    Outbox(tmp_path / "outbox").put(page(), ["slack"])
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
