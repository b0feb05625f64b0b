"""Every cluster by its worst finding; one cluster: who differs in which indicator, and in which facts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backstay.estate import Estate
from backstay.server.audit.model import GRADES, Plain, Result
from backstay.server.views.audit.words import (
    NO_DATA,
    NOT_YET,
    Span,
    address,
    finding_path,
    grade,
    percent,
    spans,
    split_words,
    when,
)
from backstay.server.views.scene.words import Standing

FACTS_SHOWN = 8  # of one split; the rest is behind "more"
SPLITS_SHOWN = 20
VALUE_LIMIT = 60
PEERS = 3  # nodes that a comparison wants, to say who is odd


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """How the last pass went."""

    collected_at: datetime | None
    facts_at: datetime | None
    by: str
    trouble: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRow:
    name: str
    href: str
    nodes: int
    work: str
    standing: Standing
    sentence: str
    finding: str  # address of the worst one; "": there is none
    differ: int
    indicators: int
    newest: datetime | None  # sample


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicatorRow:
    indicator: str
    href: str  # "": there is nothing more to see
    standing: Standing
    differs: tuple[str, ...]  # "web4 +18% (+9% to +28%)"
    split: str
    fits: str  # the fact that comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    fact: str
    values: tuple[str, ...]  # by group
    noise: str  # why it is none that tells anything; "": it may


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """Facts that split the nodes in the same way: no data of this cluster can tell them apart."""

    groups: tuple[str, ...]
    facts: tuple[FactRow, ...]
    more: tuple[FactRow, ...]  # behind a click


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsCard:
    at: datetime
    sentence: str
    splits: tuple[SplitRow, ...]
    noise: tuple[SplitRow, ...]  # names, addresses, what changes by itself
    unread: tuple[str, ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPage:
    name: str
    work: str  # its unit; "": none
    standing: Standing
    sentence: str
    spans: tuple[Span, ...]
    span: Span
    rows: tuple[IndicatorRow, ...]  # who differs first
    calm: tuple[str, ...]  # indicators in which nobody does
    newest: datetime | None
    at: datetime | None
    problem: str
    problems: tuple[str, ...]
    facts: FactsCard | None
    facts_problem: str


def passed(status: Result | None) -> Passed | None:
    """None: no pass has ended yet."""
    if status is None:
        return None
    head = status.head
    return Passed(
        collected_at=when(head.get("collected_at")),
        facts_at=when(head.get("facts_at")),
        by=head.get("by", ""),
        trouble=head.get("trouble", ""),
        problems=tuple(head.get("problems", ())),
    )


def cluster_rows(
    estate: Estate, members: Mapping[str, Sequence[str]], kept: Sequence[Result], span: str
) -> tuple[ClusterRow, ...]:
    """The surest findings first, then as the file has them. `kept`: comparisons of that interval."""
    known = {one.key.cluster: one for one in kept}
    rows = [_cluster(name, len(members[name]), estate.clusters[name].work, known.get(name), span) for name in members]
    return tuple(sorted(rows, key=lambda row: -_rank(known.get(row.name))))


def _rank(found: Result | None) -> int:
    return GRADES.index(found.head["grade"]) if found else -1


def _cluster(name: str, nodes: int, work: str | None, found: Result | None, span: str) -> ClusterRow:
    head: Plain = found.head if found else {}
    indicator = head.get("indicator", "")
    sentence = head.get("sentence", "")
    if not sentence:
        sentence = head.get("problem") or (
            f"Alike in {head['indicators']} indicators." if found else _waiting(nodes)
        )  # fmt: skip
    return ClusterRow(
        name=name,
        href=address(f"/audit/{name}", span),
        nodes=nodes,
        work=work or "",
        standing=_standing(found),
        sentence=sentence,
        finding=address(finding_path(name, indicator), span) if indicator else "",
        differ=head.get("differ", 0),
        indicators=head.get("indicators", 0),
        newest=_newest(found),
    )


def _newest(found: Result | None) -> datetime | None:
    """The newest sample; the cell that it is in may end after the look."""
    to = when(found.head.get("to")) if found else None
    return None if found is None or to is None else min(to, found.at)


def _waiting(nodes: int) -> str:
    if nodes < PEERS:
        return f"{nodes} of the {PEERS} nodes that a comparison wants."
    return "The next pass compares it."


def _standing(found: Result | None) -> Standing:
    if found is None:
        return NOT_YET
    return NO_DATA if found.head["problem"] else grade(found.head["grade"])


# --- one cluster ------------------------------------------------------------------------------------------------------


def cluster_page(
    name: str, work: str | None, span: str, kept: Sequence[Result], found: Result | None, facts: Result | None
) -> ClusterPage:
    """`kept`: heads of this cluster's comparisons, one an interval; `found`: the one of `span`, whole."""
    head: Plain = found.head if found else {}
    told: Plain = found.body if found else {}
    shown = [_indicator(name, span, one) for one in told.get("indicators", ())]
    grades = {one.key.span: one.head["grade"] for one in kept if not one.head["problem"]}
    links = spans(f"/audit/{name}", span, grades)
    return ClusterPage(
        name=name,
        work=work or "",
        standing=_standing(found),
        sentence=head.get("sentence", "") or _calm_words(head, found),
        spans=links,
        span=next(one for one in links if one.current),
        rows=tuple(sorted((row for row in shown if row.href), key=lambda row: row.standing.picture, reverse=True)),
        calm=tuple(row.indicator for row in shown if not row.href),
        newest=_newest(found),
        at=found.at if found else None,
        problem=head.get("problem", ""),
        problems=tuple(told.get("problems", ())),
        facts=_facts(facts) if facts is not None and facts.body else None,
        facts_problem=facts.head.get("problem", "") if facts else "",
    )


def _calm_words(head: Plain, found: Result | None) -> str:
    if found is None:
        return "It was not compared within this interval yet."
    return str(head["problem"]) or "No node differs from its peers beyond what nodes that are alike show."


def _indicator(cluster: str, span: str, one: Plain) -> IndicatorRow:
    finding: Plain = one.get("finding") or {}
    word = finding.get("grade", GRADES[0])
    unit = one["unit"]
    differs = tuple(
        f"{node['node']} {percent(node['difference'], unit)} "
        f"({percent(node['low'], unit)} to {percent(node['high'], unit)})"
        for node in one["nodes"]
        if node["differs"]
    )
    first = next((each for each in finding.get("hypotheses", ()) if each["kind"] == "class"), None)
    claims = first is not None and GRADES.index(word) >= GRADES.index("consistent")
    calm = word == GRADES[0] and not differs and not one["split"]
    return IndicatorRow(
        indicator=one["indicator"],
        href="" if calm else address(finding_path(cluster, one["indicator"]), span),
        standing=grade("differs" if word == GRADES[0] and differs else word),
        differs=differs,
        split=split_words(one["split"]) if len(one["nodes"]) <= 20 else "",
        fits=_named(first) if claims and first else "",
    )


def _named(hypothesis: Plain) -> str:
    facts = hypothesis["facts"]
    others = len(facts) - 1
    return str(facts[0]["fact"]) + (f" and {others} more that split alike" if others > 0 else "")


def _facts(result: Result) -> FactsCard:
    told = result.body
    telling, noise = [], []
    for split in told["splits"]:
        groups = tuple(_group(group) for group in split["groups"])
        rows = [_fact(one) for one in split["facts"]]
        plain = tuple(row for row in rows if not row.noise)
        quiet = tuple(row for row in rows if row.noise)
        if plain:
            telling.append(SplitRow(groups=groups, facts=plain[:FACTS_SHOWN], more=plain[FACTS_SHOWN:]))
        if quiet:
            noise.append(SplitRow(groups=groups, facts=quiet[:FACTS_SHOWN], more=quiet[FACTS_SHOWN:]))
    differ = sum(len(split["facts"]) for split in told["splits"])
    return FactsCard(
        at=result.at,
        sentence=f"{differ} of {told['facts']:,} facts differ between {len(told['nodes'])} nodes, "
        f"in {len(told['splits'])} ways. {told['noise']} of them are noise.",
        splits=tuple(telling[:SPLITS_SHOWN]),
        noise=tuple(noise[:SPLITS_SHOWN]),
        unread=tuple(_unread(told)),
        left_out=max(0, len(telling) - SPLITS_SHOWN),
    )


def _group(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:6]) + (f" and {len(nodes) - 6} more" if len(nodes) > 6 else "")


def _fact(one: Mapping[str, Any]) -> FactRow:
    return FactRow(fact=one["fact"], values=tuple(_short(value) for value in one["values"]), noise=one["noise"] or "")


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= VALUE_LIMIT else f"{value[: VALUE_LIMIT - 1]}…"


def _unread(told: Plain) -> list[str]:
    """A line a node: what could not be read there, and why."""
    why: Mapping[str, Mapping[str, str]] = told.get("unread_why") or {}
    lines = []
    for node, reasons in list(why.items())[:SPLITS_SHOWN]:
        shown = ", ".join(f"{fact} ({reason})" for fact, reason in list(reasons.items())[:5])
        lines.append(f"{node}: {shown}" + (f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""))
    return lines or ([f"Unread on some node: {', '.join(told['unread'][:12])}"] if told["unread"] else [])
