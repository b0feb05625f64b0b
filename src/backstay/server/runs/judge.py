"""What an exit code means; how a run stands. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from backstay.server.runs.model import GOOD, OPEN, NodeRunState, Run

DEAD_AFTER = timedelta(seconds=30)  # a server says every 5 s that it still carries out a run


def state_of(exit_code: int | None) -> NodeRunState:
    """Of an exit code as `puppet agent --test` gives it (its manual, --detailed-exitcodes).

    0: nothing to do; 2: changed, well; 4, 6: something failed; 1: the run itself failed. None: ended by a signal.
    """
    match exit_code:
        case 0:
            return NodeRunState.UNCHANGED
        case 2:
            return NodeRunState.CHANGED
        case _:
            return NodeRunState.FAILED


def is_dead(run: Run, now: datetime) -> bool:
    """Did the server that carries it out end in the midst of it?"""
    return run.ended_at is None and now - run.alive_at > DEAD_AFTER


def counts(run: Run) -> dict[NodeRunState, int]:
    """How many nodes are in each state; states of none are left out."""
    found = Counter(node.state for node in run.nodes)
    return {state: found[state] for state in NodeRunState if found[state]}


def sentence(run: Run) -> str:
    """How far it came."""
    done = sum(node.state not in OPEN for node in run.nodes)
    bad = [node.node for node in run.nodes if node.state not in (*OPEN, *GOOD)]
    parts = [f"{count} {state.value}" for state, count in counts(run).items()]
    words = f"{done} of {len(run.nodes)} done: {', '.join(parts)}."
    if not bad:
        return words
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    return f"{words} Look at {', '.join(bad[:5])}{more}."
