"""A hundred rows a page: what is not shown is never built. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

ROWS = 100

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged(Generic[Row]):
    """One page of rows, with the addresses of its neighbours ("": there is none)."""

    rows: tuple[Row, ...]
    total: int
    first: int  # place of the first row, from 1
    before: str = ""
    after: str = ""

    @property
    def words(self) -> str:
        if not self.rows:
            return "None"
        return f"{self.first:,} to {self.first + len(self.rows) - 1:,} of {self.total:,}"

    @property
    def several(self) -> bool:
        return bool(self.before or self.after)


def page_of(
    every: Sequence[Row],
    number: int,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    rows: int = ROWS,
    parameter: str = "page",
) -> Paged[Row]:
    """Page `number` (from 1; a page beyond the end is the last one) of `every`, `rows` a page.

    `parameter`: of the address, for a second table on one page.
    """
    last = max(1, -(-len(every) // rows))
    number = min(max(1, number), last)
    start = (number - 1) * rows

    def address(other: int) -> str:
        asked = {key: value for key, value in (query or {}).items() if value}
        return f"{path}?{urlencode(asked | {parameter: str(other)})}"

    return Paged(
        rows=tuple(every[start : start + rows]),
        total=len(every),
        first=start + 1,
        before=address(number - 1) if number > 1 else "",
        after=address(number + 1) if number < last else "",
    )
