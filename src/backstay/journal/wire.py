"""An event as bytes: its canonical JSON, and the frame that the spool wraps around it. Pure.

Canonical: equal events give equal bytes, on every machine and in every database; the chain hashes them.
Keys sorted, no blanks, UTF-8, times in UTC with six digits of the second, no NaN (RFC 8785 in spirit; numbers
are written as Python's json writes them).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backstay.journal.model import Event, JournalError

EVENT_LIMIT_BYTES = 64 * 1024  # of canonical JSON; larger things are files, and the event names them
_TEXT_LIMIT = 1_000  # characters of id, kind, subject, actor, reason, cause
_DEPTH_LIMIT = 20  # of nested data
_KIND = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+", re.ASCII)
_ID = re.compile(r"[0-9A-Za-z_-]{8,64}", re.ASCII)


class EventInvalid(JournalError):
    """What is no event: which field, and why."""


def format_time(time: datetime) -> str:
    """ISO 8601 in UTC with six digits, so that texts sort as times do. Raises EventInvalid without a time zone."""
    if time.tzinfo is None:
        raise EventInvalid(f"time: {time.isoformat()} has no time zone")
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def parse_time(text: str) -> datetime:
    """The UTC time in ISO 8601 `text`. Raises EventInvalid."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise EventInvalid(f'time: "{text[:40]}" is no ISO 8601 time') from None
    if time.tzinfo is None:
        raise EventInvalid(f'time: "{text[:40]}" has no time zone')
    return time.astimezone(UTC)


def event_json(event: Event) -> dict[str, Any]:
    """The event as plain JSON values."""
    return {
        "id": event.id,
        "time": format_time(event.time),
        "kind": event.kind,
        "subject": event.subject,
        "actor": event.actor,
        "reason": event.reason,
        "data": event.data,
        "cause": event.cause,
    }


def encode(event: Event) -> bytes:
    """Canonical JSON. Raises EventInvalid for what would not come back as it went in, or is too large."""
    _check(event)
    try:
        text = json.dumps(event_json(event), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = text.encode()
    except (TypeError, ValueError, RecursionError) as error:  # no JSON value, NaN, a cycle, a lone surrogate
        raise EventInvalid(f"data of {event.kind}: {error}") from None
    if len(data) > EVENT_LIMIT_BYTES:
        raise EventInvalid(f"{event.kind}: {len(data)} bytes, an event has at most {EVENT_LIMIT_BYTES}")
    return data


def decode(data: bytes | str) -> Event:
    """The event in JSON `data`. Raises EventInvalid."""
    if len(data) > EVENT_LIMIT_BYTES:
        raise EventInvalid(f"{len(data)} bytes, an event has at most {EVENT_LIMIT_BYTES}")
    try:
        return event_from_json(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise EventInvalid(str(error)) from None


def event_from_json(plain: object) -> Event:
    """The event in plain JSON values. Raises EventInvalid. Keys that are not known are left out."""
    if not isinstance(plain, Mapping):
        raise EventInvalid("an event is a JSON object")
    texts = {key: plain.get(key) for key in ("id", "time", "kind", "subject", "actor", "reason")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise EventInvalid(f"{key}: {'is missing' if value is None else 'is no text'}")
    cause, data = plain.get("cause"), plain.get("data", {})
    if cause is not None and not isinstance(cause, str):
        raise EventInvalid("cause: is no text")
    if not isinstance(data, Mapping):
        raise EventInvalid("data: is no JSON object")
    time = parse_time(str(texts.pop("time")))
    event = Event(time=time, data=dict(data), cause=cause, **{key: str(value) for key, value in texts.items()})
    _check(event)
    return event


def _check(event: Event) -> None:
    for name in ("id", "kind", "subject", "actor", "reason"):
        text = getattr(event, name)
        if len(text) > _TEXT_LIMIT:
            raise EventInvalid(f"{name}: more than {_TEXT_LIMIT} characters")
        if "\0" in text:  # PostgreSQL's text has none
            raise EventInvalid(f"{name}: holds a zero byte")
    if not _ID.fullmatch(event.id):
        raise EventInvalid(f"id: {event.id!r:.60} is no id (8 to 64 letters, digits, - and _)")
    if event.cause is not None and not _ID.fullmatch(event.cause):
        raise EventInvalid(f"cause: {event.cause!r:.60} is no id")
    if not _KIND.fullmatch(event.kind):
        raise EventInvalid(f'kind: {event.kind!r:.60} is not dotted lower-case words ("drain.started")')
    if not event.subject or not event.actor:
        raise EventInvalid(f"{event.kind}: an event needs a subject and an actor")
    _check_value(event.data, _DEPTH_LIMIT)


def _check_value(value: object, depth: int) -> None:
    """Only what JSON gives back as it was: a key that is no text would not."""
    if depth < 0:
        raise EventInvalid(f"data: nested deeper than {_DEPTH_LIMIT}")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise EventInvalid(f"data: the key {key!r:.40} is no text")
            _check_value(inner, depth - 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_value(inner, depth - 1)
    elif value is not None and not isinstance(value, (str, int, float, bool)):
        raise EventInvalid(f"data: {type(value).__name__} is no JSON value")


@dataclass(frozen=True, slots=True)
class Frame:
    """One good record of a segment: its event's bytes, and where it lies."""

    data: bytes
    start: int  # offset in the segment
    end: int


# The spool's record: length, checksum, event, newline. JSON text has no raw newline, so a reader that meets
# damage finds the next record at the next newline.
_HEAD = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ", re.ASCII)
_HEAD_BYTES = 18
FRAME_BYTES = _HEAD_BYTES + 1  # a record is that much longer than its event


def frame(data: bytes) -> bytes:
    """The record for an event's bytes."""
    assert b"\n" not in data
    return b"%08x %08x %s\n" % (len(data), zlib.crc32(data), data)


def scan(segment: bytes, start: int = 0) -> Iterator[Frame]:
    """The good records of `segment` from offset `start` on; damaged ones are passed over.

    Bytes after the last record's end are a torn tail: a write that was never acknowledged.
    """
    while start < len(segment):
        newline = segment.find(b"\n", start)
        if newline < 0:
            return
        head = _HEAD.match(segment, start)
        data = segment[start + _HEAD_BYTES : newline]
        if head and int(head[1], 16) == len(data) and int(head[2], 16) == zlib.crc32(data):
            yield Frame(data, start, newline + 1)
        start = newline + 1
