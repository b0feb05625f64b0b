"""`facts diff`, `compare`, `explain`: from answers (of files, the store, or the server) to reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backstay.cli.output import Exit, Format
from backstay.cli.report import Report

Answer = Mapping[str, Any]
SPLITS_LIMIT = 30  # shown in the terminal; data has all
FACTS_LIMIT = 12
CONSISTENT = ("consistent", "probable", "replicated", "confirmed")  # grades that name a fact
PAGES = ("text", "markdown", "html")  # of an explanation: for people


def diff_report(answer: Answer, output: Format, *, everything: bool) -> Report:
    """The facts that differ, by how they split the nodes. Exit code 3: some do that are no noise."""
    telling = any(_telling(split) for split in answer["splits"])
    code = Exit.FINDINGS if telling else Exit.DONE
    data = _in_words(answer, everything=everything) if output is Format.TABLE else answer
    return Report(data=data, notes=answer["problems"], code=code)


def compare_report(answer: Answer) -> Report:
    """A row an indicator: who differs, and what goes with it where there are facts. Exit code 3: somebody does."""
    found = answer["indicators"]
    differs = any(one["differs"] or one["split"] for one in found)
    return Report(
        data=answer,
        rows=[_row(one) for one in found],
        notes=answer["problems"],
        code=Exit.FINDINGS if differs else Exit.DONE,
    )


def explain_report(answer: Answer, output: Format) -> Report:
    """The story of one indicator. Exit code 3: there is a difference."""
    data: Any = answer["text"]
    if output is not Format.TABLE:
        data = {key: value for key, value in answer.items() if key not in PAGES}
    return Report(data=data, code=Exit.DONE if answer["grade"] == "nothing" else Exit.FINDINGS)


def write_page(path: Path, content: str) -> str | None:
    """None: written; else why not."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        return f"{path}: not written: {error.strerror}. Name a file in a folder that you may write to."
    return None


def _row(found: Answer) -> dict[str, Any]:
    from backstay.audit.report.story import percent

    def beside(value: float | None) -> str:
        return percent(float("nan") if value is None else value, found["unit"])

    differing = [
        f"{one['node']} {beside(one['difference'])} ({beside(one['low'])} to {beside(one['high'])})"
        for one in found["nodes"]
        if one["differs"]
    ]
    row = {
        "indicator": found["indicator"],
        "differs": ", ".join(differing) or "nobody",
        "split": _groups(found["split"]) or "none",
    }
    if "finding" in found:
        row |= {"grade": found["finding"]["grade"], "fits best": _fits_best(found["finding"])}
    return row


def _fits_best(finding: Answer) -> str:
    """The fact that comes first, and how many split the nodes alike; empty where none is claimed."""
    first = next((one for one in finding["hypotheses"] if one["kind"] == "class"), None)
    if first is None or finding["grade"] not in CONSISTENT:
        return ""
    others = len(first["facts"]) - 1
    alike = f" (and {others} fact{'s' * (others > 1)} that split{'s' * (others == 1)} the nodes alike)"
    return f"{first['facts'][0]['fact']}{alike if others else ''}"


def _groups(groups: list[list[str]]) -> str:
    """ "web1 | web2, web3 | web4"."""
    return " | ".join(", ".join(group) for group in groups)


def _telling(split: Answer) -> list[Answer]:
    return [fact for fact in split["facts"] if not fact["noise"]]


def _in_words(found: Answer, *, everything: bool) -> str:
    differ, noise = sum(len(split["facts"]) for split in found["splits"]), found["noise"]
    lines = [
        f"{found['cluster']}: {differ} of {found['facts']} facts differ between {len(found['nodes'])} nodes, "
        f"in {len(found['splits'])} ways. {noise} of them are noise"
        + ("." if everything or not noise else " (names, addresses, what changes by itself: --all shows them).")
    ]
    shown = [split for split in found["splits"] if everything or _telling(split)]
    for number, split in enumerate(shown[:SPLITS_LIMIT], 1):
        lines += ["", f"{number}. {_groups(split['groups'])}", *_facts(split, everything=everything)]
    if len(shown) > SPLITS_LIMIT:
        lines += ["", f"and {len(shown) - SPLITS_LIMIT} ways more (-o json has all)"]
    if found["unread"]:
        names = ", ".join(found["unread"][:FACTS_LIMIT])
        more = ", ..." * (len(found["unread"]) > FACTS_LIMIT)
        lines += ["", f"Unread on some node, so they may differ: {names}{more}"]
    return "\n".join(lines)


def _facts(split: Answer, *, everything: bool) -> list[str]:
    from backstay.audit.report.story import short

    chosen = split["facts"] if everything else _telling(split)
    shown = chosen if everything else chosen[:FACTS_LIMIT]
    width = max((len(one["fact"]) for one in shown), default=0)
    lines = [
        f"   {one['fact'].ljust(width)}  {' | '.join(short(value) for value in one['values'])}"
        + (f"  ({one['noise']})" if one["noise"] else "")
        for one in shown
    ]
    hidden = len(chosen) - len(shown)
    return [*lines, f"   and {hidden} facts more (--all)"] if hidden else lines
