"""Two estates, the difference in words: what a person reads before it is adopted. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backstay.estate import Estate

LINES_LIMIT = 500
_VALUE_LIMIT = 80  # characters of a value in a line

# What lasts in the file as a mapping of names: its entries come and go; everything deeper is altered.
_SECTIONS = {"providers", "regions", "nodes", "clusters", "tiers", "global_ips", "services", "pools"}


def difference(old: Estate | None, new: Estate) -> tuple[str, ...]:
    """One line for everything that is added, removed or altered; empty when both say the same."""
    if old is None:
        counts = ", ".join(f"{len(getattr(new, name))} {name}" for name in ("nodes", "tiers", "pools"))
        return (f"the first estate: {new.estate} with {counts}",)
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    lines: list[str] = []
    for section in after:
        if section in _SECTIONS:
            lines += _entries(section, before[section], after[section])
        else:
            lines += _altered(section, before[section], after[section])
    if len(lines) > LINES_LIMIT:
        lines[LINES_LIMIT:] = [f"... and {len(lines) - LINES_LIMIT} more"]
    return tuple(lines)


def _entries(section: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{section}.{name}: removed" for name in before if name not in after)
    for name in after:
        if name not in before:
            yield f"{section}.{name}: added"
        else:
            yield from _altered(f"{section}.{name}", before[name], after[name])


def _altered(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            yield from _altered(f"{path}.{key}", before.get(key), after.get(key))
        return
    yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _VALUE_LIMIT else text[: _VALUE_LIMIT - 3] + "..."
