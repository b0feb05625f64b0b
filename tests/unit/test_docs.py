"""The documentation says what the program is: each fails when something was added without its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from backstay.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ROOMS = sorted(path.name for path in (ROOT / "src/backstay").iterdir() if (path / "__init__.py").exists())
BENCHES = sorted(path.stem for path in (ROOT / "benches").glob("*.py") if "import Bench" in path.read_text())


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "cli"])
def test_every_room_has_its_page(room: str) -> None:
    assert (ROOT / "docs" / f"{room}.md").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_on_the_map(room: str) -> None:
    assert f"`{room}/`" in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert any(re.search(rf"backstay {command}\b", page.read_text()) for page in PAGES)


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_its_figures(name: str) -> None:
    assert f"<!-- bench {name} -->" in (ROOT / "docs/benchmarks.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_decision_has_a_number_of_its_own() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    numbers = [path.name[:4] for path in decisions]
    assert len(set(numbers)) == len(numbers)
    for path in decisions:
        assert path.read_text().startswith(f"# {path.name[:4]} "), path.name


def test_nothing_that_is_committed_names_a_machine_or_a_registry() -> None:
    """The words are put together here, so that this file does not find itself."""
    words = [
        "/wo" + "rk/",
        "pypi" + ".org",
        "files.python" + "hosted",
        "registry.npm" + "js",
        "/home" + "/",
        "/root" + "/",
    ]
    found = subprocess.run(
        ["git", "grep", "-nIF", *(part for word in words for part in ("-e", word)), "--", ":!LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if found.returncode == 128:
        pytest.skip("needs git and a checkout")
    assert found.stdout == ""
