"""Ids, canonical bytes, frames and the chain: the pure parts of the journal."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.journal import (
    Broken,
    Event,
    EventInvalid,
    Fault,
    Link,
    Whole,
    event_from_json,
    event_json,
    format_time,
    is_id,
    new_id,
    parse_time,
    time_of,
)
from backstay.journal.chain import GENESIS, extend, verify
from backstay.journal.identity import RANDOM_BITS, make_id, next_id
from backstay.journal.wire import EVENT_LIMIT_BYTES, FRAME_BYTES, decode, encode, frame, scan

NOW = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)

writable = st.characters(exclude_categories=["Cs"])  # UTF-8 has no lone surrogates
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(writable),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(writable), inner, max_size=4),
    max_leaves=12,
)
events = st.builds(
    Event,
    id=st.from_regex(r"[0-9A-Za-z_-]{8,64}", fullmatch=True),
    time=st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC)),  # noqa: DTZ001
    kind=st.just("drain.started"),
    subject=texts.filter(bool),
    actor=texts.filter(bool),
    reason=texts,
    data=st.dictionaries(st.text(writable), json_values, max_size=4),
    cause=st.none() | st.just("event-00000001"),
)


def event(number: int = 1, **fields: Any) -> Event:
    base = Event(id=f"event{number:08}", time=NOW, kind="a.b", subject="s", actor="a", reason="r")
    return replace(base, **fields)


# -- ids --------------------------------------------------------------------------------------------------------------

moments = st.integers(0, 2**48 - 1)
chances = st.integers(0, 2**RANDOM_BITS - 1)


@given(moments, chances)
def test_an_id_has_its_time_in_it(time_ms: int, randomness: int) -> None:
    made = make_id(time_ms, randomness)
    assert is_id(made)
    if time_ms < 253_402_300_800_000:  # the year 10,000
        assert time_of(made) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)


@given(moments, chances, moments, chances)
def test_ids_sort_as_their_times_do(one_ms: int, one: int, other_ms: int, other: int) -> None:
    assert (make_id(one_ms, one) < make_id(other_ms, other)) == ((one_ms, one) < (other_ms, other))


@given(st.lists(st.tuples(st.integers(0, 2**40), chances), max_size=30))
def test_the_ids_of_one_process_grow_whatever_the_clock_does(readings: list[tuple[int, int]]) -> None:
    made: list[str] = []
    for time_ms, randomness in readings:
        made.append(next_id(made[-1] if made else None, time_ms, randomness))
    assert made == sorted(set(made))


def test_new_ids_are_unique_grow_and_are_of_now() -> None:
    made = [new_id() for _ in range(2_000)]
    assert made == sorted(set(made))
    assert abs(time_of(made[0]) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("text", ["", "x", "0" * 25, "8" + "0" * 25, "U" * 26, "0" * 27, "0" * 25 + "\n"])
def test_what_is_no_id_is_told(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(ValueError, match="is no id"):
        time_of(text)


# -- bytes ------------------------------------------------------------------------------------------------------------


@given(events)
def test_an_event_comes_back_from_its_bytes(told: Event) -> None:
    data = encode(told)
    assert decode(data) == told
    assert encode(decode(data)) == data
    assert event_from_json(json.loads(json.dumps(event_json(told)))) == told


@given(events)
def test_equal_events_have_equal_bytes_whatever_the_order_of_their_keys(told: Event) -> None:
    turned = replace(told, data=dict(reversed(list(told.data.items()))))
    assert encode(turned) == encode(told)


def test_a_time_is_one_text_in_every_zone() -> None:
    moved = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert format_time(moved) == format_time(NOW) == "2026-11-22T12:00:00.000005Z"
    assert parse_time("2026-11-22T13:00:00+01:00") == NOW.replace(microsecond=0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "x"}, "id: 'x' is no id"),
        ({"id": "x" * 65}, "is no id"),
        ({"kind": "Drain Started"}, "kind:.*dotted"),
        ({"kind": "drain"}, "kind:.*dotted"),
        ({"subject": ""}, "needs a subject"),
        ({"actor": ""}, "needs a subject and an actor"),
        ({"reason": "x" * 1_001}, "reason: more than 1000"),
        ({"reason": "a\0b"}, "reason: holds a zero byte"),
        ({"reason": "\ud800"}, "surrogates"),
        ({"cause": "?"}, "cause: '\\?' is no id"),
        ({"time": NOW.replace(tzinfo=None)}, "no time zone"),
        ({"data": {"a": float("inf")}}, "data of a.b"),
        ({"data": {1: 2}}, "the key 1 is no text"),
        ({"data": {"a": NOW}}, "datetime is no JSON value"),
        ({"data": {"a": b"x"}}, "bytes is no JSON value"),
        ({"data": {"a": "x" * EVENT_LIMIT_BYTES}}, "at most 65536"),
        ({"data": json.loads('{"a":' * 30 + "1" + "}" * 30)}, "nested deeper than 20"),
    ],
)
def test_what_is_no_event_is_refused_and_told_why(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(EventInvalid, match=words):
        encode(event(**fields))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 60_000, b"x" * (EVENT_LIMIT_BYTES + 1), b'{"id":"event00000001"}',
     encode(event()).replace(b'"reason":"r"', b'"reason":7'), encode(event()).replace(b'"data":{}', b'"data":[]'),
     encode(event()).replace(b"2026-11-22", b"2026-13-22"), encode(event()).replace(b".000005Z", b""),
     encode(event()).replace(b'"cause":null', b'"cause":[]')],
)  # fmt: skip
def test_bytes_that_are_no_event_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(EventInvalid):
        decode(data)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_an_event_or_a_clear_error(data: bytes | str) -> None:
    try:
        decode(data)
    except EventInvalid as error:
        assert str(error)


# -- frames -----------------------------------------------------------------------------------------------------------

lines = st.binary(max_size=60).map(lambda data: data.replace(b"\n", b""))


@given(st.lists(lines, max_size=8), st.binary(max_size=30))
def test_records_are_found_again_before_any_torn_tail(datas: list[bytes], tail: bytes) -> None:
    segment = b"".join(frame(data) for data in datas)
    tail = tail.replace(b"\n", b"")
    found = list(scan(segment + tail))
    assert [record.data for record in found] == datas
    assert (found[-1].end if found else 0) == len(segment) == sum(len(data) + FRAME_BYTES for data in datas)


@given(st.lists(lines, min_size=1, max_size=6), st.data())
def test_a_damaged_byte_costs_at_most_the_records_that_it_touches(datas: list[bytes], draw: st.DataObject) -> None:
    segment = bytearray(b"".join(frame(data) for data in datas))
    position = draw.draw(st.integers(0, len(segment) - 1))
    segment[position] ^= draw.draw(st.integers(1, 255))
    found = [record.data for record in scan(bytes(segment))]
    assert len(found) >= len(datas) - 2  # a damaged newline joins two
    rest = iter(datas)
    assert all(data in rest for data in found), "nothing that was not there, and in order"


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_can_be_scanned(segment: bytes, start: int) -> None:
    for record in scan(segment, start):
        assert start <= record.start < record.end <= len(segment)


# -- the chain --------------------------------------------------------------------------------------------------------


def chain(size: int) -> list[Link]:
    return extend(0, GENESIS, [event(number) for number in range(1, size + 1)])


def check(links: list[Link]) -> Whole | Broken:
    hashes = {link.hash for link in links}
    return verify(links, known=hashes.__contains__)


def test_a_hash_is_sha_256_over_the_hash_before_and_the_event() -> None:
    first, second = chain(2)
    assert first.hash == hashlib.sha256(b"0" * 64 + encode(first.event)).hexdigest()
    assert second.hash == hashlib.sha256(first.hash.encode() + encode(second.event)).hexdigest()


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_chain_that_is_extended_in_parts_is_the_same_chain(size: int, cut: int) -> None:
    whole = chain(size)
    cut = min(cut, size)
    head = whole[cut - 1].hash if cut else GENESIS
    assert extend(cut, head, [link.event for link in whole[cut:]]) == whole[cut:]
    assert check(whole) == Whole(links=size, head=whole[-1].hash if whole else GENESIS)


@given(st.integers(1, 12), st.data())
def test_an_altered_event_is_named(size: int, draw: st.DataObject) -> None:
    links = chain(size)
    at = draw.draw(st.integers(0, size - 1))
    change = draw.draw(
        st.sampled_from(
            [
                {"reason": "other"},
                {"data": {"x": 1}},
                {"time": NOW + timedelta(microseconds=1)},
                {"actor": "eve"},
                {"cause": "event-00000009"},
            ]
        )
    )
    links[at] = replace(links[at], event=replace(links[at].event, **change))
    found = check(links)
    assert isinstance(found, Broken)
    assert (found.seq, found.fault) == (at + 1, Fault.ALTERED)
    assert found.event_id == links[at].event.id


@given(st.integers(2, 12), st.data())
def test_a_missing_link_is_named_by_the_one_after_it(size: int, draw: st.DataObject) -> None:
    links = chain(size)
    first = draw.draw(st.integers(0, size - 2))
    last = draw.draw(st.integers(first + 1, size - 1))
    found = check(links[:first] + links[last:])
    assert isinstance(found, Broken)
    assert (found.seq, found.fault) == (last + 1, Fault.MISSING)


@given(st.integers(2, 12), st.data())
def test_links_that_changed_places_are_named(size: int, draw: st.DataObject) -> None:
    links = chain(size)
    one, other = sorted(draw.draw(st.sets(st.integers(0, size - 1), min_size=2, max_size=2)))
    links[one], links[other] = replace(links[other], seq=one + 1), replace(links[one], seq=other + 1)
    found = check(links)
    assert isinstance(found, Broken)
    assert (found.seq, found.fault) == (one + 1, Fault.REORDERED)


def test_a_link_that_was_replaced_together_with_its_hash_is_found_at_the_next() -> None:
    links = chain(5)
    links[2] = extend(2, links[1].hash, [event(3, reason="other")])[0]
    found = check(links)
    assert isinstance(found, Broken)
    assert (found.seq, found.fault) == (4, Fault.MISSING)
    assert "replaced" in found.sentence


def test_a_link_under_a_wrong_number_is_named() -> None:
    links = chain(5)
    links[4] = replace(links[4], seq=9)
    found = check(links)
    assert isinstance(found, Broken)
    assert (found.seq, found.fault) == (9, Fault.REORDERED)
