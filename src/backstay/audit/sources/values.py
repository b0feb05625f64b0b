"""Names and values of facts as they are kept: bounded, and with nothing in them that a terminal would obey. Pure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

FACTS_LIMIT = 50_000  # of one node: some have as many packages and labels
NAME_LIMIT = 300
DEPTH_LIMIT = 20
VALUE_LIMIT = 4_000  # characters: a CPU's flags have 2,000
KEPT = 200

FactTree = dict[str, Any]
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48


def tidy(value: str) -> str:
    """`value`, control characters written as escapes; a long one as its beginning and a hash of all of it.

    Equal stays equal and different stays different, which is all that the audit asks of a value.
    """
    if not value.isprintable():
        value = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in value)
    if len(value) > VALUE_LIMIT:
        mark = sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
        return f"{value[:KEPT]}... ({len(value)} characters, sha256 {mark})"
    return value


def one_line(words: str, limit: int = 200) -> str:
    """The first line that says anything, for messages."""
    plain = _COLOURS.sub("", words)
    first = next((line.strip() for line in plain.splitlines() if line.strip()), "")
    return tidy(first)[:limit]


def flatten(facts: FactTree) -> dict[str, str]:
    """Dotted names and texts; null is absent, true and false are words, a list is its items.

    Raises ValueError for more than FACTS_LIMIT facts, names beyond NAME_LIMIT, or nesting beyond DEPTH_LIMIT.
    """
    found: dict[str, str] = {}
    stack: list[tuple[str, object, int]] = [("", facts, 0)]
    while stack:
        name, value, depth = stack.pop()
        if isinstance(value, dict):
            if depth >= DEPTH_LIMIT:
                raise ValueError(f"facts nested more than {DEPTH_LIMIT} deep. Flatten them: cpu.model.")
            parts = reversed(list(value.items()))
            stack += [(f"{name}.{part}" if name else str(part), one, depth + 1) for part, one in parts]
        elif value is not None:
            if not is_name(name):
                raise ValueError(f'"{name[:40]}" is no name of a fact: 1 to {NAME_LIMIT} printable characters.')
            found[name] = tidy(_words(value))
        if len(found) + len(stack) > FACTS_LIMIT:
            raise ValueError(f"more than {FACTS_LIMIT} facts. Leave out what only labels.")
    return found


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        if any(isinstance(item, (dict, list)) for item in value):
            return json.dumps(value, sort_keys=True, ensure_ascii=False)
        return ", ".join(_words(item) for item in value if item is not None)
    return str(value)


def is_name(words: str) -> bool:
    """May a node, a fact or an indicator be named so? Names are printed, so nothing that a terminal would obey."""
    return bool(words.strip()) and len(words) <= NAME_LIMIT and words.isprintable()


def parse_time(words: str) -> datetime | None:
    """ISO 8601 (without a zone: UTC) or Unix seconds, from 1970 on; None: neither."""
    try:
        found = _moment(words)
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.timestamp() >= 0.0 else None


def _moment(words: str) -> datetime:
    try:
        seconds = float(words)
    except ValueError:
        found = datetime.fromisoformat(words.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    return datetime.fromtimestamp(seconds, UTC)
