"""The book of changes on disk: `changes.json`, replaced atomically and fsynced before a change is acknowledged.

A second copy with the same content (`changes.json.backup`) is written first, so that the file lost to a bad
sector or a stray editor costs nothing. A digest over the book finds damage that is still valid JSON.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backstay.change.book import CHANGES_LIMIT, HISTORY_LIMIT, ChangeBook
from backstay.change.model import BookNotSaved
from backstay.journal.disk import Disk, replace_file

_FORMAT = 1
_BYTES_LIMIT = 8 * 1024 * 1024  # CHANGES_LIMIT + HISTORY_LIMIT changes of the longest texts fit
_BOOK = TypeAdapter(ChangeBook)


class _Damaged(Exception):
    """What is wrong with a file, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The book, and what was wrong on the way to it (to be logged and journaled); empty when nothing was."""

    book: ChangeBook
    faults: tuple[str, ...] = ()


class ChangeStore:
    """Keeps one book in `path`. One process writes it: the agent, which holds its state folder."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self._path = path
        self._backup = path.with_name(path.name + ".backup")
        self._disk = disk or Disk()

    def load(self) -> Loaded:
        """The book that was saved last; an empty one when none ever was.

        A damaged file is set aside as `changes.json.damaged` and the backup is used. Never raises for what is in
        the files. Raises BookNotSaved when the folder cannot be read at all.
        """
        faults: list[str] = []
        for path in (self._path, self._backup):
            try:
                book = _decode(_read(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise BookNotSaved(f"{path}: {error.strerror}. The agent needs to read and write it.") from error
            except _Damaged as damage:
                faults.append(self._set_aside(path, damage))
            else:
                if faults:
                    faults.append(f"{path}: used instead")
                return Loaded(book=book, faults=tuple(faults))
        if faults:
            faults.append("no good copy is left: starting with no changes in force. Drain again what shall stay out.")
        return Loaded(book=ChangeBook(), faults=tuple(faults))

    def save(self, book: ChangeBook) -> None:
        """Return once `book` is durable. Raises BookNotSaved; then the last book is still the one on disk."""
        assert len(book.changes) <= CHANGES_LIMIT
        assert len(book.ended) <= HISTORY_LIMIT
        data = _encode(book)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._disk, self._backup, data)
            replace_file(self._disk, self._path, data)
        except OSError as error:
            raise BookNotSaved(
                f"{self._path}: {error.strerror or error}. The change is not in force. Make room or repair the disk, "
                "then ask again."
            ) from error

    def _set_aside(self, path: Path, damage: _Damaged) -> str:
        aside = path.with_name(path.name + ".damaged")  # one is kept, so that repeated damage fills no disk
        try:
            self._disk.rename(path, aside)
        except OSError as error:
            return f"{path}: {damage}; it could not be set aside ({error.strerror})"
        return f"{path}: {damage}; set aside as {aside.name}"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_BYTES_LIMIT + 1)


def _encode(book: ChangeBook) -> bytes:
    body = _BOOK.dump_python(book, mode="json")
    return json.dumps({"format": _FORMAT, "digest": _digest(body), "book": body}, indent=1).encode() + b"\n"


def _decode(data: bytes) -> ChangeBook:
    if len(data) > _BYTES_LIMIT:
        raise _Damaged(f"larger than {_BYTES_LIMIT} bytes")
    try:
        outer = json.loads(data)
    except (ValueError, RecursionError):
        raise _Damaged("no JSON (cut short or overwritten)") from None
    if not isinstance(outer, dict) or "book" not in outer:
        raise _Damaged("not a book of changes")
    if outer.get("format") != _FORMAT:
        raise _Damaged(f"format {outer.get('format')!r}, this version reads {_FORMAT}")
    if outer.get("digest") != _digest(outer["book"]):
        raise _Damaged("its digest does not match its content")
    try:
        return _BOOK.validate_python(outer["book"], strict=False)
    except ValidationError as error:
        raise _Damaged(f"{error.error_count()} faults in the book") from None


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
