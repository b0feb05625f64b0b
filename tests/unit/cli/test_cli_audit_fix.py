"""`backstay audit fix register | verify | list` from files alone: the story, and faults without a traceback."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fix_scenes import change, fixed, write_files

pytest.importorskip("duckdb", reason="needs duckdb: pip install backstay[audit]")
pytest.importorskip("scipy", reason="needs scipy: pip install backstay[audit]")

from backstay.cli.audit.fix import change_of, when
from backstay.cli.main import app

NOW = datetime(2026, 3, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of four nodes; web1's CPU is changed after seven."""
    made = tmp_path_factory.mktemp("fix")
    write_files(made, fixed(50), [change("web1", 7.0)])
    return made


def run(folder: Path, *arguments: str, files: bool = True) -> Result:
    given = ("--facts", str(folder / "facts.jsonl"), "--indicators", str(folder / "indicators.csv"))
    fixes = ("--fixes", str(folder / "fixes.json")) if files else ()
    env = {"BACKSTAY_ESTATE": "", "BACKSTAY_ACTOR": "alice", "COLUMNS": "250"}
    result = CliRunner().invoke(app, ["audit", "fix", *arguments, *(given if files else ()), *fixes], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


REGISTER = ("register", "queue", "load", "--fact", "cpu.model name", "--nodes", "web1", "--to", "V2")
TOLD = ("--told", "2026-03-04", "--by", "30d", "--reason", "V1 is slow")


def test_registered_verified_and_listed(folder: Path, tmp_path: Path) -> None:
    told = run(folder, *REGISTER, "--expect", "-30%", *TOLD)
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("queue-load-1: registered.")
    assert run(folder, *REGISTER, "--expect", "-30%", *TOLD).stdout == told.stdout
    pages = ("--html", str(tmp_path / "fix.html"), "--markdown", str(tmp_path / "fix.md"))
    verified = run(folder, "verify", "queue-load-1", *pages)
    assert (verified.exit_code, verified.stdout.split(":")[0]) == (0, "Confirmed by intervention"), verified.output
    assert "<svg" in (tmp_path / "fix.html").read_text()
    assert (tmp_path / "fix.md").read_text().startswith("# Fix queue-load-1")
    data = json.loads(run(folder, "verify", "queue-load-1", "-o", "json").stdout)
    assert data["outcome"] == "confirmed"
    assert data["finding"]["grade"] == "confirmed"
    assert data["verdict"]["effect"]["low"] < data["verdict"]["expected"] < data["verdict"]["effect"]["high"]
    listed = CliRunner().invoke(app, ["audit", "fix", "list", "--fixes", str(folder / "fixes.json"), "-o", "json"])
    assert [one["id"] for one in json.loads(listed.stdout)] == ["queue-load-1"]


def test_what_did_not_come_ends_with_exit_code_3(folder: Path) -> None:
    assert run(folder, *REGISTER, "--expect", "+40%", *TOLD).exit_code == 0
    assert run(folder, "verify", "queue-load-2").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify", "nope"), '"nope" is no fix.'),
        ((*REGISTER, "--expect", "less", *TOLD), "write -30%, +5%, or peers"),
        ((*REGISTER, "--expect", "-30%", "--by", "soon", "--reason", "x"), '"soon" is no time.'),
        (("register", "queue", "nope", *REGISTER[3:], "--expect", "-30%", *TOLD), 'No indicator "nope" of queue'),
        ((*REGISTER[:-2], "--to", "V2", "--nodes", "web4", "--expect", "-30%", *TOLD), "of web4 is V2 already"),
    ],
)
def test_faults_say_what_next(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(folder, *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.stderr


def test_some_of_the_files_are_not_enough(folder: Path) -> None:
    result = run(folder, "verify", "x", "--facts", str(folder / "facts.jsonl"), files=False)
    assert result.exit_code == 2
    assert "give all three, or none for the store" in result.stderr


def test_changes_and_times_as_people_write_them() -> None:
    assert change_of("-30%") == pytest.approx(-0.3)
    assert change_of("+12.5 %") == pytest.approx(0.125)
    assert change_of("peers") is None
    assert change_of("equal to peers") is None
    assert when("14d", NOW) == datetime(2026, 4, 3, tzinfo=UTC)
    assert when("2026-04-01", NOW) == datetime(2026, 4, 2, tzinfo=UTC)
    assert when("2026-04-01T18:00Z", NOW) == datetime(2026, 4, 1, 18, tzinfo=UTC)
