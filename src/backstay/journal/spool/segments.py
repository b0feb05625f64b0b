"""A log in segment files: records appended durably at one end, whole segments forgotten at the other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from backstay.journal.disk import Disk
from backstay.journal.wire import frame, scan

_NAME = re.compile(r"(\d{10})\.spool", re.ASCII)


class Position(NamedTuple):
    """A place in the log: before the record at `offset` of segment `number`. Places compare as the log runs."""

    number: int
    offset: int


@dataclass(slots=True)
class Segment:
    """One file. Numbers only grow; none is used twice."""

    number: int
    size_bytes: int = 0  # up to the end of its last good record
    events: int = 0


class SegmentLog:
    """The segments in `folder`. Not safe for several threads: its owner holds a lock.

    Every method raises OSError for what the disk refuses, and leaves the log as it was then.
    """

    def __init__(self, folder: Path, disk: Disk, *, segment_bytes: int, segment_events: int) -> None:
        self._folder = folder
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._segment_events = segment_events
        self._fd: int | None = None  # of the newest segment, at its end
        self._newest = 0  # number of the newest segment that ever was
        self.segments: list[Segment] = []  # oldest first
        self.faults: list[str] = []  # damage that was found when taking stock

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)

    @property
    def events(self) -> int:
        return sum(segment.events for segment in self.segments)

    def take_stock(self, newest: int) -> None:
        """Count what is on disk. `newest` is the greatest number known to have been in use."""
        numbers = [int(match[1]) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        self._newest = max([newest, *numbers])
        for number in sorted(numbers):
            segment = Segment(number)
            good_bytes = 0
            for record in scan(self._path(number).read_bytes()):
                segment.events += 1
                segment.size_bytes = record.end
                good_bytes += record.end - record.start
            if good_bytes < segment.size_bytes:  # bytes after the last good record are a torn tail, and no fault
                damaged = segment.size_bytes - good_bytes
                self.faults.append(f"{self._path(number)}: {damaged} bytes are damaged, their events are lost")
            self.segments.append(segment)

    def write(self, data: bytes) -> None:
        """Append one record; it is durable when this returns."""
        record = frame(data)
        newest = self._newest_for(len(record))
        fd = self._open(newest)
        try:
            self._disk.write(fd, record)
            self._disk.fsync(fd)
        except OSError:
            # After a failed fsync nobody knows what is on the disk (fsync(2)). `_open` cuts it off before the next
            # record, which is then written anew.
            self.close()
            raise
        newest.size_bytes += len(record)
        newest.events += 1

    def records(self, start: Position, last: int | None = None) -> Iterator[tuple[bytes, Position]]:
        """The records from `start` on (through segment `last`), each with the place after it."""
        for segment in tuple(self.segments):
            if segment.number < start.number or (last is not None and segment.number > last):
                continue
            offset = start.offset if segment.number == start.number else 0
            for record in scan(self._content(segment), offset):
                yield record.data, Position(segment.number, record.end)

    def forget(self, segment: Segment) -> None:
        """Remove a segment. Its file may stay (unlink failed) or come back (power cut); the owner knows its number."""
        if segment.number == self._newest:
            self.close()
        self.segments.remove(segment)
        self._disk.unlink(self._path(segment.number))

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd)

    def _newest_for(self, record_bytes: int) -> Segment:
        """The segment that takes the next record: a new one when the newest is full, or when there is none."""
        newest = self.segments[-1] if self.segments else None
        if newest is not None and (newest.events == 0 or not self._is_full(newest, record_bytes)):
            return newest
        self.close()
        fresh = Segment(self._newest + 1)
        self._disk.close(self._disk.open_append(self._path(fresh.number)))
        self._disk.fsync_folder(self._folder)
        self._newest = fresh.number
        self.segments.append(fresh)
        return fresh

    def _is_full(self, segment: Segment, record_bytes: int) -> bool:
        return segment.size_bytes + record_bytes > self._segment_bytes or segment.events >= self._segment_events

    def _open(self, newest: Segment) -> int:
        """A descriptor at the end of the last good record of `newest`; a torn tail is cut off."""
        if self._fd is None:
            fd = self._disk.open_append(self._path(newest.number))
            try:
                if os.fstat(fd).st_size != newest.size_bytes:
                    self._disk.truncate(fd, newest.size_bytes)
                    self._disk.fsync(fd)
            except OSError:
                self._disk.close(fd)
                raise
            self._fd = fd
        return self._fd

    def _content(self, segment: Segment) -> bytes:
        with self._path(segment.number).open("rb") as file:
            return file.read(segment.size_bytes)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010}.spool"
