"""The frame of the benches: quantiles, ratios, goals, and the section of the document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benches import harness
from benches.harness import Bench, parts_in, quantile, replace_section, show, table


def measure(bench: Bench) -> None:
    """Two subjects."""
    bench.record("speed", "backstay", probes_per_s=200.0, errors=0)
    bench.record("speed", "peer", probes_per_s=100.0, errors=3)
    ratio = bench.ratio("speed", "probes_per_s", "backstay", "peer")
    bench.check("speed", "at least as fast", met=ratio >= 1, measured=ratio)


def a_bench(*argv: str, goal: bool = True) -> Bench:
    async def other(bench: Bench) -> None:
        bench.check("other", "holds", met=goal, measured="yes")

    return Bench("sample", "A sample", cases={"speed": measure, "other": other}, libraries=("pytest",), argv=argv)


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [([5.0], 0.5, 5.0), ([1, 2, 3, 4], 0.5, 2.5), ([4, 1, 3, 2], 1.0, 4.0), ([1, 2], 0.0, 1.0), ([0, 10], 0.9, 9.0)],
)
def test_a_quantile_interpolates_between_order_statistics(values: list[float], q: float, expected: float) -> None:
    assert quantile(values, q) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_a_quantile_of_nothing_or_outside_the_range_is_refused(values: list[float], q: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        quantile(values, q)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (150000, "150,000"),
        (0.0, "0"),
        (0.00123, "0.00123"),
        (12.345, "12.3"),
        (98765.4, "98,765"),
    ],
)
def test_a_figure_is_shown_with_three_digits_and_no_exponent(value: float | int | None, text: str) -> None:
    assert show(value) == text


def test_a_run_writes_every_figure_with_machine_and_versions(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert a_bench("--json", str(file), "--short").run() == 0
    found = json.loads(file.read_text())
    assert found["command"] == "./run bench sample --short"
    assert found["short"] is True
    assert found["machine"]["cores"] >= 1
    assert "pytest" in found["versions"]
    assert [row["figures"]["probes_per_s"] for row in found["rows"]] == [200.0, 100.0]
    assert found["ratios"][0]["ratio"] == 2.0
    assert [check["met"] for check in found["checks"]] == [True, True]


def test_a_goal_that_is_not_met_is_said_and_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert a_bench(goal=False).run() == 3
    assert "NOT MET" in capsys.readouterr().out


def test_only_runs_the_chosen_case(capsys: pytest.CaptureFixture[str]) -> None:
    bench = a_bench("--only", "speed", goal=False)
    assert bench.run() == 0
    assert [row.subject for row in bench.result.rows] == ["backstay", "peer"]


def test_docs_of_some_cases_keeps_what_is_there_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "benchmarks.md"
    monkeypatch.setattr(harness, "DOCS", document)
    a_bench("--docs").run()
    whole = parts_in(document.read_text(), "sample")
    a_bench("--docs", "--short", "--only", "speed").run()
    after = parts_in(document.read_text(), "sample")
    assert list(after) == list(whole)
    assert "short: indicative only" in after.pop("speed")
    assert after == {case: text for case, text in whole.items() if case != "speed"}


def test_a_ratio_to_a_peer_at_zero_stays_valid_json(tmp_path: Path) -> None:
    bench = a_bench("--json", str(tmp_path / "out.json"))
    bench.record("speed", "a", lost=3)
    bench.record("speed", "b", lost=0)
    assert bench.ratio("speed", "lost", "a", "b") == float("inf")
    assert bench.ratio("speed", "lost", "b", "b") == 1.0
    bench.run()
    assert json.loads((tmp_path / "out.json").read_text())["ratios"][0]["ratio"] is None


def test_recording_again_adds_to_the_same_row() -> None:
    bench = a_bench()
    bench.record("speed", "a", one=1)
    bench.record("speed", "a", two=2.0)
    assert bench.result.rows[0].figures == {"one": 1, "two": 2.0}
    assert bench.value("speed", "a", "two") == 2.0
    with pytest.raises(KeyError, match="nothing recorded for b"):
        bench.value("speed", "b", "two")


def test_the_document_keeps_other_sections_and_replaces_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "benchmarks.md"
    monkeypatch.setattr(harness, "DOCS", document)
    a_bench("--docs").run()
    document.write_text(replace_section(document.read_text(), "another", "## another\n"))
    a_bench("--docs", "--short").run()
    text = document.read_text()
    assert text.count("<!-- bench sample -->") == 1
    assert "--short" in text
    assert "short: indicative only" in text
    assert "<!-- bench another -->\n## another\n<!-- /bench another -->" in text
    assert replace_section(text, "another", "## another\n") == text


def test_a_section_without_its_end_is_never_guessed() -> None:
    with pytest.raises(ValueError, match="put it back"):
        replace_section("<!-- bench x -->\nlost its end", "x", "new")


def test_a_table_has_every_column_that_any_row_has() -> None:
    assert table([{"a": 1}, {"b": "x"}]).splitlines() == ["| a | b |", "|---|---|", "| 1 | - |", "| - | x |"]
