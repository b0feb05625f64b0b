"""`backstay audit review` from files and over a store: the text, every form, exit codes, faults without a traceback."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from backstay.cli.main import app

pytest.importorskip("duckdb", reason="needs duckdb: pip install backstay[audit]")
pytest.importorskip("scipy", reason="needs scipy: pip install backstay[audit]")
START = datetime(2026, 6, 1, tzinfo=UTC)  # a Monday: the last of its eight weeks is 2026-W30
HOURS = 8 * 168
ESTATE = """
estate: example
regions: {home: {zones: {dc1: {}}}}
nodes:
  queue1: {zone: dc1, address: 192.0.2.1}
  queue2: {zone: dc1, address: 192.0.2.2}
  queue3: {zone: dc1, address: 192.0.2.3}
  spare1: {zone: dc1, address: 192.0.2.9}
clusters:
  queue: {members: "queue*", work: messages}
  spare: {members: "spare*", spare: 0}
audit: {limits: {memory_percent: 90}}
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an estate, and eight weeks: memory fills, and queue2 gets slower with another governor."""
    folder = tmp_path_factory.mktemp("given")
    lines = ["time,node,messages,load,memory_percent"]
    for hour in range(HOURS):
        time = (START + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for at, node in enumerate(("queue1", "queue2", "queue3")):
            noise = math.sin(hour * 12.9898 + at * 78.233) * 43758.5453 % 1.0 - 0.5
            messages = 800.0 * math.exp(0.3 * math.sin(hour * math.tau / 24.0))
            slower = 1.25 if node == "queue2" and hour >= HOURS - 50 else 1.0
            load = 0.005 * messages * slower * math.exp(0.1 * noise)
            lines.append(f"{time},{node},{messages:.1f},{load:.4f},{60.0 + 2.5 * hour / 168.0 + noise:.2f}")
    (folder / "indicators.csv").write_text("\n".join(lines) + "\n")
    reports = [
        {"node": "queue2", "time": (START + timedelta(hours=hour)).isoformat(), "facts": {"cpu.governor": value}}
        for hour, value in ((0, "performance"), (HOURS - 49, "powersave"))
    ]
    (folder / "facts.jsonl").write_text("".join(f"{json.dumps(report)}\n" for report in reports))
    (folder / "backstay.yaml").write_text(ESTATE)
    return folder


def run(*arguments: str) -> Result:
    """`backstay audit review ARGUMENTS`; a traceback fails the test."""
    result = CliRunner().invoke(app, ["audit", "review", *arguments], env={"BACKSTAY_ESTATE": "", "COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def files(folder: Path) -> tuple[str, ...]:
    return "--facts", str(folder / "facts.jsonl"), "--indicators", str(folder / "indicators.csv")


def test_the_week_is_told_with_the_limit_first_and_the_fact_beside_the_step(given: Path, tmp_path: Path) -> None:
    pages = tmp_path / "week.html", tmp_path / "week.md"
    result = run(
        *files(given), "-e", str(given / "backstay.yaml"), "--html", str(pages[0]), "--markdown", str(pages[1])
    )
    assert result.exit_code == 3
    assert result.stdout.startswith("Review of 2026-W30, 2026-07-20 to 2026-07-26\n")
    assert "1. memory_percent of queue reaches 90 in 3 to 4 weeks" in result.stdout
    assert "load of queue2 beside its peers in queue, per unit of messages: +2" in result.stdout
    assert "cpu.governor: performance -> powersave" in result.stdout
    assert "spare: " in result.stdout  # nothing was measured there, and it says so
    page, markdown = (path.read_text() for path in pages)
    assert "<svg" in page
    assert "<script" not in page
    assert markdown.startswith("# Review of 2026-W30")


def test_a_week_is_chosen_and_data_has_everything(given: Path) -> None:
    result = run("queue", *files(given), "--work", "messages", "--week", "2026-W29", "-o", "json")
    data = json.loads(result.stdout)
    assert (data["week"], data["clusters"]) == ("2026-W29", ["queue"])
    assert not [one for one in data["findings"] if one["node"]]
    assert "text" not in data
    assert data["findings"][0]["trend"]["per_week"] > 0.0


def test_the_store_gives_the_same_review(given: Path, tmp_path: Path) -> None:
    over = ("-e", str(given / "backstay.yaml"), "--state", str(tmp_path))
    for name in ("facts.jsonl", "indicators.csv"):
        brought = CliRunner().invoke(app, ["audit", "import", str(given / name), *over])
        assert brought.exit_code == 0, brought.output
    result = run("queue", *over, "--week", "2026-W30")
    assert result.exit_code == 3
    assert "1. memory_percent of queue reaches 90 in 3 to 4 weeks" in result.stdout
    assert "cpu.governor: performance -> powersave" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--week", "2026-W60", "--indicators", "x.csv"), "Write 2026-W47"),
        (("--indicators", "missing.csv"), "missing.csv"),
        (("--facts", "facts.jsonl"), "give --indicators FILE, too"),
        (("--nodes", "a,b"), "give --indicators FILE, too"),
        (("a", "b", "--indicators", "x.csv"), "name one, or none"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert words in result.output


def test_a_cluster_that_is_none_is_named(given: Path) -> None:
    result = run("web", *files(given), "-e", str(given / "backstay.yaml"))
    assert result.exit_code == 1
    assert '"web" is no cluster of the estate' in result.output
