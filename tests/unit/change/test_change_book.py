"""The book of changes, and the rollout of one change over several load balancers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.change import (
    CHANGES_LIMIT,
    FACTOR_LIMIT,
    HISTORY_LIMIT,
    BookFull,
    Change,
    ChangeBook,
    ChangeInvalid,
    ChangeKind,
    ChangeUnknown,
    ClockReading,
    Effect,
    Ended,
    EndedBy,
    change_json,
    deadline_at,
    effect_on,
    ended_json,
    parse_request,
    parse_undo,
    request_from_json,
)
from backstay.change.rollout import Answer, Go, Reach, Reply, Stop, decide_go, load_balancers_in_scope, reach, worst
from backstay.estate.model import Estate

START = ClockReading(wall=datetime(2026, 11, 22, 12, 0, tzinfo=UTC), boot_id="one", boottime_s=1_000.0)


def later(seconds: float) -> ClockReading:
    return ClockReading(
        wall=START.wall + timedelta(seconds=seconds), boot_id="one", boottime_s=START.boottime_s + seconds
    )


def change(number: int, *, for_s: float | None = None, kind: str = "drain", **fields: Any) -> Change:
    base: dict[str, Any] = {
        "id": f"change-{number:04}",
        "kind": ChangeKind(kind),
        "node": "web2",
        "actor": "alice",
        "reason": "kernel",
        "created_at": START.wall,
        "deadline": None if for_s is None else deadline_at(START, for_s),
    }
    return Change(**(base | fields))


# -- the book ---------------------------------------------------------------------------------------------------------


def test_a_change_sent_twice_is_one_change() -> None:
    book = ChangeBook().put(change(1, for_s=60))
    assert book.put(change(1, for_s=90)) is book


def test_an_id_that_is_taken_by_another_change_is_refused() -> None:
    book = ChangeBook().put(change(1))
    for other in (change(1, node="web3"), change(1, pool="web"), change(1, kind="maintenance")):
        with pytest.raises(ChangeInvalid, match="is taken"):
            book.put(other)


def test_a_change_that_ended_does_not_come_back_with_a_late_repetition() -> None:
    book = ChangeBook().put(change(1)).undo("change-0001", actor="bob", reason="done", now=START.wall)
    assert book.put(change(1)) is book
    assert book.in_force(START) == ()


def test_undoing_is_remembered_with_who_and_why_and_is_idempotent() -> None:
    book = ChangeBook().put(change(1)).put(change(2))
    undone = book.undo("change-0001", actor="bob", reason="done", now=START.wall)
    assert undone.in_force(START) == (change(2),)
    ended = undone.get("change-0001")
    assert ended == Ended(change=change(1), by=EndedBy.UNDONE, at=START.wall, actor="bob", reason="done")
    assert undone.undo("change-0001", actor="eve", reason="again", now=START.wall) is undone
    with pytest.raises(ChangeUnknown, match="no change change-0009"):
        undone.undo("change-0009", actor="bob", reason="x", now=START.wall)


def test_changes_expire_when_they_are_due_and_not_before() -> None:
    book = ChangeBook().put(change(1, for_s=60)).put(change(2, for_s=120)).put(change(3))
    assert book.expire(later(59)) == (book, ())
    book, due = book.expire(later(60))
    assert [one.id for one in due] == ["change-0001"]
    assert [one.id for one in book.in_force(later(60))] == ["change-0002", "change-0003"]
    assert [one.id for one in book.in_force(later(120))] == ["change-0003"], "due, though nobody called expire yet"
    ended = book.get("change-0001")
    assert isinstance(ended, Ended)
    assert (ended.by, ended.actor) == (EndedBy.EXPIRED, "expiry")


def test_the_book_is_bounded() -> None:
    book = ChangeBook()
    for number in range(CHANGES_LIMIT):
        book = book.put(change(number))
    with pytest.raises(BookFull, match="Undo some"):
        book.put(change(CHANGES_LIMIT))
    for number in range(HISTORY_LIMIT + 50):
        book = book.undo(f"change-{number:04}", actor="a", reason="r", now=START.wall)
    assert len(book.ended) == HISTORY_LIMIT
    assert book.get("change-0000") is None
    assert book.get("change-0249") is not None


Step = tuple[str, int, float]


@given(
    st.lists(st.tuples(st.sampled_from(["put", "undo", "expire"]), st.integers(0, 6), st.floats(0, 200)), max_size=40)
)
def test_an_id_is_in_force_or_ended_never_both(steps: list[Step]) -> None:
    book, now, put, gone = ChangeBook(), 0.0, set[str](), set[str]()
    for step, number, seconds in steps:
        one = change(number, for_s=50.0 + number)
        if step == "put":
            book = book.put(one)
            put.add(one.id)
        elif step == "undo" and one.id in put:
            book = book.undo(one.id, actor="a", reason="r", now=later(now).wall)
            gone.add(one.id)
        elif step == "expire":
            now += seconds
            book, due = book.expire(later(now))
            gone |= {each.id for each in due}
        there = [each.id for each in book.changes]
        ended = [each.change.id for each in book.ended]
        assert sorted(there + ended) == sorted(put)
        assert set(ended) == gone


# -- what changes do together -----------------------------------------------------------------------------------------

TOGETHER = {
    "nothing": ([], Effect()),
    "a drain": ([change(1)], Effect(draining=True, changes=("change-0001",))),
    "a maintenance is quiet": (
        [change(1, kind="maintenance")],
        Effect(draining=True, quiet=True, changes=("change-0001",)),
    ),
    "weights multiply": (
        [change(1, kind="weight", factor=0.5), change(2, kind="weight", factor=0.4)],
        Effect(factor=0.2, changes=("change-0001", "change-0002")),
    ),
    "up to the limit": (
        [change(1, kind="weight", factor=3.0), change(2, kind="weight", factor=3.0)],
        Effect(factor=FACTOR_LIMIT, changes=("change-0001", "change-0002")),
    ),
    "a drain and a weight": (
        [change(1), change(2, kind="weight", factor=0.5)],
        Effect(draining=True, factor=0.5, changes=("change-0001", "change-0002")),
    ),
    "another pool's change": ([change(1, pool="api")], Effect()),
    "another node's change": ([change(1, node="web3")], Effect()),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_changes_of_one_node_compose(case: str) -> None:
    changes, effect = TOGETHER[case]
    assert effect_on(changes, "web", "web2") == effect


@given(st.permutations([change(1), change(2, kind="weight", factor=0.5), change(3, kind="weight", factor=1.5)]))
def test_the_order_in_which_they_arrived_makes_no_difference(changes: list[Change]) -> None:
    effect = effect_on(changes, "web", "web2")
    assert (effect.draining, effect.factor) == (True, 0.75)


# -- the wire ---------------------------------------------------------------------------------------------------------

BODY: dict[str, Any] = {
    "id": "change-0001",
    "kind": "drain",
    "node": "web2",
    "actor": "alice",
    "reason": "kernel",
    "created_at": "2026-11-22T12:00:00Z",
    "duration_s": 1_800,
}


def test_a_request_becomes_a_change_with_a_deadline_by_this_machines_clocks() -> None:
    request = parse_request(BODY)
    assert request.to_change(START) == change(1, for_s=1_800)
    assert parse_request(request.to_json()) == request
    assert parse_request(BODY | {"duration_s": None}).to_change(START).deadline is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"id": "x"}, "change.id"),
        ({"kind": "dr"}, "change.kind"),
        ({"node": "WEB 2"}, "change.node"),
        ({"factor": 0}, "change.factor"),
        ({"factor": 5}, "change.factor"),
        ({"actor": "a\x1b[31m"}, "change.actor.*printable"),
        ({"reason": "two\nlines"}, "change.reason.*printable"),
        ({"reason": "  "}, "change.reason"),
        ({"reason": "x" * 501}, "change.reason"),
        ({"created_at": "2026-11-22T12:00:00"}, "change.created_at.*timezone"),
        ({"duration_s": float("nan")}, "change.duration_s"),
        ({"duration_s": 31 * 86_400}, "change.duration_s"),
        ({"colour": "blue"}, "change.colour"),
    ],
)
def test_bad_input_is_one_clear_error(fault: dict[str, Any], words: str) -> None:
    with pytest.raises(ChangeInvalid, match=words):
        parse_request(BODY | fault)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(BODY)) | st.text(), inner),
    )
)
def test_whatever_is_sent_is_a_request_or_a_clear_error(data: object) -> None:
    for parse in (parse_request, parse_undo):
        try:
            parse(data)
        except ChangeInvalid as error:
            assert str(error)


def test_what_is_listed_can_be_asked_for_elsewhere_for_what_remains() -> None:
    listed = change_json(change(1, for_s=1_800, kind="weight", factor=0.5, pool="web"), later(600))
    assert listed["remaining_s"] == 1_200
    assert listed["expires_at"] == "2026-11-22T12:30:00Z"
    again = request_from_json(listed)
    assert (again.id, again.factor, again.pool, again.duration_s) == ("change-0001", 0.5, "web", 1_200)


def test_an_ended_change_tells_how_it_ended() -> None:
    ended = Ended(change=change(1), by=EndedBy.UNDONE, at=START.wall, actor="bob", reason="done")
    told = ended_json(ended, START)
    assert told["ended"] == {"by": "undone", "at": "2026-11-22T12:00:00Z", "actor": "bob", "reason": "done"}
    assert told["remaining_s"] is None


# -- over several load balancers --------------------------------------------------------------------------------------


def answers(**replies: str) -> list[Answer]:
    return [
        Answer(lb=lb, reply=Reply(reply), detail="" if reply == "done" else "because") for lb, reply in replies.items()
    ]


@pytest.mark.parametrize(
    ("asked", "decided"),
    [
        (answers(lb1="done", lb2="done"), Go()),
        (answers(lb1="done", lb2="unreachable"), Go(without=("lb2",))),
        (
            answers(lb1="refused", lb2="done", lb3="refused"),
            Stop(reply=Reply.REFUSED, sentences=("lb1, lb3: because",)),
        ),
        (answers(lb1="refused", lb2="unreachable"), Stop(reply=Reply.REFUSED, sentences=("lb1: because",))),
        (answers(lb1="failed", lb2="done"), Stop(reply=Reply.FAILED, sentences=("lb1: because",))),
        (answers(lb1="unreachable"), Stop(reply=Reply.UNREACHABLE, sentences=("lb1: because",))),
    ],
)
def test_one_objection_stops_it_for_all_and_silence_is_none(asked: list[Answer], decided: Go | Stop) -> None:
    assert decide_go(asked) == decided


def test_notes_are_told_once() -> None:
    told = [replace(answer, notes=("a", "b")) for answer in answers(lb1="done", lb2="done")]
    assert decide_go(told) == Go(notes=("a", "b"))


def test_how_far_it_came_and_what_a_script_hears() -> None:
    assert (reach(answers(a="done", b="done")), worst(answers(a="done"))) == (Reach.ALL, Reply.DONE)
    assert (reach(answers(a="done", b="refused")), worst(answers(a="done", b="refused"))) == (Reach.SOME, Reply.REFUSED)
    assert reach(answers(a="unreachable")) is Reach.NONE
    assert worst(answers(a="refused", b="failed", c="unreachable", d="done")) is Reply.UNREACHABLE
    assert worst([]) is Reply.DONE


def test_only_load_balancers_that_carry_a_pool_of_the_node_are_concerned() -> None:
    estate = Estate.model_validate(
        {
            "estate": "test",
            "regions": {"r": {"zones": {"z": {}}}},
            "nodes": {
                n: {"zone": "z", "address": f"10.0.0.{i}"} for i, n in enumerate(["lb1", "lb2", "lb3", "w1", "w2"], 1)
            },
            "clusters": {"web": {"members": ["w1", "w2"]}, "queue": {"members": ["w2"]}},
            "pools": {"web": {"cluster": "web", "port": 80}, "queue": {"cluster": "queue", "port": 81}},
            "tiers": {
                "a": {"engine": "nginx", "members": ["lb1", "lb2"]},
                "b": {"engine": "haproxy", "members": ["lb3"]},
            },
            "services": {
                "www": {"hostnames": ["w.example"], "routes": [{"path": "/", "pool": "web"}], "tiers": ["a"]},
                "q": {"tcp_port": 5000, "pool": "queue", "tiers": ["b"]},
            },
        }
    )
    assert load_balancers_in_scope(estate, "w1", None) == ("lb1", "lb2")
    assert load_balancers_in_scope(estate, "w2", None) == ("lb1", "lb2", "lb3")
    assert load_balancers_in_scope(estate, "w2", "queue") == ("lb3",)
    assert load_balancers_in_scope(estate, "lb1", None) == ()
    assert load_balancers_in_scope(estate, "w9", None) == ()
