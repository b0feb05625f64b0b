"""`backstay audit` over a store: collect, import, and the questions; exit codes, and faults without a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import audit_kinds
from backstay.cli.main import app

pytest.importorskip("duckdb", reason="needs duckdb: pip install backstay[audit]")
pytest.importorskip("scipy", reason="needs scipy: pip install backstay[audit]")

QUEUE = Path(__file__).parents[3] / "examples/queue"
FILES = "[{kind: file, path: facts.jsonl}]", "[{kind: file, path: indicators.csv}]"


@pytest.fixture(autouse=True)
def kinds(tmp_path: Path) -> Iterator[None]:
    packages = tmp_path / "packages"
    packages.mkdir()
    with audit_kinds.installed(packages):
        yield


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the example's files."""
    folder = tmp_path / "estate"
    folder.mkdir()
    for name in ("facts.jsonl", "indicators.csv"):
        (folder / name).write_text((QUEUE / name).read_text())
    return folder


def declare(folder: Path, facts: str = "[]", indicators: str = "[]") -> None:
    nodes = "".join(f"  queue{at}: {{zone: dc1, address: 192.0.2.{at}}}\n" for at in range(1, 5))
    (folder / "backstay.yaml").write_text(
        f"estate: example\nregions: {{home: {{zones: {{dc1: {{}}}}}}}}\nnodes:\n{nodes}"
        'clusters:\n  queue: {members: "queue*", work: messages}\n'
        f"audit: {{facts: {facts}, indicators: {indicators}}}\n"
    )


def run(folder: Path, *arguments: str) -> Result:
    """`backstay audit ARGUMENTS` on the estate and the store in `folder`; a traceback fails the test."""
    env = {
        "BACKSTAY_ESTATE": str(folder / "backstay.yaml"),
        "BACKSTAY_AUDIT_STATE": str(folder / "state"),
        "BACKSTAY_DATABASE_URL": f"sqlite:///{folder / 'journal.db'}",
        "COLUMNS": "200",
    }
    result = CliRunner().invoke(app, ["audit", *arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_files_that_were_imported_answer_every_question(here: Path) -> None:
    declare(here)
    files = (str(here / "facts.jsonl"), str(here / "indicators.csv"))
    first, again = (json.loads(run(here, "import", *files, "-o", "json").stdout) for _ in range(2))
    assert [one["kind"] for one in first] == ["facts", "indicators"]
    assert (first[1]["new"], again[1]["new"], again[0]["changed"]) == (first[1]["read"], 0, 0)
    explained = run(here, "explain", "queue", "load", "--since", "1w", "--markdown", str(here / "o.md"))
    assert explained.exit_code == 3
    assert explained.stdout.startswith("Consistent, no more: cpu.version")
    assert (here / "o.md").read_text().startswith("# load of queue")
    data = json.loads(run(here, "explain", "queue", "load", "-o", "json").stdout)
    assert data["work"] == "messages"
    assert not {"text", "html", "markdown"} & set(data)
    differing = run(here, "facts", "diff", "queue")
    assert (differing.exit_code, "1. queue1 | queue2, queue3 | queue4" in differing.stdout) == (3, True)
    compared = run(here, "compare", "queue")
    assert (compared.exit_code, "fits best" in compared.stdout) == (3, True)
    assert "the last sample is of 2026-03-05 23:50 UTC" in compared.stderr


def test_collect_tells_what_it_read_and_is_quiet_when_cron_asks_it(here: Path) -> None:
    declare(here, *FILES)
    told = run(here, "collect", "--since", "1y")
    assert told.exit_code == 0
    assert "facts: 4 nodes read, 0 facts changed; without root, so half: queue4" in told.stdout
    assert "new samples in 12 series" in told.stdout
    quiet = run(here, "collect", "-q")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_changes_go_to_the_journal_that_backstay_reads(here: Path) -> None:
    declare(here, FILES[0])
    assert run(here, "collect", "--facts").exit_code == 0
    lines = [json.loads(line) for line in (here / "facts.jsonl").read_text().splitlines()]
    later = [{**line, "time": "2026-03-06T00:00:00Z"} for line in lines]
    later[2]["facts"] |= {"eth0.ring rx": "4096"}
    (here / "facts.jsonl").write_text("\n".join(map(json.dumps, later)))
    assert "changed: queue3: eth0.ring rx: 512 -> 4096" in run(here, "collect", "--facts").stdout
    env = {"BACKSTAY_DATABASE_URL": f"sqlite:///{here / 'journal.db'}"}
    tail = CliRunner().invoke(app, ["journal", "tail", "--kind", "audit.*"], env=env)
    assert "node/queue3" in tail.stdout


@pytest.mark.parametrize(
    ("facts", "code", "said"),
    [
        ("[{kind: half}, {kind: refusing}]", 3, "audit.facts[1] (refusing): http://192.0.2.9: refused. Is it up?"),
        ("[{kind: half, unreachable: queue2}]", 3, "queue2: half: queue2: no route to it. Is it up?"),
        ("[{kind: half, without_root: queue2}]", 0, ""),
        ("[{kind: refusing}]", 1, "audit.facts[0] (refusing)"),
        ("[]", 1, "The estate names no source: write audit.facts and audit.indicators"),
    ],
)
def test_the_exit_code_says_whether_all_some_or_nothing_was_read(here: Path, facts: str, code: int, said: str) -> None:
    declare(here, facts)
    told = run(here, "collect", "-q")
    assert (told.exit_code, said in told.stderr) == (code, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("explain", "queue", "load"), 1, "Nothing was measured of queue yet"),
        (("facts", "diff", "queue"), 1, "0 of 4 nodes of queue have facts: two are needed. Collect them"),
        (("compare", "mail"), 1, '"mail" is no cluster of the estate. Clusters: queue.'),
        (("compare", "queue", "--nodes", "queue1"), 2, "--nodes is for files."),
        (("explain", "queue", "load", "--facts", "f"), 2, "--facts and --indicators go together"),
        (("compare", "queue", "--facts", "f"), 2, "--facts without --indicators"),
        (("collect", "--since", "soon"), 1, '"soon" is no time to look back. Write 6h'),
        (("import", "/nowhere.csv"), 1, "/nowhere.csv: not readable: No such file"),
        (("compare", "queue", "-e", "/nowhere.yaml"), 1, "/nowhere.yaml"),
    ],
)
def test_a_fault_is_a_sentence_on_stderr(here: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    declare(here)
    result = run(here, *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


def test_a_store_that_somebody_has_is_waited_for_and_then_named(here: Path) -> None:
    declare(here, FILES[0])
    holder = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path; "
        "from backstay.audit.store import AuditStore; "
        "store = AuditStore.open(Path(sys.argv[1]), lambda: datetime.now(UTC)); print('have it', flush=True); input()"
    )
    store = here / "state" / "audit.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "have it\n"
        busy = run(here, "collect", "--wait", "0.1")
        other.communicate("\n", timeout=30)
    assert (busy.exit_code, str(other.pid) in busy.stderr) == (1, True), busy.stderr
    assert run(here, "collect").exit_code == 0
