"""What can go wrong, and how it ends: the table of docs/failover.md is the one that the lab's tests hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ENDINGS = yaml.safe_load((ROOT / "tests/cases/failover/endings.yaml").read_text(encoding="utf-8"))
BEGIN, END = "<!-- endings -->\n", "<!-- /endings -->\n"


def table() -> str:
    lines = [
        "| what happens to lb1, or around it | holder in the end | calls that alter | pages | what the journal says |"
    ]
    lines.append("|---|---|---|---|---|")
    lines += [row(one) for one in ENDINGS.values()]
    return "\n".join(lines) + "\n"


def row(ending: dict[str, Any]) -> str:
    pages = ", ".join(maybe(word) for word in ending["pages"]) or "none"
    journal = "; ".join(f"{lb}: {', '.join(map(maybe, acts))}" for lb, acts in ending["journal"].items()) or "nothing"
    return f"| {ending['what']} | {ending['holder']} | {ending['assigns']} | {pages} | {journal} |"


def maybe(word: str) -> str:
    return f"({word.rstrip('?')})" if word.endswith("?") else word


def test_the_table_in_the_docs_is_what_the_tests_hold() -> None:
    page = (ROOT / "docs/failover.md").read_text(encoding="utf-8")
    told = page.partition(BEGIN)[2].partition(END)[0]
    assert told == table(), f"put this between {BEGIN.strip()} and {END.strip()}:\n{table()}"


@pytest.mark.parametrize("case", ENDINGS)
def test_every_ending_is_held_by_a_test(case: str) -> None:
    source = (ROOT / "tests/lab/test_failover.py").read_text(encoding="utf-8")
    named = set(re.findall(r'ends_as\(f?"([a-z_]+)', source))
    assert case in named or any(case.startswith(name) for name in named if name.endswith("_"))
