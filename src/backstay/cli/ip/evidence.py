"""`ip explain`: the evidence of each candidate as a table, and as a small plot.

    lb2 on lb1   icmp   rtt 0.1 ms  |||||||||||||||xxxxxxxxxx   last answered 1.2 s ago
                 evidence over its threshold  ▁▁▂▃▅▆█

A strip is the last probes, oldest first: `|` answered, `x` missed, `r` refused, `c` a bad certificate, `?` not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backstay.change.rollout import worst
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.output import Row
from backstay.cli.planning import complaints
from backstay.cli.report import Report

if TYPE_CHECKING:
    from backstay.cli.served.way import Site
    from backstay.link.views import IpCandidateView, IpExplainView, IpProbeView

STRIP_WIDTH = 40
PLOT_WIDTH = 60
BARS = " ▁▂▃▄▅▆▇█"
MARK = {"answered": "|", "refused": "r", "bad_certificate": "c", "not_sent": "?"}


async def explain_report(site: Site, name: str, lb: str | None) -> Report:
    lbs = [lb] if lb else list(site.estate.global_ips[name].candidates)
    async with Fleet(site, lbs) as fleet:
        views, answers = await fleet.ask(lambda agent: agent.explain_ip(name))
    rows: list[Row] = []
    notes: list[str] = []
    for view in views.values():
        rows += _rows(view)
        notes += _notes(view)
    data = [dict(view) for view in views.values()]
    return Report(data=data, rows=rows, notes=[*complaints(answers), *notes], code=EXIT_OF[worst(answers)])


def _rows(view: IpExplainView) -> list[Row]:
    """A row for each kind of probe to each other candidate, to oneself, and to the gateway."""
    rows = [
        _row(view["lb"], one["lb"], probe, _verdict(one)) for one in view["candidates_seen"] for probe in one["probes"]
    ]
    rows += [_row(view["lb"], "(itself)", probe, "") for probe in view["own"]]
    return rows + [_row(view["lb"], "(gateway)", probe, "") for probe in view["gateway"]]


def _row(watcher: str, target: str, probe: IpProbeView, verdict: str) -> Row:
    rtt, ago = probe["rtt_ms"], probe["answered_ago_s"]
    return {
        "watcher": watcher,
        "target": target,
        "kind": probe["kind"],
        "last": probe["outcome"],
        "answered": "never" if ago is None else f"{ago:.1f} s ago",
        "rtt": "" if rtt is None else f"{rtt:.1f} ms",
        "probes": strip(probe["strip"]),
        "verdict": verdict,
    }


def _verdict(one: IpCandidateView) -> str:
    words = ["answers" if one["evidence"] is None else "dead" if one["evidence"]["convincing"] else "suspected"]
    words += ["no ping, a filter"] if one["icmp_filtered"] else []
    words += ["quarantined"] if one["quarantined"] else []
    words += ["took it already"] if one["took"] else []
    return ", ".join(words)


def strip(seen: Sequence[Sequence[Any]]) -> str:
    """The last probes as letters, oldest first."""
    return "".join(MARK.get(str(outcome), "x") for _, outcome in seen[-STRIP_WIDTH:])


def _notes(view: IpExplainView) -> list[str]:
    notes = [f"{view['lb']}: {view['state']} ({view['reason']}), holder {view['owner'] or 'unknown'}"]
    for one in view["candidates_seen"]:
        evidence = one["evidence"]
        if evidence is not None:
            notes.append(
                f"{view['lb']} on {one['lb']}: looks like {evidence['death']}; silent {evidence['silent_s']:.2f} s of "
                f"{evidence['patience_s']:.2f} s patience; evidence {evidence['log_likelihood']:.1f} of "
                f"{evidence['threshold']:.1f} nats; packet loss {evidence['packet_loss']:.1%}"
            )
    trace = view["trace"]
    if trace:
        last = trace[-1]
        notes.append(f"{view['lb']}: the last suspicion was of {last['of']}, {last['ago_s']:.0f} s ago")
        notes += plot("evidence", [(t["log_likelihood"], t["threshold"]) for t in trace])
        notes += plot("silence ", [(t["silent_s"], t["patience_s"]) for t in trace])
    return notes


def plot(title: str, points: Sequence[tuple[float, float]]) -> list[str]:
    """One line: each value as a part of what convinces (a full bar, and `!` below it, is enough)."""
    points = points[-PLOT_WIDTH:]
    parts = [1.0 if enough <= 0 else min(1.0, max(0.0, value / enough)) for value, enough in points]
    bars = "".join(BARS[round(part * (len(BARS) - 1))] for part in parts)
    value, enough = points[-1]
    return [f"  {title} {bars} {value:.1f} of {enough:.1f}"]
