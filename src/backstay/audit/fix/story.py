"""A fix for people: what was found in a sentence, before and after as a chart, and what it rests on."""

from __future__ import annotations

import math

import numpy as np

from backstay.audit.compare.peers import middle
from backstay.audit.fix.judge import Scene
from backstay.audit.fix.model import Fix, Outcome, Reason, Verdict
from backstay.audit.model import Grade
from backstay.audit.report.plots import POINTS_LIMIT, Chart, Line, thin
from backstay.audit.report.story import Section, Story, percent, short
from backstay.audit.work import Method

FACTS_LIMIT = 8
TIME = "%Y-%m-%d %H:%M"
WORDS = {
    Reason.NOT_CHANGED: "{fact} has not changed yet on {missing}",
    Reason.OVERDUE: "{fact} has not changed on {missing}, and was to by {by}",
    Reason.LATE: "{fact} had been changed when the fix was registered: what is expected is to be told beforehand",
    Reason.NO_PEERS: "every node of {cluster} changed: there is none to compare with. Leave one as it is",
    Reason.NO_VALUES: "{indicator} was not measured long enough before the change",
    Reason.SHORT: "{fact} changed, and too little was measured since",
    Reason.WIDE: "what came with the change ({effect}) may be the expected {expected}, or nothing",
    Reason.NEVER: "what came with the change ({effect}) may be the expected {expected}, or nothing; the time before is "
    "too short or too noisy for waiting to help: fix a second node, or undo the fix and look again",
    Reason.CAME: "{effect} came with the change; {expected} was expected",
    Reason.NO_EFFECT: "the expected {expected} did not come ({effect})",
    Reason.SMALLER: "something came with the change ({effect}), and less than half of the expected {expected}",
    Reason.CAME_BEFORE: "{indicator} had moved before {fact} was changed: it was not the change",
    Reason.DRIFT: "{indicator} was going that way before {fact} was changed: it need not be the change ({effect})",
    Reason.EVERYWHERE: "the unchanged peers moved as well ({peers}): it was not the change",
    Reason.OPPOSITE: "the opposite of the expected {expected} came ({effect})",
    Reason.WENT: "the effect had come, and is gone ({effect} over all the time since)",
    Reason.CHANGED_BACK: "{fact} was changed back",
}


def sentence(fix: Fix, verdict: Verdict) -> str:
    """The outcome, and why, in one sentence."""
    unit = verdict.effect.unit if verdict.effect else "log ratio"
    words = WORDS[verdict.reason].format(
        fact=fix.fact,
        cluster=fix.cluster,
        indicator=fix.indicator,
        missing=", ".join(verdict.missing),
        by=f"{fix.by:{TIME}} UTC",
        effect=_interval(verdict),
        expected="nothing" if verdict.expected is None else percent(verdict.expected, unit),
        peers="unknown" if verdict.peers is None else percent(verdict.peers, unit),
    )
    wait = "" if verdict.wait_s is None else f". Look again in {duration(verdict.wait_s)}"
    outcome = verdict.outcome.value.capitalize()
    by = " by intervention" if verdict.outcome is Outcome.CONFIRMED else ""
    return f"{outcome}{by}: {words}{wait}."


def duration(seconds: float) -> str:
    """ "40 min", "5 h", "3 d": rounded up, as a wait is."""
    for width, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2.0 * width or name == "min":
            return f"{max(math.ceil(seconds / width), 1)} {name}"
    raise AssertionError(seconds)


def expectation(fix: Fix) -> str:
    """What was expected, as it was told: "-30%", "equal to its peers"."""
    return "equal to its peers" if fix.expected is None else f"{100.0 * fix.expected:+.3g}%"


def tell_fix(fix: Fix, scene: Scene) -> Story:
    """The report on a fix that was judged."""
    verdict = fix.verdict
    assert verdict is not None
    sections = [_registered(fix), _nodes(fix, verdict), _rests(verdict), _others(verdict)]
    return Story(
        title=f"Fix {fix.id}: {fix.fact} of {fix.cluster}",
        grade=Grade.CONFIRMED if verdict.outcome is Outcome.CONFIRMED else Grade.DIFFERS,
        sentence=sentence(fix, verdict),
        sections=tuple(one for one in sections if one.lines or one.rows),
        chart=_chart(fix, verdict, scene),
    )


def _interval(verdict: Verdict) -> str:
    if verdict.effect is None:
        return "nothing measured"
    estimate, low, high = (
        percent(one, verdict.effect.unit) for one in (verdict.effect.estimate, verdict.effect.low, verdict.effect.high)
    )
    return f"{estimate}, 95%: {low} to {high}"


def _registered(fix: Fix) -> Section:
    to = f" to {short(fix.value)}" if fix.value is not None else ""
    return Section(
        heading="What was registered",
        lines=(
            f"{fix.fact} of {', '.join(fix.nodes)}{to}, by {fix.by:{TIME}} UTC: {short(fix.reason)}.",
            f"Expected of {fix.indicator}: {expectation(fix)}. Told by {fix.actor} at {fix.registered:{TIME}} UTC.",
        ),
    )


def _nodes(fix: Fix, verdict: Verdict) -> Section:
    unit = verdict.effect.unit if verdict.effect else "log ratio"
    rows = [
        (one.node, f"{one.changed:{TIME}}", percent(one.estimate, unit), "changed back" if one.gone else "")
        for one in verdict.nodes
    ]
    rows += [(node, "not yet", "", "") for node in verdict.missing]
    header = ("node", "changed (UTC)", "after less before, beside unchanged peers", "")
    return Section(heading=f"{fix.indicator} by node", header=header, rows=tuple(rows))


def _rests(verdict: Verdict) -> Section:
    if verdict.effect is None or verdict.expected is None or verdict.p is None:
        return Section(heading="What it rests on")
    unit = verdict.effect.unit
    reached = round(verdict.p * (1 + verdict.placebos)) - 1
    lines = [
        f"Came: {_interval(verdict)}. Expected: {percent(verdict.expected, unit)}.",
        f"{duration(verdict.before_s)} before and {duration(verdict.after_s)} after the change.",
        f"{reached} of {verdict.placebos} placebos (other times before, other nodes) show as much.",
    ]
    if verdict.own is not None and verdict.peers is not None:
        own, peers = percent(verdict.own, unit), percent(verdict.peers, unit)
        lines.append(f"By themselves, the fixed nodes moved by {own} and their unchanged peers by {peers}.")
    if verdict.log_odds > 0.0:
        lines.append(f"The expected effect is {math.exp(verdict.log_odds):.0f} times likelier than none.")
    elif verdict.log_odds < 0.0:
        lines.append(f"No effect is {math.exp(-verdict.log_odds):.0f} times likelier than the expected one.")
    return Section(heading="What it rests on", lines=tuple(lines))


def _others(verdict: Verdict) -> Section:
    lines = list(verdict.problems)
    if verdict.together:
        more = len(verdict.together) - FACTS_LIMIT
        names = ", ".join(verdict.together[:FACTS_LIMIT]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"Changed at the same time, and not told apart from it: {names}.")
    return Section(heading="Not told apart, or not used", lines=tuple(lines))


def _chart(fix: Fix, verdict: Verdict, scene: Scene) -> Chart:
    """Each fixed node and each unchanged one, beside the median of the unchanged."""
    values = scene.normal.values
    unchanged = [at for at, node in enumerate(scene.nodes) if node not in fix.nodes]
    beside = values - middle(values[unchanged]) if unchanged else values
    changed = {one.node: one.changed for one in verdict.nodes}
    order = sorted(range(len(scene.nodes)), key=lambda at: scene.nodes[at] not in fix.nodes)
    lines = []
    for at in order:
        node = scene.nodes[at]
        time = changed.get(node)
        label = f"fixed {time:%m-%d %H:%M}" if time else "to be fixed" if node in fix.nodes else ""
        lines.append(
            Line(node=node, group=0 if node in fix.nodes else 6, label=label, values=thin(beside[at], POINTS_LIMIT))
        )
    return Chart(
        title=f"{fix.indicator}, beside the median of the unchanged nodes",
        ratio=scene.normal.method is not Method.LINEAR and bool(np.isfinite(beside).any()),
        start=scene.grid.start,
        end=scene.grid.end,
        lines=tuple(lines),
        marks=tuple(sorted(set(changed.values()))),
    )
