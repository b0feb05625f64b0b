"""HAProxy's access log: its standard output in a file, which it cannot be told to open anew.

Nor can that file be emptied: HAProxy takes append mode off its output, so its next line would be written where the last
one ended. But what has been read can be given back to the file system (a hole), while HAProxy writes on behind it:
nothing waits, and no line is lost. `log/access.log.1` keeps the part before.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from backstay.balance.engines.logtail import LogTail

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # fallocate(2)
_COPY_BYTES = 1_048_576


class OutputTail(LogTail):
    """A LogTail that rotates without its writer. The disk holds at most twice `rotate_at_bytes`, and what is unread.

    The file system must know holes: ext4, xfs, btrfs and tmpfs do. Elsewhere the file grows until the engine starts
    anew.
    """

    def __init__(self, path: Path, *, rotate_at_bytes: int) -> None:
        super().__init__(path, reopen=lambda: None, rotate_at_bytes=rotate_at_bytes)

    def begin_anew(self) -> None:
        """Put the file aside, before an engine starts and opens it."""
        if self._path.exists():
            self._path.replace(self._aside)

    @property
    def _aside(self) -> Path:
        return self._path.with_name(f"{self._path.name}.1")

    def _turn_page(self, descriptor: int, *, found: bool) -> None:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return  # put aside, and the engine has not started yet
        if not os.path.samestat(os.fstat(descriptor), there):
            super()._turn_page(descriptor, found=found)  # the engine started anew
            return
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        begin = _first_data(descriptor, end)
        if end - begin >= self._rotate_at_bytes:
            self._copy(descriptor, begin, end)
            _give_back(self._path, end)

    def _copy(self, descriptor: int, begin: int, end: int) -> None:
        fresh = self._aside.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
            while begin < end and (chunk := os.pread(descriptor, min(_COPY_BYTES, end - begin), begin)):
                copy.write(chunk)
                begin += len(chunk)
        fresh.replace(self._aside)


def keep_end(path: Path, *, limit_bytes: int) -> None:
    """Give back all but the end of a log that takes over `limit_bytes` of the disk."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if status.st_blocks * 512 > limit_bytes:
        _give_back(path, max(0, status.st_size - limit_bytes // 2))


def _first_data(descriptor: int, position: int) -> int:
    """Where the file's first hole ends; leaves the file at `position`."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:
        return position  # nothing but a hole
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)


def _give_back(path: Path, length: int) -> None:
    """Make the first `length` bytes of a file a hole. A file system that knows none keeps them."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        libc.fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(length))
    finally:
        os.close(descriptor)
