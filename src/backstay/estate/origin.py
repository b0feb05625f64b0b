"""Where each value comes from: defaults < file < BACKSTAY_* < flags. Pure; the environment is an argument.

BACKSTAY_POOLS__WEB__CHECK__INTERVAL_S=5 and --set pools.web.check.interval_s=5 say the same. Two underscores separate
keys; one stands for itself, or for the hyphen of a name. Variables without two underscores are no overrides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backstay.estate.check import quoted, suggestion
from backstay.estate.schema import ROOT, Shape, defaults_below, shape_at, step
from backstay.estate.tree import Fault, Item, Key, KeyPath, Syntax, dotted, parse

PREFIX = "BACKSTAY_"
SEPARATOR = "__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One value from outside the file."""

    source: str  # "BACKSTAY_POOLS__WEB__PORT", "--set pools.web.port": for messages and origins
    keys: tuple[str, ...]
    value: str  # YAML
    loose: bool = False  # keys are upper case with underscores for hyphens (the environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What stands above the file. Flags win over the environment, later flags over earlier ones."""

    env: Mapping[str, str] = field(default_factory=dict)
    sets: Sequence[str] = ()  # "pools.web.check.interval_s=5"

    def read(self) -> Iterator[Override]:
        """In the order of application. Raises Syntax for a flag without a key or a value."""
        for name in sorted(self.env):
            if name.startswith(PREFIX) and SEPARATOR in name.removeprefix(PREFIX):
                keys = tuple(name.removeprefix(PREFIX).split(SEPARATOR))
                yield Override(source=name, keys=keys, value=self.env[name], loose=True)
        for text in self.sets:
            key, equals, value = text.partition("=")
            if not equals or not key.strip():
                raise Syntax(Fault(where=f"--set {text}", message="Write KEY=VALUE, as in pools.web.port=8000."))
            # "candidates[0]" and "candidates.0" are the same.
            keys = tuple(part for part in re.split(r"[.\[\]]+", key.strip()) if part)
            yield Override(source=f"--set {key.strip()}", keys=keys, value=value)


def apply_overrides(tree: Item, overrides: Iterable[Override]) -> tuple[list[Fault], Item]:
    """The tree with every override in it (the given one is not altered), and the faults of those that do not fit."""
    faults: list[Fault] = []
    for override in overrides:
        try:
            path = _path(tree, override)
            tree = _put(tree, path, _value(override))
        except Syntax as syntax:
            faults += syntax.faults
    return faults, tree


def _path(tree: Item, override: Override) -> KeyPath:
    """The keys of the file that an override means. Raises Syntax when there can be no such key."""
    path: list[Key] = []
    item: Item | None = tree
    shape: Shape = ROOT
    for part in override.keys:
        key = _key(item, shape, part, loose=override.loose)
        below = step(shape, key) if key is not None else None
        if key is None or below is None:
            known = shape.keys()
            hint = suggestion(part.lower(), known)
            listing = f" Keys: {', '.join(known)}." if known else ""
            message = f"{quoted(part)} is no key at {quoted(dotted(tuple(path)) or 'the top')}.{hint}{listing}"
            raise Syntax(Fault(where=override.source, path=dotted(tuple(path)), message=message))
        path.append(key)
        shape = below
        item = _under(item, key)
    return tuple(path)


def _under(item: Item | None, key: Key) -> Item | None:
    if item is not None and isinstance(item.value, dict):
        return item.value.get(str(key))
    if item is not None and isinstance(item.value, list) and isinstance(key, int) and key < len(item.value):
        return item.value[key]
    return None


def _key(item: Item | None, shape: Shape, part: str, *, loose: bool) -> Key | None:
    """The key that `part` means here: one that the file has, one that the model has, or a new name."""
    if item is not None and isinstance(item.value, list):
        return int(part) if part.isdecimal() and len(part) < 7 and int(part) < len(item.value) else None
    if not loose:
        return part
    here = list(item.value) if item is not None and isinstance(item.value, dict) else []
    folded = part.lower()
    for key in (*here, *shape.keys()):
        if key.replace("-", "_").lower() == folded:
            return key
    return folded.replace("_", "-")


def _value(override: Override) -> Item:
    """The override's value, every item of it marked with the source."""
    item = parse(override.value, override.source) if override.value.strip() not in ("", "~", "null") else None
    if item is None:
        item = Item("" if not override.value.strip() else None)
    _mark(item, override.source)
    return item


def _mark(item: Item, source: str) -> None:
    item.source = source
    for child in item.value.values() if isinstance(item.value, dict) else ():
        _mark(child, source)
    for child in item.value if isinstance(item.value, list) else ():
        _mark(child, source)


def _put(item: Item, path: KeyPath, value: Item) -> Item:
    """A copy of `item` with `value` at `path`: an alias elsewhere that shares this item keeps its own."""
    if not path:
        return value
    copy = Item(item.value, item.line, item.column, item.source)
    copy.key_line, copy.key_column = item.key_line, item.key_column
    key, rest = path[0], path[1:]
    if isinstance(item.value, list) and isinstance(key, int):
        copy.value = [*item.value[:key], _put(item.value[key], rest, value), *item.value[key + 1 :]]
        return copy
    entries = item.value if isinstance(item.value, dict) else {}
    child = entries.get(str(key))
    if child is None and rest:
        child = Item({}, source=value.source)
    copy.value = {**entries, str(key): _put(child, rest, value) if child is not None else value}
    return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A value in force and where it came from."""

    path: str
    value: Any  # JSON
    source: str  # "backstay.yaml:14", "BACKSTAY_POOLS__WEB__PORT", "--set pools.web.port", "default"


def origins(tree: Item, name: str, *, below: KeyPath = ()) -> Iterator[Origin]:
    """Every value in force at or below a path of keys, in the order of the file; then the defaults there."""
    item: Item | None = tree
    for key in below:
        item = _under(item, key)
    if item is not None:
        yield from _walk(item, name, below)
    elif (shape := shape_at(below[:-1])) is not None and below[-1] in (values := defaults_below(shape)):
        yield Origin(path=dotted(below), value=values[str(below[-1])], source="default")


def _walk(item: Item, name: str, path: KeyPath) -> Iterator[Origin]:
    if isinstance(item.value, dict):
        for key, child in item.value.items():
            yield from _walk(child, name, (*path, key))
        shape = shape_at(path)
        for key, value in defaults_below(shape).items() if shape is not None else ():
            if key not in item.value:
                yield Origin(path=dotted((*path, key)), value=value, source="default")
        return
    if isinstance(item.value, list) and any(isinstance(child.value, (dict, list)) for child in item.value):
        for index, child in enumerate(item.value):
            yield from _walk(child, name, (*path, index))
        return
    value = [child.value for child in item.value] if isinstance(item.value, list) else item.value
    yield Origin(path=dotted(path), value=value, source=item.source or f"{name}:{item.line}")
