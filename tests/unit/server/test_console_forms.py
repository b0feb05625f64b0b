"""What people submit: read, checked, and faults by the field that they are of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backstay.change import ChangeKind
from backstay.server.console.forms import AdoptForm, ChangeForm, Faults, FreezeForm, UndoForm, confirm, parse
from backstay.server.console.rooms.changes import name_of
from backstay.server.console.rooms.journal import moment_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DRAIN = {"ask": "asking-0001", "reason": "kernel", "selector": "node/web2", "kind": "drain", "lasts": "30m"}


def test_a_change_is_asked_for_as_it_was_filled_in() -> None:
    asked = parse(ChangeForm, DRAIN | {"pool": "web"}).asked()
    assert (asked.id, asked.selector, asked.kind, asked.pool, asked.duration_s) == (
        "asking-0001",
        "node/web2",
        ChangeKind.DRAIN,
        "web",
        1800.0,
    )


def test_what_is_left_in_fields_of_another_kind_is_left_aside() -> None:
    asked = parse(ChangeForm, DRAIN | {"factor": "0.5", "parameter": "workers", "value": "8"}).asked()
    assert (asked.factor, asked.parameter, asked.value) == (None, None, None)


@pytest.mark.parametrize(
    ("typed", "value"), [("8", 8), ("true", True), ('"8"', "8"), ("web", "web"), ('["a"]', ["a"]), ("", "")]
)
def test_a_parameter_is_json_where_it_is_json_and_else_the_text(typed: str, value: Any) -> None:
    form = parse(ChangeForm, DRAIN | {"kind": "parameter", "parameter": "workers", "value": typed})
    assert form.asked().value == value


@pytest.mark.parametrize(
    ("form", "given", "field"),
    [
        (ChangeForm, DRAIN | {"reason": "  "}, "reason"),
        (ChangeForm, DRAIN | {"reason": "two\nlines"}, "reason"),
        (ChangeForm, DRAIN | {"lasts": "soon"}, "lasts"),
        (ChangeForm, DRAIN | {"kind": "explode"}, "kind"),
        (ChangeForm, {key: value for key, value in DRAIN.items() if key != "selector"}, "selector"),
        (UndoForm, {"ask": "short", "reason": "r"}, "ask"),
        (FreezeForm, {"ask": "asking-0001", "reason": "r", "lasts": "40d"}, "lasts"),
        (AdoptForm, {"ask": "asking-0001", "reason": "r", "estate": "x", "against": "nonsense"}, "against"),
        (UndoForm, {f"field{number}": "x" for number in range(51)}, ""),
    ],
)
def test_a_fault_is_of_its_field(form: type[UndoForm], given: dict[str, str], field: str) -> None:
    with pytest.raises(Faults) as caught:
        parse(form, given)
    assert list(caught.value.faults) == [field] or (field == "" and "" in caught.value.faults)


def test_a_factor_that_is_no_number_is_said_in_words() -> None:
    form = parse(ChangeForm, DRAIN | {"kind": "weight", "factor": "half"})
    with pytest.raises(Faults, match="Write a number"):
        form.asked()


def test_what_is_dangerous_wants_the_name_typed() -> None:
    confirm(" wdc01 ", name_of("zone/wdc01"))
    with pytest.raises(Faults, match="Type wdc01 to confirm"):
        confirm("wdc04", name_of("zone/wdc01"))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("", None),
        ("2h", NOW - timedelta(hours=2)),
        ("2026-11-23T10:00", datetime(2026, 11, 23, 10, 0, tzinfo=UTC)),
        ("2026-11-23T10:00:00+02:00", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
    ],
)
def test_a_time_is_how_long_ago_or_an_iso_time(text: str, time: datetime | None) -> None:
    assert moment_of(text, NOW) == time


def test_a_time_that_is_none_is_said_in_words() -> None:
    with pytest.raises(ValueError, match="is no time"):
        moment_of("yesterday", NOW)
