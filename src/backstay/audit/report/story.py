"""What is said of a finding, and in which order: the grade first, in a sentence; then the split, the class, what speaks
for it and against it, what cannot be told apart, what would raise the grade, and the cheapest next experiment."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backstay.audit.compare.peers import middle
from backstay.audit.examine import Examined
from backstay.audit.model import (
    EvidenceKind,
    Finding,
    Grade,
    Grid,
    Hypothesis,
    HypothesisKind,
    Mechanism,
    Partition,
    Pooling,
)
from backstay.audit.report.plots import POINTS_LIMIT, Chart, Line, thin
from backstay.audit.work import Method

FACTS_LIMIT = 12  # of a class that are listed; more are counted
VALUE_LIMIT = 60
TIMES_AT = 5  # from this ratio on people think in times, not in percent
TIMES_LIMIT = 1000  # beyond it nobody needs the figure
OTHERS_AT = 0.05  # posterior from which another class is named
MECHANISMS = {
    Mechanism.DIRECT: "names the very part that {} measures",
    Mechanism.NEAR: "acts on the part that {} measures",
    Mechanism.REMOTE: "is about another part than {} measures",
    Mechanism.SIZE: "is a size; what is divided by work should not care",
    Mechanism.LABEL: "is a name or number; it can hardly act on {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    heading: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()  # of `rows`
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    title: str
    grade: Grade
    sentence: str
    sections: tuple[Section, ...]
    chart: Chart


def tell_story(examined: Examined, grid: Grid, work: str | None = None) -> Story:
    """The story of one finding. `grid`: what was examined. `work`: the indicator that it was divided by."""
    finding = examined.finding
    sections = [_split(examined), _class(finding), _for(examined), _against(examined), _aliased(finding)]
    sections += [
        Section(heading="What would raise the grade", lines=finding.caps if finding.grade is not Grade.NOTHING else ()),
        Section(heading="Next experiment, the cheapest first", lines=tuple(one.detail for one in finding.experiments)),
        Section(heading="Not used, or mended", lines=finding.problems),
    ]
    return Story(
        title=f"{finding.indicator} of {finding.cluster}",
        grade=finding.grade,
        sentence=sentence(finding),
        sections=tuple(one for one in sections if one.lines or one.rows),
        chart=_chart(examined, grid, work),
    )


def sentence(finding: Finding) -> str:
    """The grade, and what it means here."""
    what = f"{finding.indicator} of {finding.cluster}"
    if finding.grade is Grade.NOTHING:
        return f"Nothing: {what} shows no difference to explain ({'; '.join(finding.caps) or 'none was found'})."
    if finding.grade is Grade.DIFFERS or finding.first is None:
        return f"Differs: the nodes differ in {what}, and no collected fact explains it."
    first = named(finding.first)
    return {
        Grade.CONSISTENT: f"Consistent, no more: {first} fits {what} best; other causes are not excluded.",
        Grade.PROBABLE: f"Probable: {first} explains {what}; {_seen(finding)}.",
        Grade.REPLICATED: f"Replicated: {first} explains {what}, here and elsewhere or when it changed.",
        Grade.CONFIRMED: f"Confirmed by intervention: {first} explains {what}.",
    }[finding.grade]


def _seen(finding: Finding) -> str:
    """How much of the world a probable finding has seen."""
    names = {fact.fact for fact in finding.first.facts} if finding.first else set()
    changes = [one for one in finding.evidence if one.kind is EvidenceKind.CHANGE and one.fact in names]
    moved = any(one.log_odds > 0.0 for one in changes)
    return "it moved when that changed, and nobody has undone it" if moved else "it was seen here only, and once"


def likely(share: float) -> str:
    """A probability for people; nothing is certain, and nothing impossible."""
    return "over 99%" if share > 0.99 else "under 1%" if share < 0.01 else f"{share:.0%}"


def named(hypothesis: Hypothesis) -> str:
    """The class by the fact that comes first: "cpu.model name (and 5 facts that split the nodes alike)"."""
    others = len(hypothesis.facts) - 1
    alike = f" (and {others} fact{'s' * (others > 1)} that split{'s' * (others == 1)} the nodes alike)"
    return hypothesis.facts[0].fact + (alike if others else "")


def percent(value: float, unit: str) -> str:
    """A difference for people: "+12%" or "14 times" of a log ratio, "+0.50 of the mean" of a share."""
    if not math.isfinite(value):
        return "unknown"
    if unit != "log ratio":
        return f"{value:+.2f} of the mean"
    if abs(value) > math.log(TIMES_LIMIT):
        return f"over {TIMES_LIMIT} times" if value > 0.0 else f"under 1/{TIMES_LIMIT}"
    if abs(value) > math.log(TIMES_AT):
        return f"{math.exp(value):.0f} times" if value > 0.0 else f"1/{math.exp(-value):.0f}"
    ratio = (math.exp(value) - 1.0) * 100.0
    return f"{ratio:+.0f}%" if abs(ratio) >= 10.0 else f"{ratio:+.1f}%"


def short(value: str | None) -> str:
    """A value of a fact on one line."""
    if value is None:
        return "(absent)"
    words = " ".join("".join(one if one.isprintable() else " " for one in value).split())
    return words if len(words) <= VALUE_LIMIT else words[: VALUE_LIMIT - 3] + "..."


def groups_of(partition: Partition | None, nodes: tuple[str, ...]) -> str:
    """ "web1 | web2, web3 | web4"."""
    return " | ".join(", ".join(group) for group in partition.members(nodes)) if partition else ""


def _split(examined: Examined) -> Section:
    found, finding = examined.comparison, examined.finding
    rows = []
    for level, standing in zip(found.levels, found.standings, strict=True):
        beside = f"{percent(standing.low, found.unit)} to {percent(standing.high, found.unit)}"
        rows.append(
            (
                level.node,
                percent(standing.difference, found.unit),
                beside if math.isfinite(standing.difference) else "",
                f"{level.effective:.0f} of {level.samples}" if math.isfinite(level.effective) else "none",
                "differs" if standing.differs else "",
            )
        )
    lines = []
    if found.split is not None:
        groups = groups_of(found.split, tuple(one.node for one in found.levels))
        lines.append(f"By the figures alone it splits the nodes so: {groups}.")
    else:
        lines.append("By the figures alone, no split stands out from what nodes that are alike show.")
    if finding.effect is not None:
        low, high = (percent(one, finding.effect.unit) for one in (finding.effect.low, finding.effect.high))
        estimate = percent(finding.effect.estimate, finding.effect.unit)
        lines.append(
            f"Between the groups of the first class that are farthest apart: {estimate} (95%: {low} to {high})."
        )
    header = ("node", "beside its peers", "95%", "worth samples", "verdict")
    return Section(heading="The split", lines=tuple(lines), header=header, rows=tuple(rows))


def _class(finding: Finding) -> Section:
    first = finding.first
    if first is None or finding.grade is Grade.NOTHING or first.partition is None:
        return Section(heading="The class that comes first")
    groups = first.partition.members(finding.nodes)
    rows = [(fact.fact, *(short(value) for value in fact.values)) for fact in first.facts[:FACTS_LIMIT]]
    more = len(first.facts) - len(rows)
    return Section(
        heading="The class that comes first",
        lines=(f"{more} facts more split the nodes in the same way (all of them: -o json).",) if more else (),
        header=("fact", *(", ".join(group) for group in groups)),
        rows=tuple(rows),
    )


def _for(examined: Examined) -> Section:
    finding, first = examined.finding, examined.finding.first
    if first is None or finding.grade is Grade.NOTHING:
        return Section(heading="For it")
    leading = first.facts[0]
    lines = [
        f"It is {likely(first.posterior)} likely, and was {likely(first.prior)} before the look.",
        f"{leading.fact} {MECHANISMS[leading.mechanism].format(finding.indicator)}.",
    ]
    if leading.dose > 1.0:
        lines.append(f"{finding.indicator} follows the order of its values (worth {leading.dose:.1f} to 1).")
    if leading.changed is not None:
        lines.append(f"It changed at {leading.changed:%Y-%m-%d %H:%M} UTC, within the time looked at.")
    if leading.recurrence:
        lines.append(f"It came first in {leading.recurrence} other clusters before.")
    return Section(heading="For it", lines=(*lines, *_elsewhere(finding, first, favour=True)))


def _against(examined: Examined) -> Section:
    finding, first = examined.finding, examined.finding.first
    if finding.grade is Grade.NOTHING:
        return Section(heading="Against it")
    lines = list(_elsewhere(finding, first, favour=False)) if first is not None else []
    for one in finding.hypotheses:
        if one is first or one.posterior < OTHERS_AT:
            continue
        what = {
            HypothesisKind.NOTHING: "nothing: nodes that are alike would differ as much",
            HypothesisKind.UNMEASURED: "a cause that no collected fact shows",
        }.get(one.kind) or f"{named(one)}, which splits them {groups_of(one.partition, finding.nodes)}"
        lines.append(f"{likely(one.posterior)}: {what}.")
    if examined.comparison.spread.pooling is Pooling.WIDE:
        lines.append("How much nodes that are alike differ is assumed, not seen: none are known.")
    return Section(heading="Against it", lines=tuple(lines))


def _elsewhere(finding: Finding, first: Hypothesis, *, favour: bool) -> tuple[str, ...]:
    """Evidence of other kinds for facts of the class, or against them."""
    order = {fact.fact: at for at, fact in enumerate(first.facts)}
    same: dict[tuple[str, str, str], list[str]] = {}
    for piece in finding.evidence:
        if piece.fact in order and (piece.log_odds > 0.0) is favour:
            kind = piece.kind.value.replace("_", " ")
            same.setdefault((kind, piece.detail or piece.where, piece.where), []).append(piece.fact)
    lines = []
    for (kind, detail, where), facts in same.items():
        others = f" (and {len(facts) - 1} that changed with it)" if len(facts) > 1 else ""
        lines.append(f"{kind}, {min(facts, key=order.__getitem__)}{others}: {detail} ({where}).")
    return tuple(lines)


def _aliased(finding: Finding) -> Section:
    first = finding.first
    if first is None or len(first.facts) < 2 or finding.grade is Grade.NOTHING:
        return Section(heading="What cannot be told apart here")
    names = [fact.fact for fact in first.facts[:FACTS_LIMIT]]
    more = len(first.facts) - len(names)
    line = f"{', '.join(names)}{f' and {more} more' if more else ''}: all of them split the nodes alike."
    return Section(heading="What cannot be told apart here", lines=(line,))


def _chart(examined: Examined, grid: Grid, work: str | None) -> Chart:
    """Each node beside the cluster at the same time: what hits all of them cancels."""
    values, found = examined.normal.values, examined.comparison
    ratio = examined.normal.method is not Method.LINEAR
    shown = values - middle(values) if ratio else values
    first = examined.finding.first
    labels = dict(zip(examined.finding.nodes, first.partition.labels, strict=True)) if first and first.partition else {}
    lines = []
    for at, level in enumerate(found.levels):
        group = labels.get(level.node, 0)
        label = short(first.facts[0].values[group]) if first and level.node in labels else ""
        lines.append(Line(node=level.node, group=group, label=label, values=thin(shown[at], POINTS_LIMIT)))
    beside = "beside the median of all nodes" if ratio else "in shares of the cluster's mean"
    per = f" per unit of {work}" if work else ""
    return Chart(
        title=f"{found.indicator}{per}, {beside}",
        ratio=ratio,
        start=grid.start,
        end=grid.end,
        lines=tuple(lines),
        marks=(examined.since.time,) if examined.since is not None else (),
    )
