"""The estate file in force as numbered lines, for reading. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backstay.server.views.scene.paging import Paged, page_of

LINES = 400  # a page
WIDTH = 2_000  # characters of a line that are shown

_LINE = re.compile(r"^(?P<indent>\s*(?:- )?)(?P<key>[\w.\"'/*-]+:)?(?P<rest>.*?)(?P<comment>(?:^|\s)#.*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    number: int
    indent: str
    key: str
    rest: str
    comment: str


def lines(text: str, number: int) -> Paged[Line]:
    """Page `number` (from 1) of the file's lines, each parted for its colours."""
    every = text.splitlines()
    paged = page_of(every, number, "/estate", rows=LINES)
    shown = tuple(_line(paged.first + place, line[:WIDTH]) for place, line in enumerate(paged.rows))
    return Paged(rows=shown, total=paged.total, first=paged.first, before=paged.before, after=paged.after)


def _line(number: int, text: str) -> Line:
    found = _LINE.match(text)
    if found is None:
        return Line(number=number, indent="", key="", rest=text, comment="")
    parts = {name: found[name] or "" for name in ("indent", "key", "rest", "comment")}
    return Line(number=number, **parts)
