"""What somebody asks of the server, and what the server makes of it. Pure nouns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from backstay.change import (
    Allowed,
    ChangeInvalid,
    ChangeKind,
    Refused,
    Verdict,
    check_duration,
    check_parameter,
    format_duration,
)
from backstay.server.model import ServerChange

_ID = re.compile(r"[0-9A-Za-z_-]{8,64}", re.ASCII)
_REASON_LIMIT = 500
_SELECTOR_LIMIT = 200
_SHOWN = 12  # names in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One change of every node that `selector` means. Asked twice with one `id`, it is one change."""

    id: str  # made by whoever asks (the Idempotency-Key): 8 to 64 letters, digits, - and _
    selector: str  # "node/web2", "nodes/web*", "zone/wdc01", "region/x", "cluster/web", "path/power-a"
    kind: ChangeKind
    reason: str
    pool: str | None = None  # None: every pool that a node serves in
    factor: float | None = None  # WEIGHT: 0 < factor <= 4
    parameter: str | None = None  # PARAMETER: its name
    value: Any = None  # PARAMETER: JSON
    duration_s: float | None = None  # None: until undone
    forced: bool = False  # override what the guard lets itself be overridden

    def check(self) -> None:
        """Raises ChangeInvalid for what no estate would make right."""
        if not _ID.fullmatch(self.id):
            raise ChangeInvalid("id: 8 to 64 letters, digits, - and _. Make one for each thing that you ask for.")
        if len(self.selector) > _SELECTOR_LIMIT:
            raise ChangeInvalid(f"selector: more than {_SELECTOR_LIMIT} characters.")
        if not self.reason.strip() or len(self.reason) > _REASON_LIMIT or not self.reason.isprintable():
            raise ChangeInvalid(f"reason: one line of 1 to {_REASON_LIMIT} printable characters. Say why.")
        if self.duration_s is not None:
            check_duration(self.duration_s)
        if self.kind is ChangeKind.PARAMETER:
            check_parameter(self.parameter, self.value)
            if self.pool is not None or self.factor is not None:
                raise ChangeInvalid("A parameter is of a node: it takes no pool and no factor.")
        elif self.parameter is not None or self.value is not None:
            raise ChangeInvalid(f"A {self.kind} takes no parameter.")

    @property
    def words(self) -> str:
        """What it is, for people: "drain of zone/wdc01 for 30m"."""
        what = {
            ChangeKind.WEIGHT: f"weight {self.factor:g}" if self.factor is not None else "weight",
            ChangeKind.PARAMETER: f"parameter {self.parameter}",
        }.get(self.kind, self.kind.value)
        where = self.selector if self.pool is None else f"{self.selector} in pool {self.pool}"
        until = "until undone" if self.duration_s is None else f"for {format_duration(self.duration_s)}"
        return f"{what} of {where} {until}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedNode:
    """One node's change, and what the guard says of it with those before it in force."""

    change: ServerChange
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """The plan: all of it is put, or nothing."""

    asked: Asked
    nodes: tuple[WeighedNode, ...]
    left_out: tuple[tuple[str, str], ...] = ()  # nodes of a group that it does not apply to, and why
    already: bool = False  # this very request was put before: nothing was altered now
    revision: int = 0  # of what it was weighed against; once put, the one that tells of it

    @property
    def allowed(self) -> bool:
        return all(isinstance(node.verdict, Allowed) for node in self.nodes)

    @property
    def refused(self) -> tuple[Refused, ...]:
        return tuple(node.verdict for node in self.nodes if isinstance(node.verdict, Refused))

    @property
    def overridable(self) -> bool:
        """Would `forced` let it pass?"""
        return not self.allowed and all(refused.overridable for refused in self.refused)

    @property
    def words(self) -> tuple[str, ...]:
        """The plan in sentences: what to which nodes, who is left out, refusals, what was overridden, notes."""
        names = [node.change.node for node in self.nodes]
        lines = [f"{self.asked.words}: {_listed(names)}"]
        if self.already:
            lines.append("It was put before: nothing is altered.")
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out:
            by_reason.setdefault(reason, []).append(name)
        lines += [f"Left out: {_listed(out)} ({reason})" for reason, out in by_reason.items()]
        lines += [f"Refused: {refused.sentence}" for refused in self.refused]
        allowed = [node.verdict for node in self.nodes if isinstance(node.verdict, Allowed)]
        lines += [f"Overridden: {refused.sentence}" for verdict in allowed for refused in verdict.overridden]
        lines += [note for verdict in allowed for note in verdict.notes]
        return tuple(dict.fromkeys(lines))


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
