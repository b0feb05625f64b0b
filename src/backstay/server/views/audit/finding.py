"""One finding: who differs, what fits, for and against, what cannot be told apart, the next experiment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backstay.server.audit.model import GRADES, Plain, Result
from backstay.server.views.audit.chart import Chart, charts
from backstay.server.views.audit.words import (
    Rung,
    Span,
    address,
    finding_path,
    grade,
    ladder,
    percent,
    spans,
    split_words,
    when,
)
from backstay.server.views.scene.words import Standing

NODES_SHOWN = 40
FACTS_SHOWN = 12
HYPOTHESES_SHOWN = 6
LIKELY_AT = 0.01  # posterior from which a hypothesis is worth a line
# Sections of the story that have a place of their own on the page.
FOR, AGAINST = "For it", "Against it"
ALIKE, RAISE = "What cannot be told apart here", "What would raise the grade"
NEXT = "Next experiment, the cheapest first"
MECHANISM = {
    "direct": "the very part",
    "near": "acts on that part",
    "remote": "about another part",
    "size": "a size",
    "label": "a name or a number",
}
MENDED = "Not used, or mended"
_ELSEWHERE = ("The split", "The class that comes first", FOR, AGAINST, ALIKE, RAISE, NEXT, MENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    node: str
    value: str  # of the fact that comes first
    beside: str
    interval: str
    worth: str  # samples
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    fact: str
    values: tuple[str, ...]  # by group of the class
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HypothesisRow:
    name: str
    why: str
    likely: float  # 0 to 1
    before: float
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A section of the story that the page knows no place for."""

    heading: str
    lines: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingPage:
    cluster: str
    indicator: str
    query: str  # of the interval, for other pages
    fix: str  # address of the form
    report: str  # address of the report
    standing: Standing
    grade: str
    sentence: str
    ladder: tuple[Rung, ...]
    spans: tuple[Span, ...]
    span: Span
    at: datetime | None
    newest: datetime | None  # sample
    nodes: tuple[NodeRow, ...]
    more_nodes: int
    split: str
    effect: str
    groups: tuple[str, ...]  # of the class that comes first: nodes of each
    facts: tuple[FactRow, ...]
    hypotheses: tuple[HypothesisRow, ...]
    for_it: tuple[str, ...]
    against_it: tuple[str, ...]
    alike: tuple[str, ...]
    raises: tuple[str, ...]
    experiments: tuple[str, ...]
    problems: tuple[str, ...]
    extras: tuple[Extra, ...]
    charts: tuple[Chart, ...]
    chart_sentence: str
    fixable: tuple[str, ...]  # facts that a fix may be registered for
    reports: bool  # can the report be downloaded?


def finding_page(
    cluster: str, indicator: str, span: str, found: Result | None, kept: Sequence[Result], comparison: Plain | None
) -> FindingPage:
    """`found`: the finding; None: nobody differs there. `kept`: this cluster's findings in every interval.

    `comparison`: the indicator's row of the comparison, for when there is no finding.
    """
    told: Plain = found.body if found else {}
    compared: Plain = told.get("comparison") or comparison or {}
    word = told.get("grade", GRADES[0])
    first = next((one for one in told.get("hypotheses", ()) if one["kind"] == "class"), None)
    story = {one["heading"]: one for one in told.get("sections", ())}
    path = finding_path(cluster, indicator)
    links = spans(path, span, {one.key.span: one.head["grade"] for one in kept if one.key.indicator == indicator})
    unit = compared.get("unit", "log ratio")
    drawn = charts(told.get("series") or {}, indicator=indicator, unit=unit, work=told.get("work"))
    return FindingPage(
        cluster=cluster,
        indicator=indicator,
        query=address("", span),
        fix=address("/audit/fixes/new", span, cluster=cluster, indicator=indicator),
        report=address("/audit/report", span, cluster=cluster, indicator=indicator),
        standing=grade(word),
        grade=word,
        sentence=told.get("sentence") or f"No node differs in {indicator} beyond what nodes that are alike show.",
        ladder=ladder(word),
        spans=links,
        span=next(one for one in links if one.current),
        at=found.at if found else None,
        newest=min(to, found.at) if found and (to := when(told.get("to"))) else None,
        nodes=_nodes(compared, first),
        more_nodes=max(0, len(compared.get("nodes", ())) - NODES_SHOWN),
        split=split_words(compared.get("split", ())) if len(compared.get("nodes", ())) <= NODES_SHOWN else "",
        effect=_effect(told.get("effect")),
        groups=tuple(_group(group) for group in first["groups"]) if first else (),
        facts=tuple(_fact(one) for one in first["facts"][:FACTS_SHOWN]) if first else (),
        hypotheses=_hypotheses(told.get("hypotheses", ())),
        for_it=_lines(story, FOR),
        against_it=_lines(story, AGAINST),
        alike=_lines(story, ALIKE),
        raises=_lines(story, RAISE) or tuple(told.get("caps", ())),
        experiments=_lines(story, NEXT) or tuple(one["detail"] for one in told.get("experiments", ())),
        problems=tuple(told.get("problems") or compared.get("problems", ())),
        extras=tuple(
            _extra(one) for one in story.values() if one["heading"] not in (*_ELSEWHERE, "Not used, or mended")
        ),
        charts=drawn,
        chart_sentence=_chart_sentence(compared, first),
        fixable=tuple(one["fact"] for one in first["facts"][:50]) if first and word != GRADES[0] else (),
        reports=bool(told.get("markdown")),
    )


def _nodes(compared: Plain, first: Plain | None) -> tuple[NodeRow, ...]:
    """Who differs first."""
    unit = compared.get("unit", "log ratio")
    values = _values(first)
    rows = [
        NodeRow(
            node=one["node"],
            value=values.get(one["node"], ""),
            beside=percent(one["difference"], unit),
            interval=f"{percent(one['low'], unit)} to {percent(one['high'], unit)}" if one["low"] is not None else "",
            worth=f"{one['effective']:.0f} of {one['samples']:,}" if one["effective"] is not None else "none",
            differs=one["differs"],
        )
        for one in compared.get("nodes", ())
    ]
    return tuple(sorted(rows, key=lambda row: not row.differs)[:NODES_SHOWN])


def _values(first: Plain | None) -> dict[str, str]:
    """Node -> the value of the fact that comes first."""
    if first is None:
        return {}
    values = first["facts"][0]["values"]
    return {
        node: "absent" if value is None else _short(value)
        for group, value in zip(first["groups"], values, strict=False)
        for node in group
    }


def _fact(one: Mapping[str, Any]) -> FactRow:
    notes = [MECHANISM.get(one["mechanism"], one["mechanism"])]
    notes += ["changes by itself"] if one["volatile"] else []
    notes += ["names the node"] if one["identity"] else []
    notes += [f"changed {one['changed'][:10]}"] if one["changed"] else []
    notes += [f"came first in {one['recurrence']} clusters before"] if one["recurrence"] else []
    notes += ["the effect follows its order"] if one["dose"] > 1.0 else []
    return FactRow(
        fact=one["fact"],
        values=tuple("absent" if value is None else _short(value) for value in one["values"]),
        notes=tuple(notes),
    )


def _hypotheses(found: Sequence[Plain]) -> tuple[HypothesisRow, ...]:
    """The likeliest first."""
    rows: list[HypothesisRow] = []
    for one in sorted(found, key=lambda one: -one["posterior"]):
        if one["posterior"] < LIKELY_AT and rows:
            continue
        if one["kind"] == "class":
            others = len(one["facts"]) - 1
            name = one["facts"][0]["fact"] + (f" (and {others} that split alike)" if others else "")
            why = (
                split_words(one["groups"]) if sum(map(len, one["groups"])) <= NODES_SHOWN else "one split of the nodes"
            )
        elif one["kind"] == "unmeasured":
            name, why = "a cause that no collected fact shows", "it splits the nodes, and nothing that is known does so"
        else:
            name, why = "nothing", "nodes that are alike would differ as much"
        first = one["kind"] == "class" and not any(row.first for row in rows)
        rows.append(HypothesisRow(name=name, why=why, likely=one["posterior"], before=one["prior"], first=first))
    return tuple(rows[:HYPOTHESES_SHOWN])


def _effect(effect: Mapping[str, Any] | None) -> str:
    if not effect:
        return ""
    unit = effect["unit"]
    low, high = percent(effect["low"], unit), percent(effect["high"], unit)
    return f"{percent(effect['estimate'], unit)} (95%: {low} to {high})"


def _lines(story: Mapping[str, Plain], heading: str) -> tuple[str, ...]:
    return tuple(story[heading]["lines"]) if heading in story else ()


def _extra(one: Plain) -> Extra:
    return Extra(
        heading=one["heading"],
        lines=tuple(one["lines"]),
        header=tuple(one["header"]),
        rows=tuple(tuple(row) for row in one["rows"]),
    )


def _chart_sentence(compared: Plain, first: Plain | None) -> str:
    unit = compared.get("unit", "log ratio")
    off = [one for one in compared.get("nodes", ()) if one["differs"]]
    words = [
        f"{one['node']} runs {percent(one['difference'], unit)} beside the middle of its peers." for one in off[:3]
    ]
    words += [f"Nodes with one value of {first['facts'][0]['fact']} look alike."] if first else []
    return " ".join(words) or "Each line is a node. None runs apart from the others."


def _group(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:6]) + (f" and {len(nodes) - 6} more" if len(nodes) > 6 else "")


def _short(value: str, limit: int = 60) -> str:
    return value if len(value) <= limit else f"{value[: limit - 1]}…"
