"""The rules of the spool: delivery at least once and in order, everything bounded, nothing lost unsaid.

`append` returns when the event would survive a power cut. `read` gives events until `ack` says that they are stored
elsewhere; the store de-duplicates by id. When the spool is full its oldest segment goes, and a `journal.lost`
event says how many events went with it. When the disk is full `append` raises JournalError, holds the event in
memory and writes it once there is room.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backstay.journal.disk import Disk, replace_file
from backstay.journal.mint import new_id
from backstay.journal.model import Event, JournalError
from backstay.journal.spool.segments import Position, SegmentLog
from backstay.journal.wire import EventInvalid, decode, encode

READ_LIMIT_EVENTS = 10_000
READ_LIMIT_BYTES = 4 * 1024 * 1024
LOST = "journal.lost"

_RESERVE_BYTES = 2_048  # room for the journal.lost event that a full spool writes
_START = Position(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a spool keeps. A segment is an eighth of it at most: the most that goes at once."""

    size_bytes: int = 64 * 1024 * 1024
    events: int = 100_000
    segment_bytes: int = 1024 * 1024
    held_events: int = 1_000  # in memory, while the disk is full


class Spool:
    """One agent's spool in `folder`. Safe to call from several threads; one process at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        actor: str,
        limits: Limits | None = None,
        disk: Disk | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Own the folder and take stock of it. `actor` signs the spool's own events. Raises JournalError."""
        self._folder = folder
        self._actor = actor
        self._limits = limits or Limits()
        self._disk = disk or Disk()
        self._now = now
        self._mutex = threading.RLock()
        self._log = SegmentLog(
            folder,
            self._disk,
            segment_bytes=min(self._limits.segment_bytes, self._limits.size_bytes // 8),
            segment_events=max(1, self._limits.events // 8),
        )
        self._acked = _START
        self._acked_events = 0  # of the oldest segment: stored elsewhere already
        self._cursor: tuple[str, Position] | None = None  # the event read last, and the place after it
        self._held: deque[tuple[str, bytes]] = deque()  # waiting for room on the disk: id and bytes
        self._held_lost: list[str] = []  # ids that did not fit in memory either: the first and the last
        self._held_lost_count = 0
        self._lock_fd: int | None = self._own()
        try:
            self._open()
        except OSError as error:
            self.close()
            raise self._error("could not be opened", error) from error

    # -- writing ---------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Return once `event` is durable.

        Raises EventInvalid for what is no event, and JournalError when the disk does not take it: then the event
        is held in memory and written, in order, by the next `append` or `flush` that finds room.
        """
        data = encode(event)
        with self._mutex:
            self._hold(event.id, data)
            try:
                self._write_held()
            except OSError as error:
                raise self._error(f"{event.kind} is not durable yet, held in memory", error) from error

    def flush(self) -> int:
        """Write what is held in memory; how many events still are. Does not raise for a full disk."""
        with self._mutex:
            try:
                self._write_held()
            except OSError:
                return len(self._held)
            return 0

    def _hold(self, event_id: str, data: bytes) -> None:
        if any(event_id == held for held, _ in self._held):
            return  # the caller tried again
        if len(self._held) >= self._limits.held_events:
            gone, _ = self._held.popleft()
            self._held_lost = [*self._held_lost[:1], gone]
            self._held_lost_count += 1
        self._held.append((event_id, data))

    def _write_held(self) -> None:
        """All that is held, oldest first. Raises OSError; what was not written is held on."""
        if self._held_lost_count:
            first, last = self._held_lost[0], self._held_lost[-1]
            self._log.write(encode(self._lost("the disk was full", self._held_lost_count, first, last)))
            self._held_lost, self._held_lost_count = [], 0
        while self._held:
            data = self._held[0][1]
            self._make_room(len(data))
            self._log.write(data)
            self._held.popleft()

    def _make_room(self, data_bytes: int) -> None:
        """Forget oldest segments until `data_bytes` more fit into the limits. Raises OSError."""
        log, limits = self._log, self._limits
        while len(log.segments) > 1 and (
            log.size_bytes + data_bytes + _RESERVE_BYTES > limits.size_bytes or log.events + 2 > limits.events
        ):
            oldest = log.segments[0]
            gone = [_event_of(data) for data, _ in log.records(self._start(), last=oldest.number)]
            if any(gone):
                # Said before it is done: a crash in between repeats the deletion (`_open`), not the saying.
                told = self._lost("the spool was full", *_tally(gone), segment=oldest.number)
                log.write(encode(told))
            log.forget(oldest)
            self._acked_events = 0

    def _lost(self, why: str, events: int, first: str, last: str, **more: Any) -> Event:
        return Event(
            id=new_id(),
            time=self._now(),
            kind=LOST,
            subject="journal",
            actor=self._actor,
            reason=f"{why}: {events} events were not collected in time and are lost",
            data={"events": events, "first": first, "last": last, **more},
        )

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Events that are not stored elsewhere yet, those held in memory included."""
        with self._mutex:
            return self._log.events - self._acked_events + len(self._held)

    @property
    def faults(self) -> tuple[str, ...]:
        """Damage that was found on opening, in words: to be logged."""
        return tuple(self._log.faults)

    def read(self, after: str | None = None, limit: int = 1_000) -> list[Event]:
        """Up to `limit` events after the one with id `after` (None: after the acknowledged ones), oldest first.

        An id that the spool does not hold (any more) counts as None: events come twice rather than never.
        Raises JournalError when the files cannot be read.
        """
        limit = max(0, min(limit, READ_LIMIT_EVENTS))
        events: list[Event] = []
        size_bytes = 0
        with self._mutex:
            start = (self._after(after) if after is not None else None) or self._start()
            for data, place in self._records(start):
                size_bytes += len(data)
                if len(events) >= limit or (events and size_bytes > READ_LIMIT_BYTES):
                    break
                event = _event_of(data)
                if event is not None:
                    events.append(event)
                    self._cursor = (event.id, place)
        return events

    def ack(self, through: str) -> int:
        """Forget the events up to and with `through`: they are stored elsewhere. Returns how many that were.

        Durable before it returns. 0 for an id that the spool does not hold: it was acknowledged before.
        Raises JournalError when it cannot be made durable; then the events come again.
        """
        with self._mutex:
            place = self._after(through)
            if place is None or place <= self._start():
                return 0
            before = self.waiting
            acked = json.dumps({"number": place.number, "offset": place.offset, "through": through})
            try:
                replace_file(self._disk, self._folder / "acked.json", acked.encode() + b"\n")
                self._forget_before(place)
            except OSError as error:
                raise self._error("the acknowledgement is not durable", error) from error
            return before - self.waiting

    def _after(self, event_id: str) -> Position | None:
        """The place after the event with that id; None when it is not here."""
        if self._cursor is not None and self._cursor[0] == event_id and self._cursor[1] >= self._start():
            return self._cursor[1]
        needle = f'"{event_id}"'.encode(errors="replace")  # decoding each record would be slow
        for data, place in self._records(self._start()):
            if needle in data and (event := _event_of(data)) is not None and event.id == event_id:
                return place
        return None

    def _records(self, start: Position) -> Iterator[tuple[bytes, Position]]:
        """Readable records from `start` on, each with the place after it. Raises JournalError."""
        try:
            yield from self._log.records(start)
        except OSError as error:
            raise self._error("could not be read", error) from error

    def _start(self) -> Position:
        """The place of the oldest event that is not acknowledged."""
        segments = self._log.segments
        if segments and segments[0].number > self._acked.number:
            return Position(segments[0].number, 0)
        return self._acked

    # -- opening and closing ---------------------------------------------------------------------------------

    def _own(self) -> int:
        """The lock of the folder. Raises JournalError when another process has it."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._error("could not be opened", error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise JournalError(
                f"{self._folder}: another process has this spool, and only one may write it. Stop the other agent."
            ) from None
        return fd

    def _open(self) -> None:
        """Take stock, and finish what a crash interrupted. Raises OSError."""
        acked = self._read_acked()
        self._log.take_stock(acked.number)
        told = [
            event.data.get("segment", 0)
            for data, _ in self._log.records(_START)
            if f'"{LOST}"'.encode() in data and (event := _event_of(data)) is not None and event.kind == LOST
        ]
        # A segment that was told lost is deleted, and so are those before it: the oldest always goes first.
        self._forget_segments(before=max(told, default=0) + 1)
        self._forget_before(acked)

    def _read_acked(self) -> Position:
        try:
            plain = json.loads((self._folder / "acked.json").read_bytes())
            return max(_START, Position(int(plain["number"]), int(plain["offset"])))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return _START  # none yet, or damaged: deliver again what is there

    def _forget_before(self, place: Position) -> None:
        """Everything before `place` is stored elsewhere: go on from there. Raises OSError."""
        self._forget_segments(before=place.number)
        self._acked_events = 0
        oldest = self._log.segments[0] if self._log.segments else None
        if oldest is not None and oldest.number == place.number:
            # Never beyond what is there: events written later would count as acknowledged.
            place = Position(place.number, min(place.offset, oldest.size_bytes))
            ends = (end for _, end in self._log.records(Position(place.number, 0), last=place.number))
            self._acked_events = sum(1 for end in ends if end <= place)
        self._acked = place

    def _forget_segments(self, before: int) -> None:
        for segment in [segment for segment in self._log.segments if segment.number < before]:
            self._log.forget(segment)

    def close(self) -> None:
        """Give the spool up. What is held in memory is lost; it was never acknowledged."""
        with self._mutex:
            self._log.close()
            fd, self._lock_fd = self._lock_fd, None
            if fd is not None:
                os.close(fd)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _error(self, what: str, error: OSError) -> JournalError:
        why = error.strerror or str(error)
        return JournalError(f"{self._folder}: {what}: {why}. Make room on that disk or repair it.")


def _event_of(data: bytes) -> Event | None:
    """The event of a record; None for one that another version wrote and this one cannot read."""
    try:
        return decode(data)
    except EventInvalid:
        return None


def _tally(gone: Sequence[Event | None]) -> tuple[int, str, str]:
    """How many events are lost with these, and the first and last id of them.

    A `journal.lost` event among them stands for those that it told of, so the sum stays right.
    """
    count, ids = 0, []
    for event in gone:
        if event is None:
            continue
        told = event.kind == LOST
        count += int(event.data["events"]) if told else 1
        ids += [str(event.data["first"]), str(event.data["last"])] if told else [event.id]
    return count, min(ids), max(ids)
