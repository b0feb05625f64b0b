"""What the journal is told of refusals: each, and no flood."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backstay.server.access.refusals import ADDRESSES_LIMIT, KINDS_LIMIT, SHARED, Kind, Refusals

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KIND = Kind(who="vera", what="POST /changes", code="role")


def test_the_first_refusal_is_told_at_once_and_alone() -> None:
    refusals = Refusals()
    telling = refusals.note(KIND, "192.0.2.7", NOW)
    assert telling is not None
    assert (telling.times, telling.addresses) == (1, ("192.0.2.7",))
    assert refusals.due(NOW + timedelta(hours=1)) == []


def test_repetitions_are_one_line_a_minute_later() -> None:
    refusals = Refusals()
    refusals.note(KIND, "192.0.2.7", NOW)
    for second in range(1, 1_000):
        assert refusals.note(KIND, f"192.0.2.{second % 250}", NOW + timedelta(seconds=second / 100)) is None
    assert refusals.due(NOW + timedelta(seconds=59)) == []
    (telling,) = refusals.due(NOW + timedelta(seconds=60))
    assert telling.times == 999
    assert len(telling.addresses) == ADDRESSES_LIMIT
    assert refusals.note(KIND, "192.0.2.7", NOW + timedelta(seconds=61)) is not None  # a new minute


def test_a_flood_of_kinds_shares_one_line_and_its_memory_is_bounded() -> None:
    refusals = Refusals()
    told = [refusals.note(Kind(who=f"u{n}", what="GET /", code="role"), "::1", NOW) for n in range(5_000)]
    assert sum(one is not None for one in told) == KINDS_LIMIT
    lines = refusals.due(NOW + timedelta(seconds=60))
    assert [(line.kind.who, line.times) for line in lines] == [(SHARED, 5_000 - KINDS_LIMIT)]


def test_at_the_end_nothing_is_left_untold() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.note(KIND, "::1", NOW)
    assert [line.times for line in refusals.due(NOW, all_of_them=True)] == [2]
