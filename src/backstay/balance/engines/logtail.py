"""A log that an engine writes, read as it grows: complete lines, bounded, rotated."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

ROTATE_AT_BYTES = 64 * 1024 * 1024
_READ_LIMIT_BYTES = 16 * 1024 * 1024  # of one call
_BACKLOG_LIMIT_BYTES = 64 * 1024 * 1024  # a reader that is further behind skips to the newest
_LINE_LIMIT_BYTES = 524_288


class LogTail:
    """Reads `path` from its present end on; what was written before nobody asked for.

    Rotation: when the file is over `rotate_at_bytes` it is renamed to `path.1` and `reopen()` makes the writer open a
    new one. The old file is read until a whole further call finds nothing more in it, because the writer may still
    hold it for a moment.
    """

    def __init__(self, path: Path, *, reopen: Callable[[], object], rotate_at_bytes: int = ROTATE_AT_BYTES) -> None:
        self.skipped_bytes = 0  # not read, because the reader was too far behind
        self._path = path
        self._reopen = reopen
        self._rotate_at_bytes = rotate_at_bytes
        self._remainder = b""
        self._idle_calls = 0
        self._descriptor = self._open()
        if self._descriptor is not None:
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """Lines completed since the last call, at most 16 MB of them; rotates when it is time to."""
        if self._descriptor is None:
            self._descriptor = self._open()
            if self._descriptor is None:
                return []
        data = self._read(self._descriptor)
        self._turn_page(self._descriptor, found=bool(data))
        *complete, self._remainder = (self._remainder + data).split(b"\n")
        if len(self._remainder) > _LINE_LIMIT_BYTES:
            self._remainder = b""  # its rest will be garbage, and is counted as such
        return [line.decode(errors="replace") for line in complete]

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int | None:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _read(self, descriptor: int) -> bytes:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        size = os.fstat(descriptor).st_size
        if size < position:  # somebody truncated it
            position = os.lseek(descriptor, 0, os.SEEK_SET)
        if size - position > _BACKLOG_LIMIT_BYTES:
            newest = size - _READ_LIMIT_BYTES
            self.skipped_bytes += newest - position
            self._remainder = b""
            os.lseek(descriptor, newest, os.SEEK_SET)
        chunks: list[bytes] = []
        left = _READ_LIMIT_BYTES
        while left > 0 and (chunk := os.read(descriptor, min(left, 1_048_576))):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)

    def _turn_page(self, descriptor: int, *, found: bool) -> None:
        """Go on to the new file after a rotation (ours or another's); start a rotation when the file is large."""
        mine = os.fstat(descriptor)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return  # renamed; the writer has not opened the new one yet
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            self._idle_calls = 0 if found else self._idle_calls + 1
            if self._idle_calls >= 2:
                os.close(descriptor)
                self._descriptor = self._open()
                self._idle_calls = 0
        elif mine.st_size >= self._rotate_at_bytes:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._reopen()
