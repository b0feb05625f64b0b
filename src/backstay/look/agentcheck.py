"""HAProxy's agent-check words in the body of a health page: `ready`, `drain`, `maint`, `up`, `down`, `50%`. Pure.

A server says by them how much it can take. The words are those of HAProxy's `agent-check` (configuration manual, 5.2),
on the first line, separated by blanks or commas, in any order; `#` begins a remark.

Stricter than HAProxy in one way: a health page's body may be anything ("OK, ready to serve"), so a line counts only
when every word of it is known and no two contradict each other; else it is ignored, with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_MOST_PERCENT = 25_600  # HAProxy caps here as well
_LINE_LIMIT_BYTES = 256
_PERCENT = re.compile(r"\d{1,9}%")
_CONNECTIONS = re.compile(r"maxconn:\d{1,9}")


class Admin(StrEnum):
    """What the server asks its operators' way: take traffic, finish what you have, or none at all."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWords:
    """What a server says of itself; None: it says nothing about that."""

    share: float | None = None  # of its declared weight: 0.5 for "50%"
    admin: Admin | None = None
    up: bool | None = None
    remark: str = ""  # behind a `#`
    ignored: str = ""  # why the whole line was not taken, for people; then everything else is None


_ADMIN = {admin.value: admin for admin in Admin}
_UP = {"up": True, "down": False, "failed": False, "stopped": False}


def parse(body: bytes) -> AgentWords:
    """Read the first line of `body`. Never raises: nonsense is `ignored`, with the reason."""
    line = re.split(rb"[\r\n]", body.strip(), maxsplit=1)[0]
    if len(line) > _LINE_LIMIT_BYTES or not line.isascii():
        return AgentWords(ignored=f"no agent-check words: more than {_LINE_LIMIT_BYTES} bytes, or not ASCII")
    said, _, remark = line.decode("ascii").partition("#")
    words = re.split(r"[\s,]+", said.strip().lower()) if said.strip() else []
    if not words:
        return AgentWords(remark=remark.strip())
    shares, admins, ups = set[float](), set[Admin](), set[bool]()
    for word in words:
        if word in _UP:
            ups.add(_UP[word])
        elif word in _ADMIN:
            admins.add(_ADMIN[word])
        elif _PERCENT.fullmatch(word):
            shares.add(min(int(word[:-1]), _MOST_PERCENT) / 100)
        elif not _CONNECTIONS.fullmatch(word):  # `maxconn:30` is a word of HAProxy's that has no meaning here
            return AgentWords(ignored=f"{word[:40]!r} is no agent-check word")
    if max(len(shares), len(admins), len(ups)) > 1:
        return AgentWords(ignored=f"{' '.join(words)[:80]!r} contradicts itself")
    return AgentWords(
        share=next(iter(shares), None),
        admin=next(iter(admins), None),
        up=next(iter(ups), None),
        remark=remark.strip(),
    )
