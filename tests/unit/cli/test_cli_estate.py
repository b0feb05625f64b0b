"""`init`, `validate`, `spare`, `schema`, `config show`: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from backstay.cli.main import app

ROOT = Path(__file__).parents[3]
MINIMAL = str(ROOT / "examples" / "minimal.yaml")
DEMO = str(ROOT / "examples" / "serverdensity.yaml")


def run(*arguments: str, **env: str) -> Result:
    """`backstay ARGUMENTS`; a traceback fails the test."""
    result = CliRunner().invoke(app, arguments, env={"BACKSTAY_ESTATE": None, **env})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    path = tmp_path / "faulty.yaml"
    text = Path(MINIMAL).read_text().replace("[lb1, lb2]", "[lb1, lb-c]").replace("port: 8000", "port: 80000")
    path.write_text(text)
    return str(path)


def test_init_writes_an_estate_that_holds_and_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "backstay.yaml"
    assert run("init", str(path)).exit_code == 0
    schema = tmp_path / "backstay.schema.json"
    assert path.read_text().startswith(f"# yaml-language-server: $schema={schema.name}\n")
    assert json.loads(schema.read_text())["title"] == "Backstay estate file"
    answer = run("validate", "--strict", "-e", str(path))
    assert answer.exit_code == 0
    assert answer.stdout == ""


def test_init_overwrites_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "backstay.yaml"
    path.write_text("mine")
    answer = run("init", str(path))
    assert answer.exit_code == 2
    assert "add --yes" in answer.stderr
    assert path.read_text() == "mine"
    assert run("init", str(path), "--yes").exit_code == 0
    assert path.read_text() != "mine"


def test_init_into_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    answer = run("init", str(tmp_path / "none" / "backstay.yaml"))
    assert answer.exit_code == 1
    assert "not written: No such file" in answer.stderr


def test_validate_tells_every_fault_on_stdout_and_exits_3(faulty: str) -> None:
    answer = run("validate", "-e", faulty)
    assert answer.exit_code == 3
    assert answer.stdout.splitlines() == [
        f'fault: {faulty}:20:40 tiers.edge.members[1]: "lb-c" is no node. Nodes: lb1, lb2, web1, web2. '
        "Add it under nodes, or remove it here.",
        f"fault: {faulty}:30:29 pools.web.port: 80000 is too large. At most 65535.",
    ]
    assert answer.stderr.endswith("2 faults.\n")


def test_validate_speaks_json(faulty: str) -> None:
    faults = json.loads(run("validate", "-e", faulty, "-o", "json").stdout)
    assert [(fault["severity"], fault["path"], fault["line"]) for fault in faults] == [
        ("fault", "tiers.edge.members[1]", 20),
        ("fault", "pools.web.port", 30),
    ]


def test_warnings_are_told_and_leave_the_exit_code_unless_strict() -> None:
    thin = ("-e", DEMO, "--set", "clusters.web.spare=2")  # the zone tor01 holds half of web
    answer = run("validate", *thin)
    assert answer.exit_code == 0
    assert "warning: " in answer.stdout
    assert run("validate", *thin, "--strict").exit_code == 3
    assert run("validate", "-e", DEMO, "--strict").exit_code == 0


def test_a_file_that_is_not_there_is_a_failure_and_no_finding() -> None:
    answer = run("validate", "-e", "/nowhere/backstay.yaml")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("/nowhere/backstay.yaml Not readable: No such file or directory.")
    assert run("spare", "-e", "/nowhere/backstay.yaml").exit_code == 1


def test_the_environment_names_the_file() -> None:
    assert run("validate", BACKSTAY_ESTATE=MINIMAL).exit_code == 0


def test_a_bad_flag_is_told_with_its_name() -> None:
    answer = run("validate", "-e", MINIMAL, "--set", "pools.web.prot=1")
    assert answer.exit_code == 3
    assert 'fault: --set pools.web.prot pools.web: "prot" is no key' in answer.stdout


def test_spare_prints_a_row_for_each_cluster_tier_and_global_ip() -> None:
    answer = run("spare", "-e", DEMO, "--set", "clusters.web.spare=2")
    assert answer.exit_code == 3  # the zone tor01 holds half of web, and no downtime is promised for a zone
    rows = answer.stdout.splitlines()
    assert rows[0].split()[0] == "of"
    assert len(rows) == 1 + 2 + 3 + 2
    assert "NO, -4 (tor01)" in rows[1]
    assert run("spare", "-e", DEMO).exit_code == 0
    assert run("spare", "-e", MINIMAL).exit_code == 0


def test_spare_speaks_json() -> None:
    groups = json.loads(run("spare", "-e", MINIMAL, "-o", "json").stdout)
    assert groups[0]["worst"]["node"] == {"name": "web1", "lost": 1, "survives": True}


def test_schema_is_json_whatever_is_asked_but_yaml() -> None:
    assert json.loads(run("schema").stdout) == json.loads(run("schema", "-o", "table").stdout)
    assert run("schema", "-o", "yaml").stdout.count("$schema") == 1


def test_config_show_tells_the_origin_of_each_value() -> None:
    arguments = (
        "config",
        "show",
        "pools.web",
        "-e",
        MINIMAL,
        "--set",
        "pools.web.check.fall=3",
        "--origin",
        "-o",
        "json",
    )
    rows = json.loads(run(*arguments, BACKSTAY_POOLS__WEB__PORT="8002").stdout)
    origin = {row["key"]: (row["value"], row["origin"]) for row in rows}
    assert origin["pools.web.cluster"] == ("web", f"{MINIMAL}:30")
    assert origin["pools.web.port"] == (8002, "BACKSTAY_POOLS__WEB__PORT")
    assert origin["pools.web.check.fall"] == (3, "--set pools.web.check.fall")
    assert origin["pools.web.balance"] == ("least_time", "default")


def test_config_show_prints_what_is_in_force_with_defaults() -> None:
    assert "interval_s: 2.0" in run("config", "show", "pools.web.check", "-e", MINIMAL).stdout
    assert json.loads(run("config", "show", "pools.web.port", "-e", MINIMAL, "-o", "json").stdout) == 8000
    answer = run("config", "show", "pools.none", "-e", MINIMAL)
    assert answer.exit_code == 2
    assert "nothing there" in answer.stderr
