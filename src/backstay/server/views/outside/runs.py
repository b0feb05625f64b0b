"""Configuration runs as the console shows them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backstay.server.runs.judge import counts, sentence
from backstay.server.runs.model import GOOD, OPEN, NodeRun, NodeRunState, Run
from backstay.server.views.scene.words import Standing, Tone

_STANDING = {
    NodeRunState.WAITING: Standing("waiting", Tone.IDLE, "clock"),
    NodeRunState.RUNNING: Standing("running", Tone.INFO, "clock"),
    NodeRunState.UNCHANGED: Standing("nothing to do", Tone.OK),
    NodeRunState.CHANGED: Standing("changed", Tone.OK),
    NodeRunState.FAILED: Standing("failed", Tone.BAD),
    NodeRunState.TIMEOUT: Standing("took too long", Tone.BAD),
    NodeRunState.UNREACHABLE: Standing("unreachable", Tone.BAD),
    NodeRunState.LOST: Standing("lost", Tone.WARN),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    run: Run
    standing: Standing
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    node: str
    standing: Standing
    exit_code: int | None
    error: str
    started_at: datetime | None
    took_s: float | None  # None: not yet


def row(run: Run) -> RunRow:
    return RunRow(run=run, standing=_of_run(run), sentence=sentence(run))


def node_rows(run: Run, now: datetime) -> list[NodeRow]:
    """In the estate's order."""
    return [_node(each, now) for each in run.nodes]


def _node(each: NodeRun, now: datetime) -> NodeRow:
    took = (each.ended_at or now) - each.started_at if each.started_at is not None else None
    return NodeRow(
        node=each.node,
        standing=_STANDING[each.state],
        exit_code=each.exit_code,
        error=each.error,
        started_at=each.started_at,
        took_s=None if took is None else max(0.0, took.total_seconds()),
    )


def _of_run(run: Run) -> Standing:
    found = counts(run)
    bad = sum(count for state, count in found.items() if state not in (*OPEN, *GOOD))
    if run.ended_at is None:
        return Standing("under way", Tone.WARN if bad else Tone.INFO, "clock")
    if bad:
        return Standing(f"{bad} of {len(run.nodes)} not well", Tone.BAD)
    return Standing("well", Tone.OK)
