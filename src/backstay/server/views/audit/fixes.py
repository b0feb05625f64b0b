"""Registered fixes: what was planned and expected, what came of it; and the plan of a new one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from backstay.server.audit.model import Plain, Result
from backstay.server.views.audit.chart import Chart, charts
from backstay.server.views.audit.words import finding_path, percent, when
from backstay.server.views.scene.words import Standing, Tone, listed

OUTCOME: Mapping[str, Standing] = {
    "waiting": Standing("waiting", Tone.IDLE, "clock"),
    "too early": Standing("too early", Tone.INFO, "clock"),
    "confirmed": Standing("confirmed", Tone.OK),
    "not confirmed": Standing("not confirmed", Tone.WARN),
    "contradicted": Standing("contradicted", Tone.BAD),
    "reopened": Standing("reopened", Tone.WARN),
}
MEANING: Mapping[str, str] = {
    "waiting": "The fact has not changed yet on every node.",
    "too early": "The fact has changed, and too little was measured since to tell.",
    "confirmed": "What was expected came with the change, on the nodes that were altered. The finding is closed.",
    "not confirmed": "What was expected did not come. The finding is open again.",
    "contradicted": "The opposite of what was expected came.",
    "reopened": "It was confirmed, and then the effect went, or the fact was changed back.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FixRow:
    id: str
    href: str
    what: str  # "cpu.version of queue4"
    finding: str  # address
    cluster: str
    indicator: str
    expected: str
    standing: Standing
    registered: datetime | None
    by: datetime | None
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    node: str
    changed: datetime | None  # None: not yet
    effect: str
    gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FixPage:
    row: FixRow
    fact: str
    value: str
    sentence: str
    judged_at: datetime | None
    came: str  # with its interval
    wanted: str
    nodes: tuple[NodeRow, ...]
    rests: tuple[str, ...]  # on what the verdict rests
    together: tuple[str, ...]
    problems: tuple[str, ...]
    charts: tuple[Chart, ...]
    marks: tuple[datetime, ...]  # when nodes changed
    chart_sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A fact that a fix may alter."""

    fact: str
    values: tuple[tuple[str, str], ...]  # nodes, value
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a fix would be, before it is registered."""

    cluster: str
    indicator: str
    span: str
    finding: str  # address
    sentence: str
    facts: tuple[Choice, ...]
    nodes: tuple[tuple[str, bool, str], ...]  # name, chosen, what the figures say of it
    expected: str  # in percent, as a person writes it
    words: tuple[str, ...]  # the plan


def fix_rows(kept: Sequence[Result]) -> tuple[FixRow, ...]:
    """The newest first."""
    rows = [_row(one.head) for one in kept]
    return tuple(sorted(rows, key=lambda row: (row.registered is not None, row.registered), reverse=True))


def _row(told: Plain) -> FixRow:
    outcome = str(told["outcome"])
    return FixRow(
        id=told["id"],
        href=f"/audit/fixes/{quote(told['id'])}",
        what=f"{told['fact']} of {listed(told['nodes'])}",
        finding=finding_path(told["cluster"], told["indicator"]),
        cluster=told["cluster"],
        indicator=told["indicator"],
        expected=_expected(told["expected"]),
        standing=OUTCOME.get(outcome) or Standing(outcome, Tone.WARN),
        registered=when(told["registered"]),
        by=when(told["by"]),
        actor=told["actor"],
        reason=told["reason"],
    )


def _expected(share: float | None) -> str:
    return "equal to its peers" if share is None else f"{share * 100:+.3g}%"


def fix_page(found: Result) -> FixPage:
    told = found.body
    verdict: Plain = told.get("verdict") or {}
    effect = verdict.get("effect")
    unit = effect["unit"] if effect else "log ratio"
    changed = {one["node"]: one for one in verdict.get("nodes", ())}
    nodes = tuple(
        NodeRow(
            node=node,
            changed=when(changed[node]["changed"]) if node in changed else None,
            effect=percent(changed[node]["estimate"], unit) if node in changed else "",
            gone=bool(changed.get(node, {}).get("gone")),
        )
        for node in told["nodes"]
    )
    marks = tuple(sorted(row.changed for row in nodes if row.changed is not None))
    report: Plain = told.get("report") or {}
    drawn = charts(report.get("series") or {}, indicator=told["indicator"], unit=unit, work=None)
    return FixPage(
        row=_row(told),
        fact=told["fact"],
        value=told["value"] or "",
        sentence=told.get("sentence") or MEANING.get(str(told["outcome"]), ""),
        judged_at=when(verdict.get("time")),
        came=_interval(effect),
        wanted="" if verdict.get("expected") is None else percent(verdict["expected"], unit),
        nodes=nodes,
        rests=_rests(report),
        together=tuple(verdict.get("together", ())),
        problems=tuple(verdict.get("problems", ())),
        charts=drawn[:1],
        marks=marks,
        chart_sentence=_marks_words(nodes),
    )


def _interval(effect: Mapping[str, Any] | None) -> str:
    if not effect:
        return ""
    low, high = percent(effect["low"], effect["unit"]), percent(effect["high"], effect["unit"])
    return f"{percent(effect['estimate'], effect['unit'])} (95%: {low} to {high})"


def _rests(report: Plain) -> tuple[str, ...]:
    return next((tuple(one["lines"]) for one in report.get("sections", ()) if one["heading"] == "What it rests on"), ())


def _marks_words(nodes: Sequence[NodeRow]) -> str:
    changed = [row for row in nodes if row.changed is not None]
    if not changed:
        return "No node has been altered yet."
    told = "; ".join(f"{row.node} at {row.changed:%Y-%m-%d %H:%M} UTC" for row in changed[:5] if row.changed)
    return f"The upright lines are the changes: {told}."


# --- a new one --------------------------------------------------------------------------------------------------------


def fix_plan(cluster: str, indicator: str, span: str, found: Result, fact: str, chosen: Sequence[str]) -> Plan:
    """Of a finding. `fact`, `chosen`: what was asked for; empty: what the finding suggests."""
    told = found.body
    first = next((one for one in told["hypotheses"] if one["kind"] == "class"), None)
    facts = first["facts"] if first else []
    names = [one["fact"] for one in facts]
    fact = fact if fact in names else (names[0] if names else "")
    differing = list(told["comparison"]["differs"]) or _smallest(first)
    nodes = [node for node in chosen if node in told["nodes"]] or differing
    picked = next((one for one in facts if one["fact"] == fact), None)
    unit = told["comparison"]["unit"]
    of_node = {one["node"]: percent(one["difference"], unit) for one in told["comparison"]["nodes"]}
    return Plan(
        cluster=cluster,
        indicator=indicator,
        span=span,
        finding=finding_path(cluster, indicator),
        sentence=told["sentence"],
        facts=tuple(
            Choice(fact=one["fact"], values=_values(first, one), chosen=one["fact"] == fact) for one in facts[:30]
        ),
        nodes=tuple((node, node in nodes, of_node.get(node, "")) for node in told["nodes"][:200]),
        expected="",
        words=_plan_words(cluster, indicator, fact, nodes, _values(first, picked)),
    )


def _smallest(first: Plain | None) -> list[str]:
    """The nodes of the smallest group: the fewest to alter."""
    groups: list[list[str]] = first["groups"] if first else []
    return min(groups, key=len, default=[])


def _values(first: Plain | None, fact: Plain | None) -> tuple[tuple[str, str], ...]:
    if first is None or fact is None:
        return ()
    pairs = zip(first["groups"], fact["values"], strict=False)
    return tuple((listed(group), "absent" if value is None else str(value)[:60]) for group, value in pairs)


def _plan_words(
    cluster: str, indicator: str, fact: str, nodes: Sequence[str], values: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    if not fact or not nodes:
        return ("Choose a fact and the nodes where it is altered.",)
    there = "; ".join(f"{group}: {value}" for group, value in values)
    return (
        f"You alter {fact} on {listed(nodes)} ({there}). Backstay alters nothing: it waits, and sees the fact change.",
        f"Then it compares {indicator} of {cluster} before and after, beside the nodes that were left as they are.",
        "What comes as expected, with the change and not before it, confirms the cause; what does not, reopens it.",
    )
