"""`backstay audit` from files alone: the README's line, every form of output, and faults without a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from backstay.cli.audit.example import facts_lines, indicator_lines
from backstay.cli.main import app

pytest.importorskip("scipy", reason="needs scipy: pip install backstay[audit]")
ROOT = Path(__file__).parents[3]
QUEUE = ROOT / "examples/queue"
FACTS = ("--facts", str(QUEUE / "facts.jsonl"))
BOTH = (*FACTS, "--indicators", str(QUEUE / "indicators.csv"))
ESTATE = ("-e", str(ROOT / "examples/serverdensity.yaml"))


def run(*arguments: str) -> Result:
    """`backstay audit ARGUMENTS`; a traceback fails the test."""
    result = CliRunner().invoke(app, ["audit", *arguments], env={"BACKSTAY_ESTATE": "", "COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_one_liner_names_the_cpus_version_and_claims_no_more_than_consistent() -> None:
    result = run("explain", "queue", "load", *BOTH, "--work", "messages")
    assert result.exit_code == 3
    assert result.stdout.startswith("Consistent, no more: cpu.version (and 4 facts that split the nodes alike)")
    for words in (
        "queue1                queue2, queue3             queue4",
        "one look at 4 nodes: 6 or more are needed",
        "all of them split the nodes alike",
        "put queue1's CPU in queue4",
        "queue4: unread: memory.manufacturer (needs root)",
    ):
        assert words in result.stdout


@pytest.mark.parametrize("indicator", ["load", "rx_drops_total"])
def test_the_class_of_the_cpu_comes_first_in_data_too(indicator: str) -> None:
    result = run("explain", "queue", indicator, *BOTH, *ESTATE, "-o", "json")
    data = json.loads(result.stdout)
    assert data["grade"] == "consistent"
    first = data["hypotheses"][0]
    assert first["groups"] == [["queue1"], ["queue2", "queue3"], ["queue4"]]
    assert "cpu.model name" in {fact["fact"] for fact in first["facts"]}
    assert any("one look at 4 nodes" in cap for cap in data["caps"])


def test_what_does_not_differ_is_nothing_and_exit_code_0() -> None:
    result = run("explain", "queue", "messages", *BOTH, *ESTATE)
    assert (result.exit_code, result.stdout.split(":")[0]) == (0, "Nothing")


def test_the_pages_hold_everything_and_fetch_nothing(tmp_path: Path) -> None:
    html, markdown = tmp_path / "o.html", tmp_path / "o.md"
    run("explain", "queue", "load", *BOTH, *ESTATE, "--html", str(html), "--markdown", str(markdown))
    page = html.read_text()
    assert page.count("<path ") == 8  # a line and its key for each node
    for never in ("<script", "http-equiv", "href=", "src=", "url(", "@import"):
        assert never not in page
    assert "cpu.version" in page
    assert markdown.read_text().startswith("# load of queue\n\n**Consistent, no more: ")


def test_values_of_facts_are_text_in_every_page(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>|`*\x1b[2J"
    lines = [json.loads(line) for line in facts_lines()]
    for at, line in enumerate(lines):
        line["facts"]["cpu.version"] = f"{hostile}{at}"
    source = tmp_path / "f.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    html, markdown = tmp_path / "o.html", tmp_path / "o.md"
    given = ("--facts", str(source), *BOTH[2:], "--work", "messages")
    result = run("explain", "queue", "load", *given, "--html", str(html), "--markdown", str(markdown))
    shown = result.stdout + html.read_text() + markdown.read_text()
    assert "\x1b" not in shown
    assert "<script" not in html.read_text() + markdown.read_text().replace("\\<", "")


def test_differing_facts_are_grouped_with_noise_folded_away() -> None:
    result = run("facts", "diff", "queue", *FACTS)
    assert result.exit_code == 3
    first, second = result.stdout.split("\n\n")[:2]
    assert "3 of them are noise" in first
    assert second.startswith("1. queue1 | queue2, queue3 | queue4\n")
    assert "cpu.model name" in second
    assert "SN-199402" not in result.stdout
    assert "memory.manufacturer (needs root)" in result.stderr
    assert "SN-199402" in run("facts", "diff", "queue", *FACTS, "--all").stdout


def test_clones_do_not_differ(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps({node: {"cpu.model name": "V1", "hostname": node} for node in "abcd"}))
    result = run("facts", "diff", "web", "--facts", str(path))
    assert (result.exit_code, "1. " in result.stdout) == (0, False)


def test_compare_has_a_row_an_indicator() -> None:
    answer = json.loads(run("compare", "queue", *BOTH, *ESTATE, "-o", "json").stdout)
    data = answer["indicators"]
    assert [one["indicator"] for one in data] == ["messages", "load", "rx_drops_total"]
    assert data[2]["differs"] == ["queue4"]
    assert data[0]["finding"]["grade"] == "nothing"
    without = run("compare", "queue", *BOTH[2:], "--work", "messages")
    assert (without.exit_code, "fits best" in without.stdout) == (3, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "queue", "speed", *BOTH), 'No indicator "speed" of queue in this time. There is: messages, load'),
        (("explain", "mail", "load", *BOTH, *ESTATE), '"mail" is no cluster of the estate. Clusters: web, queue.'),
        (("explain", "web", "load", *BOTH, *ESTATE), "nothing of web1, web2"),
        (("explain", "queue", "load", *BOTH, "--work", "jobs"), 'no indicator "jobs" to divide by'),
        (("explain", "queue", "load", *BOTH, "--since", "soon"), '"soon" is no time to look back. Write 6h'),
        (("explain", "queue", "load", *BOTH, "--counter", "jobs"), "no indicator jobs in it"),
        (("explain", "queue", "load", *BOTH, "--html", "/nowhere/o.html"), "/nowhere/o.html: not written"),
        (("facts", "diff", "queue", *FACTS, "--nodes", "queue1"), "1 of 1 nodes of queue have facts: two are needed"),
        (("facts", "diff", "queue", "--facts", "/nowhere.jsonl"), "/nowhere.jsonl: not readable: No such file"),
    ],
)
def test_a_fault_is_a_sentence_on_stderr(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_one_node_is_no_cluster_and_no_claim() -> None:
    result = run("explain", "queue", "load", *BOTH, "--nodes", "queue1")
    assert (result.exit_code, result.stdout.split(":")[0]) == (0, "Nothing")


def test_a_node_without_samples_is_named() -> None:
    result = run("explain", "queue", "load", *BOTH, "--work", "messages", "--nodes", "queue1,queue4,queue9")
    assert "queue9" in result.stdout
    assert result.exit_code in (0, 3)


def test_a_part_that_was_swapped_is_evidence(tmp_path: Path) -> None:
    """queue1 gets the CPU of queue4 half way, and its load falls: a natural experiment."""
    rows = [line.split(",") for line in indicator_lines()]
    middle = rows[len(rows) // 2][0]
    for row in rows[1:]:
        if row[1] == "queue1" and row[0] >= middle:
            row[3] = f"{float(row[3]) / 2.0:.3f}"
    (tmp_path / "i.csv").write_text("\n".join(map(",".join, rows)))
    lines = [json.loads(line) for line in facts_lines()]
    swapped = {name: value for name, value in lines[3]["facts"].items() if name.startswith("cpu.")}
    lines.append({**lines[0], "time": middle, "facts": {**lines[0]["facts"], **swapped}})
    (tmp_path / "f.jsonl").write_text("\n".join(map(json.dumps, lines)))
    files = ("--facts", str(tmp_path / "f.jsonl"), "--indicators", str(tmp_path / "i.csv"))
    data = json.loads(run("explain", "queue", "load", *files, "--work", "messages", "-o", "json").stdout)
    assert any("changed on queue1" in problem and "since then" in problem for problem in data["problems"])
    assert any(one["kind"] == "change" and one["log_odds"] > 2.0 for one in data["evidence"])


def test_the_example_is_what_the_command_writes_and_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert run("example", str(folder)).exit_code == 0
    assert (folder / "facts.jsonl").read_text() == (QUEUE / "facts.jsonl").read_text()
    written = (folder / "indicators.csv").read_text().splitlines()
    assert written[0] == (QUEUE / "indicators.csv").read_text().splitlines()[0]
    again = run("example", str(folder))
    assert (again.exit_code, "not written: File exists" in again.stderr) == (1, True)
