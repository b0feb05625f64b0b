"""One JSON line -> samples, for both engines; garbage is counted. The cases: tests/cases/balance/accesslog/*.json."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.balance.accesslog import read

CASES = sorted((Path(__file__).parents[2] / "cases" / "balance" / "accesslog").glob("*.json"))
NAMES = {("web", "10.0.0.1:8000"): "web1", ("web", "10.0.0.2:8000"): "web2", ("web", "[fd00::3]:8000"): "web3"}
LINE: dict[str, Any] = json.loads((CASES[0].parent / "nginx-one-try.json").read_text())["line"]


@pytest.mark.parametrize("case", CASES, ids=[path.stem for path in CASES])
def test_a_line_gives_the_samples_of_its_case(case: Path) -> None:
    content = json.loads(case.read_text())
    cuts = [(connection, peer) for connection, peer in content.get("cuts", [])]
    parsed = read([json.dumps(content["line"])], NAMES, cuts)
    assert parsed.garbage == 0
    assert len(parsed.samples) == len(content["samples"])
    for sample, expected in zip(parsed.samples, content["samples"], strict=True):
        told = {name: getattr(sample, name) for name in expected}
        assert told == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in expected.items()}
    assert [sample.final for sample in parsed.samples[-1:]] == [True] * bool(parsed.samples)


def test_the_time_and_the_names_are_those_of_the_line() -> None:
    [sample] = read([json.dumps(LINE)], NAMES).samples
    assert sample.time == datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
    assert (sample.request_id, sample.service, sample.route) == ("7f3c0001", "app", "/")


def test_a_cut_marks_one_request_and_is_left_when_its_request_is_not_logged_yet() -> None:
    cuts = [(7, "10.0.0.1:8000"), (9, "10.0.0.1:8000")]
    line = json.dumps({**LINE, "connection": 7})
    parsed = read([line, line], NAMES, cuts)
    assert [sample.cut for sample in parsed.samples] == [True, False]
    assert parsed.cuts_left == [(9, "10.0.0.1:8000")]


def test_a_backend_of_an_earlier_configuration_keeps_its_address_as_its_name() -> None:
    [sample] = read([json.dumps({**LINE, "peers": "10.9.9.9:8000"})], NAMES).samples
    assert sample.backend == "10.9.9.9:8000"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        "[]",
        "null",
        '{"v":2}',
        json.dumps({**LINE, "time": "yesterday"}),
        json.dumps({**LINE, "time": 1e300}),
        json.dumps({**LINE, "time": float("nan")}),
        json.dumps({**LINE, "peers": None}),
        json.dumps({**LINE, "statuses": "two hundred"}),
        json.dumps({**LINE, "peers": ", ".join(["10.0.0.1:8000"] * 40)}),
        json.dumps(LINE)[:-10],
        "[" * 100_000,
        "x" * 1_000_000,
    ],
)
def test_garbage_is_counted_and_never_raised(line: str) -> None:
    parsed = read([line, json.dumps(LINE)], NAMES)
    assert parsed.garbage == 1
    assert len(parsed.samples) == 1


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40), st.lists(st.integers()))


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert read([text], NAMES).garbage == 1


@given(st.dictionaries(st.sampled_from(sorted(LINE)), _VALUES))
def test_any_value_in_any_field_is_read_without_an_error(changes: dict[str, Any]) -> None:
    parsed = read([json.dumps({**LINE, **changes})], NAMES)
    for sample in parsed.samples:
        assert sample.total_time_s >= 0
        assert sample.status >= 0
