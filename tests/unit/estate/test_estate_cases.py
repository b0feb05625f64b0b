"""The table of faulty estates: tests/cases/estate/NAME.yaml, its faults after `#! `, in order, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.estate import EstateFaults, Fault, load_text
from backstay.estate.tree import Syntax, parse

CASES = sorted((Path(__file__).parents[2] / "cases" / "estate").glob("*.yaml"))


def read(case: Path) -> tuple[str, list[str]]:
    text, *faults = case.read_text(encoding="utf-8").split("#! ")
    return text, [fault.rstrip("\n") for fault in faults]


def told(faults: tuple[Fault, ...]) -> list[str]:
    return [str(fault).removeprefix("estate").removeprefix(":").lstrip() for fault in faults]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_fault_of_a_faulty_estate_is_told_at_once_with_its_place(case: Path) -> None:
    text, expected = read(case)
    with pytest.raises(EstateFaults) as raised:
        load_text(text, "estate", Path())
    assert told(raised.value.faults) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_both_parsers_see_the_same_file(case: Path) -> None:
    text, _ = read(case)
    seen = [outcome(text, pure=pure) for pure in (False, True)]
    assert repr(seen[0]) == repr(seen[1])  # nan is not equal to itself


def outcome(text: str, *, pure: bool) -> object:
    """The tree with its places; of a syntax fault the line (the two parsers put it in different words)."""
    try:
        return places(parse(text, "estate", pure=pure))
    except Syntax as syntax:
        return [fault.line for fault in syntax.faults]


def places(item: object) -> object:
    value = item.value  # type: ignore[attr-defined]
    here = (item.line, item.column, item.key_line, item.key_column)  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return here, {key: places(child) for key, child in value.items()}
    if isinstance(value, list):
        return here, [places(child) for child in value]
    return here, value


def test_no_message_ever_shows_a_literal_secret() -> None:
    text, _ = read(next(case for case in CASES if case.stem == "literal_secrets"))
    assert "hunter2" in text
    with pytest.raises(EstateFaults) as raised:
        load_text(text, "estate", Path())
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(raised.value.faults)
