"""Changes as JSON: what is asked of an agent, and what it answers. Pure.

A request carries a duration, not a deadline: a deadline is tied to one machine's boot, and every load balancer
makes its own from its own clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from backstay.change.book import FACTOR_LIMIT
from backstay.change.durations import DURATION_LIMIT_S
from backstay.change.expiry import deadline_at, remaining_s
from backstay.change.guard import Allowed, Verdict
from backstay.change.model import Change, ChangeInvalid, ChangeKind, ClockReading, Ended
from backstay.estate.model import Name


def _one_line(text: str) -> str:
    """It is shown on terminals, so no control characters get in."""
    if not text.isprintable():
        raise ValueError("not one line of printable text")
    return text


ChangeId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
_Line = StringConstraints(strip_whitespace=True, min_length=1, max_length=500)
Line = Annotated[str, _Line, AfterValidator(_one_line)]


def _for_a_load_balancer(kind: ChangeKind) -> ChangeKind:
    if kind is ChangeKind.PARAMETER:
        raise ValueError("a parameter is kept by the server, no load balancer takes one. Ask the server (--server)")
    return kind


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", allow_inf_nan=False)


class ChangeRequest(_Wire):
    """What is asked for. The same on every load balancer; `id` is made by whoever asks."""

    id: ChangeId
    kind: Annotated[ChangeKind, AfterValidator(_for_a_load_balancer)]
    node: Name
    pool: Name | None = None
    factor: Annotated[float, Field(gt=0, le=FACTOR_LIMIT)] | None = None
    actor: Line
    reason: Line
    created_at: AwareDatetime
    duration_s: Annotated[float, Field(gt=0, le=DURATION_LIMIT_S)] | None = None  # None: until undone
    forced: bool = False

    def to_change(self, reading: ClockReading) -> Change:
        """The change as this machine keeps it, with a deadline by its own clocks."""
        return Change(
            id=self.id,
            kind=self.kind,
            node=self.node,
            pool=self.pool,
            factor=self.factor,
            actor=self.actor,
            reason=self.reason,
            created_at=self.created_at,
            deadline=None if self.duration_s is None else deadline_at(reading, self.duration_s),
            forced=self.forced,
        )

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class UndoRequest(_Wire):
    """Who ends a change, and why."""

    actor: Line
    reason: Line


def parse_request(data: object) -> ChangeRequest:
    """The request in `data` (decoded JSON). Raises ChangeInvalid that names every fault."""
    try:
        return ChangeRequest.model_validate(data)
    except ValidationError as error:
        raise ChangeInvalid(_faults("change", error)) from None


def parse_undo(data: object) -> UndoRequest:
    """The undo in `data` (decoded JSON). Raises ChangeInvalid that names every fault."""
    try:
        return UndoRequest.model_validate(data)
    except ValidationError as error:
        raise ChangeInvalid(_faults("undo", error)) from None


def change_json(change: Change, reading: ClockReading) -> dict[str, Any]:
    """A change for the API: what was asked for, with how long it lasts from `reading` on.

    `expires_at` is by the wall clock as it stands; `remaining_s` is what counts.
    """
    left = None if change.deadline is None else remaining_s(change.deadline, reading)
    return {
        "id": change.id,
        "kind": change.kind.value,
        "node": change.node,
        "pool": change.pool,
        "factor": change.factor,
        "actor": change.actor,
        "reason": change.reason,
        "created_at": _iso(change.created_at),
        "forced": change.forced,
        "remaining_s": None if left is None else round(left, 3),
        "expires_at": None if left is None else _iso(reading.wall + timedelta(seconds=left)),
    }


def ended_json(ended: Ended, reading: ClockReading) -> dict[str, Any]:
    """An ended change for the API: the change, with `ended`: by, at, actor, reason."""
    return change_json(ended.change, reading) | {
        "remaining_s": None,
        "expires_at": None,
        "ended": {"by": ended.by.value, "at": _iso(ended.at), "actor": ended.actor, "reason": ended.reason},
    }


def request_from_json(listed: Mapping[str, Any]) -> ChangeRequest:
    """The request that finishes a change on load balancers that lack it, from `change_json` of one that has it.

    Asks for what remains of it, so that it ends everywhere at once. Raises ChangeInvalid.
    """
    keys = ("id", "kind", "node", "pool", "factor", "actor", "reason", "created_at", "forced")
    return parse_request({key: listed.get(key) for key in keys} | {"duration_s": listed.get("remaining_s")})


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A guard's answer: allowed, code, sentence, pool, figures, overridable; notes and what force overrode."""
    if isinstance(verdict, Allowed):
        return {
            "allowed": True,
            "code": "already" if verdict.already else "allowed",
            "notes": list(verdict.notes),
            "overridden": [verdict_json(refused) for refused in verdict.overridden],
        }
    return {
        "allowed": False,
        "code": verdict.reason.value,
        "sentence": verdict.sentence,
        "pool": verdict.pool,
        "figures": dict(verdict.figures),
        "overridable": verdict.overridable,
    }


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _faults(what: str, error: ValidationError) -> str:
    """One line for all faults: where in the body, what is wrong."""
    shown = error.errors(include_url=False, include_context=False, include_input=False)[:10]
    return "; ".join(f"{'.'.join([what, *map(str, fault['loc'])])}: {fault['msg']}" for fault in shown)
