"""What the routes of all rooms share: pages of a list, reasons, ids, and what there is when a name is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict

from backstay.change.wire import Line
from backstay.journal.wire import format_time
from backstay.server.access.answers import HEADER
from backstay.server.problem import Problem

T = TypeVar("T")

PAGE_LIMIT = 500
_SHOWN = 12

Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many at most.")]
After = Annotated[str | None, Query(min_length=1, max_length=200, description="`next` of the page before.")]
Name = Annotated[str, Path(max_length=63, description="As the estate names it.")]
Id = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
Key = Annotated[
    str,
    Header(
        alias=HEADER,
        pattern=r"^[0-9A-Za-z_-]{8,64}$",
        description="New for each thing that you ask for. Sent again with the same body, it is done once.",
    ),
]


class Body(BaseModel):
    """What a client sends: nothing that is not known, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reason(Body):
    reason: Line
    """Why; it goes to the journal."""


def page(
    rows: Iterable[T], key: Callable[[T], str], after: str | None, limit: int, *, newest: bool = False
) -> tuple[list[T], str | None]:
    """The rows after key `after`, in the order of their keys (`newest`: against it), and `next`.

    A row that is gone meanwhile moves nothing: what is compared is its key.
    """
    ordered = sorted(rows, key=key, reverse=newest)
    if after is not None:
        ordered = [row for row in ordered if (key(row) < after if newest else key(row) > after)]
    items = ordered[:limit]
    return items, key(items[-1]) if len(ordered) > limit else None


def unknown(what: str, name: str, names: Iterable[str]) -> Problem:
    """404 that says what there is."""
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return Problem(404, "unknown", f'There is no {what} "{name[:64]}". There is: {", ".join(known[:_SHOWN])}{more}.')


def time_or_none(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)
