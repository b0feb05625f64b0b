"""`facts diff`, `compare`, `explain`: from what was read to reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from backstay.audit.catalogue import indicator_of
from backstay.audit.compare import compare
from backstay.audit.differences import Differences, Split, differences
from backstay.audit.examine import Examined, examine
from backstay.audit.explain.natural import from_changes
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.model import Comparison, FactTable, Grade, Indicator, Knowledge
from backstay.audit.report.data import of_comparison, of_differences, of_finding
from backstay.audit.report.page import as_html
from backstay.audit.report.render import as_markdown, as_text
from backstay.audit.report.story import groups_of, named, percent, short, tell_story
from backstay.audit.sources.history import History
from backstay.audit.work import normalise
from backstay.cli.audit.files import Chosen, Measured, NotSo
from backstay.cli.output import Exit, Format
from backstay.cli.report import Report

SPLITS_LIMIT = 30  # shown in the terminal; data has all
FACTS_LIMIT = 12
DAY = 1.0


def diff_report(history: History, chosen: Chosen, output: Format, *, everything: bool) -> Report:
    """The facts that differ, by how they split the nodes. Exit code 3: some do that are no noise."""
    cluster = chosen.of(history.table.nodes)
    have = [node for node in cluster.nodes if node in set(history.table.nodes)]
    missing = [node for node in cluster.nodes if node not in set(have)]
    notes = [*history.problems, *(f"{node}: no facts in the file." for node in missing)]
    if len(have) < 2:
        notes.append(f"{len(have)} of {len(cluster.nodes)} nodes of {cluster.name} have facts: two are needed.")
        return Report(data=None, notes=notes, code=Exit.FAILED)
    found = differences(history.table.rows(have), knowledge(history).habits)
    code = Exit.FINDINGS if found.telling else Exit.DONE
    notes += _unread(history, have)
    if output is Format.TABLE:
        return Report(data=_in_words(cluster.name, found, everything=everything), notes=notes, code=code)
    return Report(data=of_differences(cluster.name, found), notes=notes, code=code)


def compare_report(measured: Measured, history: History | None, chosen: Chosen) -> Report:
    """A row an indicator: who differs, and what goes with it where facts are given. Exit code 3: somebody does."""
    rows, data, notes = [], [], list(measured.problems)
    known = knowledge(history) if history else Knowledge()
    for name in measured.grid.indicators:
        indicator = indicator_of(name, work=measured.work, closed_loop=chosen.balanced)
        if history is not None:
            looked = look(measured, indicator, history.table, known)
            row = _row(looked.comparison)
            first = looked.finding.first
            claims = looked.finding.grade.rank >= Grade.CONSISTENT.rank
            row |= {"grade": looked.finding.grade.value, "fits best": named(first) if first and claims else ""}
            data.append({**of_comparison(looked.comparison), "finding": of_finding(looked.finding)})
        else:
            found = _compare(measured, indicator)
            row = _row(found)
            data.append(of_comparison(found))
        rows.append(row)
        notes += [f"{name}: {problem}" for problem in data[-1]["problems"]]
    differs = any(one["differs"] or one["split"] for one in data)
    return Report(data=data, rows=rows, notes=notes, code=Exit.FINDINGS if differs else Exit.DONE)


def explain_report(
    measured: Measured, name: str, history: History, chosen: Chosen, output: Format
) -> tuple[Report, dict[str, str]]:
    """The story of one indicator, and its pages: "markdown", "html". Exit code 3: there is a difference."""
    if name not in measured.grid.indicators:
        there = ", ".join(measured.grid.indicators[:20])
        raise NotSo(f'No indicator "{name[:60]}" of {measured.cluster.name} in the file. There is: {there}.')
    indicator = indicator_of(name, work=measured.work, closed_loop=chosen.balanced)
    looked = look(measured, indicator, history.table, knowledge(history))
    problems = (
        *measured.problems,
        *_mixed(measured, looked, history),
        *_unread(history, measured.cluster.nodes),
        *looked.finding.problems,
    )
    looked = replace(looked, finding=replace(looked.finding, problems=tuple(dict.fromkeys(problems))))
    story = tell_story(looked, measured.grid, measured.work if indicator.per_work else None)
    code = Exit.DONE if looked.finding.grade is Grade.NOTHING else Exit.FINDINGS
    data: Any = {**of_finding(looked.finding), "comparison": of_comparison(looked.comparison)}
    if output is Format.TABLE:
        data = as_text(story)
    span = f"{measured.grid.start:%Y-%m-%d %H:%M} to {measured.grid.end:%Y-%m-%d %H:%M} UTC"
    pages = {"markdown": as_markdown(story), "html": as_html(story, f"{', '.join(looked.finding.nodes)}; {span}")}
    return Report(data=data, code=code), pages


def look(measured: Measured, indicator: Indicator, table: FactTable, known: Knowledge) -> Examined:
    """Examine one indicator; once more with what its changed facts say, if any changed in the time looked at."""
    try:
        looked = examine(measured.cluster, measured.grid, indicator, table, known)
        mine = [change for change in known.changes if change.node in set(measured.cluster.nodes)]
        evidence = from_changes(looked.normal.values, measured.grid, measured.cluster.nodes, mine)
        if not evidence:
            return looked
        return examine(measured.cluster, measured.grid, indicator, table, replace(known, evidence=evidence))
    except ValueError as error:
        raise NotSo(str(error)) from None


def knowledge(history: History) -> Knowledge:
    """What the file teaches of facts: habits, and what changed."""
    habits = learn_habits(history.table, history.changes, days=max(history.days, DAY))
    return Knowledge(habits=habits, changes=history.changes)


def write_page(path: Path, content: str) -> str | None:
    """None: written; else why not."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        return f"{path}: not written: {error.strerror}. Name a file in a folder that you may write to."
    return None


def _compare(measured: Measured, indicator: Indicator) -> Comparison:
    values = measured.grid.of(indicator.name)
    work = measured.grid.of(measured.work) if indicator.per_work and measured.work else None
    return compare(measured.cluster.name, measured.cluster.nodes, normalise(values, work), indicator)


def _mixed(measured: Measured, looked: Examined, history: History) -> list[str]:
    """Nodes whose level is of two states, as a fact of the first class changed on them in the time looked at."""
    first = looked.finding.first
    named = {fact.fact for fact in first.facts} if first else set()
    changed = {
        change.node: change.time
        for change in history.changes
        if change.fact in named and measured.grid.start < change.time < measured.grid.end
    }
    return [
        f"{node}: its level mixes what was before and after the change at {time:%Y-%m-%d %H:%M} UTC (less: --since)"
        for node, time in changed.items()
        if node in measured.cluster.nodes
    ]


def _row(found: Comparison) -> dict[str, Any]:
    differing = [
        f"{one.node} {percent(one.difference, found.unit)} "
        f"({percent(one.low, found.unit)} to {percent(one.high, found.unit)})"
        for one in found.standings
        if one.differs
    ]
    return {
        "indicator": found.indicator,
        "differs": ", ".join(differing) or "nobody",
        "split": groups_of(found.split, tuple(one.node for one in found.levels)) or "none",
    }


def _unread(history: History, nodes: tuple[str, ...] | list[str]) -> list[str]:
    """What could not be read, and why: not the same as absent."""
    lines = []
    for node in nodes:
        reasons = history.unread.get(node, {})
        if reasons:
            facts = ", ".join(f"{fact} ({why})" for fact, why in list(reasons.items())[:5])
            more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
            lines.append(f"{node}: unread: {facts}{more}")
    return lines


def _in_words(cluster: str, found: Differences, *, everything: bool) -> str:
    differ = sum(len(split.facts) for split in found.splits)
    lines = [
        f"{cluster}: {differ} of {found.facts} facts differ between {len(found.nodes)} nodes, "
        f"in {len(found.splits)} ways. {found.noise} of them are noise"
        + ("." if everything or not found.noise else " (names, addresses, what changes by itself: --all shows them).")
    ]
    shown = found.splits if everything else found.telling
    for number, split in enumerate(shown[:SPLITS_LIMIT], 1):
        lines += ["", f"{number}. {' | '.join(', '.join(group) for group in split.groups)}"]
        lines += _facts(split, everything=everything)
    if len(shown) > SPLITS_LIMIT:
        lines += ["", f"and {len(shown) - SPLITS_LIMIT} ways more (-o json has all)"]
    if found.unread:
        names = ", ".join(found.unread[:FACTS_LIMIT])
        lines += ["", f"Unread on some node, so they may differ: {names}{', ...' * (len(found.unread) > FACTS_LIMIT)}"]
    return "\n".join(lines)


def _facts(split: Split, *, everything: bool) -> list[str]:
    chosen = split.facts if everything else split.telling
    shown = chosen if everything else chosen[:FACTS_LIMIT]
    width = max((len(one.fact) for one in shown), default=0)
    lines = [
        f"   {one.fact.ljust(width)}  {' | '.join(short(value) for value in one.values)}"
        + (f"  ({one.noise})" if one.noise else "")
        for one in shown
    ]
    hidden = len(chosen) - len(shown)
    return [*lines, f"   and {hidden} facts more (--all)"] if hidden else lines
