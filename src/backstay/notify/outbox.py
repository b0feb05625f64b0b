"""Pages on disk until they are delivered: a file a page, replaced atomically and fsynced at every step.

    OUTBOX/HASH OF THE KEY.json     the page, and how far it is on each channel

A page that is done is kept for a while, so that the same key asked again, also after a restart, is known. A file that
is damaged is set aside (.damaged) and said. A disk that takes nothing costs no page: it is held in memory, delivered
from there, and written when there is room; only a kill in between loses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from backstay.journal.disk import Disk, replace_file
from backstay.notify.model import Delivery, Fate, Letter, Page

WAITING_LIMIT = 1_000
DONE_LIMIT = 200  # a takeover needs a rearm before the next: this is months
FILE_LIMIT_BYTES = 1024 * 1024  # a page within its limits is shorter (render.harmless)

_LETTER = TypeAdapter(Letter)


class Put(StrEnum):
    """What became of a page that was put."""

    NEW = "new"
    KNOWN = "known"  # the same key was put before
    FULL = "full"  # WAITING_LIMIT pages wait already: something is wrong with all channels, and it was said


class Outbox:
    """One process writes it: who holds the state folder that it is in. `fault`: why pages are not durable, or ""."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.fault = ""
        self.damaged: list[str] = []  # files that were set aside at the start
        self._folder = folder
        self._disk = disk or Disk()
        self._letters: dict[str, Letter] = {}  # key -> letter, in the order of their numbers
        self._unwritten: set[str] = set()
        self._load()

    def put(self, page: Page, channels: Iterable[str]) -> Put:
        """Keep `page` for `channels`. Durable on return, unless `fault` says why not. Raises nothing."""
        if page.key in self._letters:
            return Put.KNOWN
        if sum(letter.waiting for letter in self._letters.values()) >= WAITING_LIMIT:
            return Put.FULL
        number = max((letter.number for letter in self._letters.values()), default=0) + 1
        self._letters[page.key] = Letter(
            number=number, page=page, deliveries={channel: Delivery() for channel in channels}
        )
        self._write(page.key)
        self._forget()
        return Put.NEW

    def waiting(self, channel: str) -> Iterator[Letter]:
        """Pages that `channel` has yet to deliver, oldest first."""
        for letter in self._letters.values():
            delivery = letter.deliveries.get(channel)
            if delivery is not None and delivery.fate is Fate.WAITING:
                yield letter

    def letters(self) -> tuple[Letter, ...]:
        """All that is kept, oldest first."""
        return tuple(self._letters.values())

    def note(self, key: str, channel: str, delivery: Delivery) -> None:
        """Keep how far a page is. Durable on return, unless `fault` says why not."""
        letter = self._letters[key]
        self._letters[key] = replace(letter, deliveries={**letter.deliveries, channel: delivery})
        self._write(key)

    def flush(self) -> None:
        """Write what could not be written before."""
        for key in list(self._unwritten):
            self._write(key)

    # --- the disk ---------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def _write(self, key: str) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._disk, self._path(key), _LETTER.dump_json(self._letters[key]))
        except OSError as error:
            self._unwritten.add(key)
            self.fault = f"{self._folder}: {error.strerror or error}. Pages are in memory only. Make room there."
            return
        self._unwritten.discard(key)
        if not self._unwritten:
            self.fault = ""

    def _forget(self) -> None:
        """Only the newest DONE_LIMIT of the pages that are done stay."""
        done = [key for key, letter in self._letters.items() if not letter.waiting]
        for key in done[: max(0, len(done) - DONE_LIMIT)]:
            try:
                self._disk.unlink(self._path(key))
            except OSError:
                continue  # another time
            self._unwritten.discard(key)
            del self._letters[key]

    def _load(self) -> None:
        try:
            paths = sorted(self._folder.glob("*.json"))
        except OSError as error:
            self.fault = f"{self._folder}: {error.strerror or error}."
            return
        found = []
        for path in paths:
            try:
                with path.open("rb") as file:
                    found.append(_LETTER.validate_json(file.read(FILE_LIMIT_BYTES)))
            except (OSError, ValidationError) as error:
                self._set_aside(path, error)
        self._letters = {letter.page.key: letter for letter in sorted(found, key=lambda letter: letter.number)}

    def _set_aside(self, path: Path, error: Exception) -> None:
        self.damaged.append(f"{path}: {type(error).__name__}; set aside as {path.name}.damaged")
        try:
            self._disk.rename(path, path.with_name(path.name + ".damaged"))
        except OSError:
            return  # it is read again at the next start, and said again
