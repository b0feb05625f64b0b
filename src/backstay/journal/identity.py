"""Ids of events and changes: unique without co-ordination, and in the order of time. Pure; `mint.py` reads the clock.

A ULID (github.com/ulid/spec): 48 bits of Unix milliseconds, 80 random bits, as 26 letters and digits of
Crockford's base 32. It sorts as text in the order of time, a double click selects it, and no two look alike
(no I, L, O, U).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

RANDOM_BITS = 80
ID_LENGTH = 26

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TIME_LIMIT_MS = 1 << 48
_SHAPE = re.compile(rf"[0-7][{_ALPHABET}]{{{ID_LENGTH - 1}}}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_id(time_ms: int, randomness: int) -> str:
    """The id for `time_ms` (Unix milliseconds) and `randomness` (RANDOM_BITS bits)."""
    assert 0 <= time_ms < _TIME_LIMIT_MS
    assert 0 <= randomness < 1 << RANDOM_BITS
    return _encode(time_ms << RANDOM_BITS | randomness)


def next_id(previous: str | None, time_ms: int, randomness: int) -> str:
    """An id that is greater than `previous`, also when the clock stands still or was stepped back.

    Within one millisecond the random part is counted on (the ULID's monotonic rule), so the ids that one process
    makes are in the order in which it made them.
    """
    fresh = make_id(time_ms, randomness)
    if previous is None or fresh > previous:
        return fresh
    return _encode(_decode(previous) + 1)


def is_id(text: str) -> bool:
    """Is `text` of an id's shape?"""
    return _SHAPE.fullmatch(text) is not None


def time_of(event_id: str) -> datetime:
    """The time (UTC, to the millisecond) in an id. Raises ValueError for what is no id."""
    if not is_id(event_id):
        raise ValueError(f'"{event_id[:40]}" is no id: {ID_LENGTH} letters and digits')
    return _EPOCH + timedelta(milliseconds=_decode(event_id) >> RANDOM_BITS)


def _encode(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))


def _decode(event_id: str) -> int:
    number = 0
    for letter in event_id:
        number = number << 5 | _ALPHABET.index(letter)
    return number
