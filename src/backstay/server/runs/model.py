"""Nouns of configuration runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NodeRunState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    UNCHANGED = "unchanged"  # exit code 0
    CHANGED = "changed"  # exit code 2: Puppet altered something
    FAILED = "failed"  # any other exit code
    TIMEOUT = "timeout"  # it was ended
    UNREACHABLE = "unreachable"  # nothing was run
    LOST = "lost"  # the server ended meanwhile: nobody knows what became of it


OPEN = (NodeRunState.WAITING, NodeRunState.RUNNING)
GOOD = (NodeRunState.UNCHANGED, NodeRunState.CHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRun:
    """One node of a run."""

    node: str
    state: NodeRunState = NodeRunState.WAITING
    exit_code: int | None = None
    error: str = ""  # why it is unreachable, or was ended: what, where, what next
    started_at: datetime | None = None  # UTC
    ended_at: datetime | None = None  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What somebody asked for in one go."""

    id: str
    selector: str
    command: str  # as a shell would read it
    actor: str
    reason: str
    at: datetime  # UTC
    event: str  # id of the journal's event that tells of it
    alive_at: datetime  # UTC: when the server that carries it out said so last
    ended_at: datetime | None = None  # UTC; None: under way
    nodes: tuple[NodeRun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a node's command printed."""

    text: str
    left_out: int = 0  # characters that were too many, from the middle


class RunRefused(Exception):
    """A run that is not begun: `code` for machines, the words for people."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
