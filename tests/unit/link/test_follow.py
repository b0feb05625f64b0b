"""What a load balancer does with its server's word: a table of words that are refused, one of steps, and properties."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.change import ChangeBook, ClockReading
from backstay.link.follow import (
    EXPIRED,
    ORDERS_KEPT,
    UNKNOWN,
    Begun,
    Followed,
    Heard,
    Pinned,
    Reason,
    Refused,
    Standing,
    Steps,
    beginning,
    decide_follow,
    having_followed,
    intending,
    parse_desired,
    settled,
    told,
    untold,
)
from backstay.link.pace import FIRST_S, LIMIT_S, retry_after_s
from backstay.link.wire import Desired, OrderOutcome

TEXT = "estate: small\n"
SHA = hashlib.sha256(TEXT.encode()).hexdigest()
PINNED = Pinned(server="server-one", estate="small", lb="lb1")
READING = ClockReading(wall=datetime(2026, 11, 23, tzinfo=UTC), boot_id="b", boottime_s=0.0)
WORD = {
    "server": "server-one",
    "estate": "small",
    "lb": "lb1",
    "revision": 7,
    "estate_sha256": SHA,
    "estate_actor": "alice",
    "changes": [],
}
BEFORE = Followed(revision=7, estate_sha256=SHA)


def a_change(change_id: str, **more: Any) -> dict[str, Any]:
    body = {"id": change_id, "kind": "drain", "node": "web2", "actor": "alice", "reason": "kernel"}
    return body | {"created_at": "2026-11-23T00:00:00Z", "duration_s": 60.0} | more


def an_order(order_id: str, **more: Any) -> dict[str, Any]:
    body = {"id": order_id, "kind": "rearm", "ip": "www", "actor": "alice", "reason": "looked"}
    return body | {"expires_in_s": 60.0} | more


def said(**more: Any) -> Desired:
    heard = parse_desired(WORD | more)
    assert isinstance(heard, Heard), heard
    return heard.desired


def book_of(*changes: dict[str, Any], undone: tuple[str, ...] = ()) -> ChangeBook:
    book = ChangeBook()
    for change in said(changes=list(changes)).changes:
        book = book.put(change.to_change(READING))
    for one in undone:
        book = book.undo(one, actor="bob", reason="here", now=READING.wall)
    return book


def decide(word: Desired, followed: Followed = BEFORE, book: ChangeBook | None = None, **more: Any) -> Refused | Steps:
    standing = Standing(book=book or ChangeBook(), estate="small", heard_sha256=followed.estate_sha256)
    return decide_follow(PINNED, followed, replace(standing, **more), word)


def steps(word: Desired, followed: Followed = BEFORE, book: ChangeBook | None = None, **more: Any) -> Steps:
    decided = decide(word, followed, book, **more)
    assert isinstance(decided, Steps), decided
    return decided


# --- words that are refused --------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], Reason, str]] = [
    ("another server", {"server": "server-two"}, Reason.ANOTHER_SERVER, "enrolled with server-one"),
    ("another load balancer", {"lb": "lb2"}, Reason.ANOTHER_LOAD_BALANCER, "speaks to lb2"),
    ("another estate", {"estate": "large"}, Reason.ANOTHER_ESTATE, "has estate large"),
    ("an older revision", {"revision": 6}, Reason.OLDER, "is at revision 6, and 7 was followed"),
    ("another text than it names", {"estate_text": "estate: large\n"}, Reason.NONSENSE, "not the one that it names"),
    ("an estate that was never told", {"estate_sha256": "1" * 64}, Reason.NONSENSE, "never told"),
    ("a change twice", {"changes": [a_change("c-000001"), a_change("c-000001")]}, Reason.NONSENSE, "c-000001 twice"),
    ("an order twice", {"orders": [an_order("o-000001"), an_order("o-000001")]}, Reason.NONSENSE, "o-000001 twice"),
    (
        "a change in force and ended",
        {"changes": [a_change("c-000001")], "ended": [{"id": "c-000001", "actor": "alice", "reason": "done"}]},
        Reason.NONSENSE,
        "both in force and ended",
    ),
]


@pytest.mark.parametrize(("_name", "more", "reason", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_word_is_refused_that_says(_name: str, more: dict[str, Any], reason: Reason, words: str) -> None:
    refused = decide(said(**more))
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert words in refused.sentence


def test_a_word_for_the_estate_of_the_enrolment_is_refused_while_another_estate_is_in_force() -> None:
    refused = decide(said(), estate="large")
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.ANOTHER_ESTATE


@pytest.mark.parametrize(
    "plain", [None, [], "word", {}, WORD | {"revision": -1}, WORD | {"changes": {}}, WORD | {"changes": [{"kind": 1}]}]
)
def test_what_is_no_word_is_refused_as_nonsense(plain: object) -> None:
    refused = parse_desired(plain)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NONSENSE


# --- steps -------------------------------------------------------------------------------------------------------


def test_a_word_that_was_followed_is_followed_by_doing_nothing() -> None:
    change = a_change("c-000001")
    followed = replace(BEFORE, changes=("c-000001",))
    assert steps(said(changes=[change]), followed, book_of(change)).nothing


def test_a_change_that_the_book_has_never_seen_is_put() -> None:
    put = steps(said(changes=[a_change("c-000001"), a_change("c-000002")]), book=book_of(a_change("c-000001"))).put
    assert [change.id for change in put] == ["c-000002"]


def test_a_change_that_somebody_undid_here_stays_undone() -> None:
    change = a_change("c-000001")
    assert steps(said(changes=[change]), book=book_of(change, undone=("c-000001",))).put == ()


def test_a_change_that_the_server_ended_is_undone_as_who_ended_it_there() -> None:
    book = book_of(a_change("c-000001"), a_change("c-000002"))
    followed = replace(BEFORE, changes=("c-000001", "c-000002"))
    ended = [{"id": "c-000001", "actor": "carol", "reason": "kernel updated"}]
    undo = steps(said(revision=9, ended=ended), followed, book).undo
    assert [(one.id, one.actor) for one in undo] == [("c-000001", "carol"), ("c-000002", "server")]


def test_a_change_that_came_by_another_way_is_left_alone() -> None:
    assert steps(said(), book=book_of(a_change("c-000001"))).undo == ()


def test_another_estate_is_adopted_once_and_what_is_applied_here_afterwards_stays() -> None:
    first = steps(said(estate_text=TEXT), Followed())
    assert first.adopt is not None
    assert (first.adopt.sha256, first.adopt.actor) == (SHA, "alice")
    # Whatever is in force here now: the server has said nothing new of its estate.
    assert steps(said(revision=8, estate_text=TEXT), BEFORE).adopt is None


def test_an_estate_that_was_refused_here_does_not_keep_the_changes_back() -> None:
    before = Followed(revision=6, estate_sha256="0" * 64)
    decided = steps(said(changes=[a_change("c-000001")]), before, heard_sha256=SHA)
    assert decided.adopt is None
    assert len(decided.put) == 1


def test_an_order_is_done_once_also_when_the_server_names_it_again() -> None:
    word = said(orders=[an_order("o-000001")])
    assert [order.id for order in steps(word).orders] == ["o-000001"]
    begun = beginning(BEFORE, "o-000001")
    under_way = steps(word, begun, at_work=frozenset({"o-000001"}))
    assert (under_way.orders, under_way.settle) == ((), ())
    done = settled(begun, [OrderOutcome(id="o-000001", done=True)])
    assert steps(word, done).nothing
    assert [one.id for one in untold(done)] == ["o-000001"]
    acked = told(done, ["o-000001"])
    assert untold(acked) == ()
    assert steps(word, acked).again == ("o-000001",)


def test_an_order_during_which_the_agent_died_is_unknown_and_not_done_again() -> None:
    decided = steps(said(orders=[an_order("o-000001")]), beginning(BEFORE, "o-000001"))
    assert decided.orders == ()
    assert decided.settle == (OrderOutcome(id="o-000001", done=False, detail=UNKNOWN),)


def test_orders_are_unknown_when_what_was_kept_is_lost() -> None:
    decided = steps(said(orders=[an_order("o-000001")]), replace(BEFORE, forgot=True))
    assert decided.orders == ()
    assert decided.settle[0].detail == UNKNOWN
    assert not having_followed(replace(BEFORE, forgot=True), said()).forgot


def test_an_order_that_comes_after_its_time_is_not_begun() -> None:
    decided = steps(said(orders=[an_order("o-000001", expires_in_s=0.0)]))
    assert (decided.orders, decided.settle[0].detail) == ((), EXPIRED)


def test_what_a_newer_server_says_in_words_of_its_own_is_told_one_by_one_and_the_rest_is_followed() -> None:
    heard = parse_desired(
        WORD
        | {
            "changes": [a_change("c-000001"), a_change("c-000002", kind="teleport")],
            "orders": [an_order("o-000001"), an_order("o-000002", kind="dance")],
            "mood": "good",
        }
    )
    assert isinstance(heard, Heard)
    assert [change.id for change in heard.desired.changes] == ["c-000001"]
    assert [(one.id, one.detail[:14]) for one in heard.refusals] == [("c-000002", "not understood")]
    assert [order.id for order in heard.desired.orders] == ["o-000001"]
    assert [one.id for one in heard.outcomes] == ["o-000002"]


# --- properties --------------------------------------------------------------------------------------------------

IDS = st.lists(st.integers(min_value=0, max_value=30), unique=True, max_size=12)


@given(st.lists(IDS, min_size=1, max_size=6))
def test_after_any_words_the_book_has_the_changes_of_the_last_one_and_a_second_time_does_nothing(
    words: list[list[int]],
) -> None:
    followed, book, ended = Followed(), ChangeBook(), set[int]()
    for revision, ids in enumerate(words, start=1):
        wanted = [one for one in ids if one not in ended]  # what ended never comes back: an id is one change
        word = said(revision=revision, estate_text=TEXT, changes=[a_change(f"change-{one:02}") for one in wanted])
        decided = steps(word, followed, book)
        followed = intending(followed, word)
        for ending in decided.undo:
            book = book.undo(ending.id, actor=ending.actor, reason=ending.reason, now=READING.wall)
            ended.add(int(ending.id.removeprefix("change-")))
        for change in decided.put:
            book = book.put(change.to_change(READING))
        followed = having_followed(followed, word)
        assert {change.id for change in book.changes} == {f"change-{one:02}" for one in wanted}
        assert steps(word, followed, book).nothing


def test_of_many_orders_only_those_are_forgotten_whose_outcome_the_server_knows() -> None:
    followed = BEFORE
    for number in range(ORDERS_KEPT + 20):
        followed = beginning(followed, f"order-{number:05}")
        if number % 2:
            one = OrderOutcome(id=f"order-{number:05}", done=True)
            followed = told(settled(followed, [one]), [one.id])
    assert len(followed.orders) == ORDERS_KEPT
    assert followed.orders["order-00000"] == Begun()
    assert "order-00001" not in followed.orders


@given(st.integers(min_value=1, max_value=10_000), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_server_that_is_back_is_known_within_the_limit(failures: int, chance: float) -> None:
    assert FIRST_S / 2 <= retry_after_s(failures, chance) <= LIMIT_S
