"""YAML text -> a tree of items that know where they were written.

Scalars follow the YAML 1.2 core schema (yaml.org/spec/1.2.2, section 10.3): `no` and `on` are text, `10:30` is text,
`010` is ten. PyYAML's libyaml gives the events (its parser in Python, ten times slower, where a wheel has no libyaml);
everything after the events is ours. The tree is built from events without recursion, so limits hold while the text is
still being read. An alias refers to what its anchor holds; that is counted each time, so nothing grows unseen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from backstay.estate.files import FILE_LIMIT_BYTES

DEPTH_LIMIT = 32
ITEMS_LIMIT = 400_000  # aliases expanded: no billion laughs
FAULTS_LIMIT = 200  # of syntax; nobody reads more

Scalar = str | int | float | bool | None
Key = str | int  # of a mapping, of a sequence
KeyPath = tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong, where, and what next. Lines and columns start at 1; an override has none."""

    where: str  # the file's name, or the override ("BACKSTAY_POOLS__WEB__PORT", "--set pools.web.port")
    message: str
    path: str = ""  # "tiers.web.members"
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}:{self.column}"
        return f"{place} {self.path}: {self.message}" if self.path else f"{place} {self.message}"


class Item:
    """A value of the file. Plain slots, no dataclass: an estate of 2,000 nodes has 50,000 of them."""

    __slots__ = ("column", "height", "key_column", "key_line", "line", "size", "source", "value")

    def __init__(
        self, value: dict[str, Item] | list[Item] | Scalar, line: int = 0, column: int = 0, source: str | None = None
    ) -> None:
        self.value = value
        self.line = line
        self.column = column
        self.key_line = 0  # where the key of this value stands; 0: it has none
        self.key_column = 0
        self.source = source  # None: the file
        self.size = 1  # items in here, aliases expanded
        self.height = 0  # levels in here, aliases expanded


class Syntax(Exception):
    """The text is no YAML that we take. `faults` has at least one entry."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


# C0 controls (but tab and newlines), DEL, surrogates, noncharacters: YAML 1.2.2 section 5.1.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def decode(raw: bytes, name: str) -> str:
    """The text of a file's bytes. Raises Syntax beyond the size limit or when it is not UTF-8."""
    if len(raw) > FILE_LIMIT_BYTES:
        raise Syntax(Fault(where=name, message=f"The file has {len(raw)} bytes; the limit is {FILE_LIMIT_BYTES}."))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        what = f"Byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        raise Syntax(Fault(where=name, line=line, column=column, message=what)) from None


def parse(text: str, name: str, *, pure: bool = False) -> Item:
    """The tree of `text`, one document. `pure` forces the parser in Python. Raises Syntax."""
    if len(text) > FILE_LIMIT_BYTES:
        raise Syntax(Fault(where=name, message=f"The text has {len(text)} characters; limit {FILE_LIMIT_BYTES}."))
    if bad := _FORBIDDEN.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        what = f"Character U+{ord(bad.group()):04X} is not allowed in YAML. Remove it."
        raise Syntax(Fault(where=name, line=line, column=column, message=what))
    builder = _Builder(name)
    loader: Any = (yaml.SafeLoader if pure or not yaml.__with_libyaml__ else yaml.CSafeLoader)(text)
    try:
        while (event := loader.get_event()) is not None:
            builder.take(event)
    except yaml.YAMLError as error:
        raise Syntax(*builder.faults, _parser_fault(error, name, text)) from None
    finally:
        loader.dispose()
    return builder.finish()


def _parser_fault(error: Any, name: str, text: str) -> Fault:
    """The parser's own words at its place, and what is behind them more often than not."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
    if mark is None:
        return Fault(where=name, message=f"Not YAML: {said}.")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    hint = "Look at this line and the one before it."
    if "\t" in line[: mark.column + 1]:
        hint = "Indent with blanks, not with tabs."
    elif line[mark.column : mark.column + 1] == ":":
        hint = "Put a value that has colons in quotes."
    return Fault(where=name, line=mark.line + 1, column=mark.column + 1, message=f"Not YAML: {said}. {hint}")


class _Builder:
    """Takes events one by one; holds the open mappings and sequences on a stack of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Item | None = None
        self.stack: list[Item] = []
        self.keys: list[tuple[str, int, int] | None] = []  # per open collection: the key that awaits its value
        self.anchors: dict[str, Item] = {}
        self.open_anchors: list[str | None] = []
        self.faults: list[Fault] = []
        self.documents = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._scalar(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open(event, {} if kind == "MappingStartEvent" else [])
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._close()
        elif kind == "AliasEvent":
            self._alias(event)
        elif kind == "DocumentStartEvent":
            self.documents += 1
            if self.documents > 1:
                raise Syntax(self._fault(event, "A second document (---) starts here. Keep one document in a file."))

    def finish(self) -> Item:
        if self.faults:
            raise Syntax(*self.faults)
        if self.root is None or self.root.value is None:
            raise Syntax(Fault(where=self.name, message="The file is empty. `backstay init` writes one to start from."))
        return self.root

    def _fault(self, event: Any, message: str) -> Fault:
        mark = event.start_mark
        return Fault(
            where=self.name, line=mark.line + 1, column=mark.column + 1, path=dotted(self._path()), message=message
        )

    def _report(self, event: Any, message: str) -> None:
        self.faults.append(self._fault(event, message))
        if len(self.faults) >= FAULTS_LIMIT:
            raise Syntax(*self.faults)

    def _path(self) -> KeyPath:
        """Keys of the open collections, outermost first."""
        path: list[Key] = []
        for item, key in zip(self.stack, self.keys, strict=True):
            if isinstance(item.value, list):
                path.append(len(item.value))
            elif key is not None:
                path.append(key[0])
        return tuple(path)

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        if self._awaits_key():
            self._key(event, mark)
            return
        item = Item(self._resolve(event), mark.line + 1, mark.column + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = item
        self._add(item)

    def _awaits_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.keys[-1] is None

    def _key(self, event: Any, mark: Any) -> None:
        key = event.value
        if key == "<<" and not event.style:
            self._report(event, "Merge keys (<<) are not YAML 1.2. Write the keys out, or alias the whole value.")
        mapping = self.stack[-1].value
        assert isinstance(mapping, dict)
        if (first := mapping.get(key)) is not None:
            line = first.key_line
            self._report(event, f'"{shown(key)}" is here twice; the first is on line {line}. Remove one of them.')
        self.keys[-1] = (key, mark.line + 1, mark.column + 1)

    def _resolve(self, event: Any) -> Scalar:
        tag = event.tag
        if tag is None or tag == "!":
            plain = tag is None and event.implicit[0]
            return core_scalar(event.value) if plain else str(event.value)
        if str(tag) == "tag:yaml.org,2002:str":
            return str(event.value)
        value = core_scalar(event.value)
        if str(tag) not in _TAGS.get(type(value), ()):
            self._report(event, f"The tag {shown(str(tag))} is not taken here. Remove it.")
        return value

    def _open(self, event: Any, value: dict[str, Item] | list[Item]) -> None:
        if self._awaits_key():
            raise Syntax(self._fault(event, "A key must be text, not a list or a mapping."))
        if len(self.stack) >= DEPTH_LIMIT:
            raise Syntax(self._fault(event, f"Nested deeper than {DEPTH_LIMIT} levels. Write it flatter."))
        if event.tag is not None and str(event.tag) not in _TAGS[type(value)]:
            self._report(event, f"The tag {shown(str(event.tag))} is not taken here. Remove it.")
        item = Item(value, event.start_mark.line + 1, event.start_mark.column + 1)
        self.stack.append(item)
        self.keys.append(None)
        self.open_anchors.append(event.anchor)

    def _close(self) -> None:
        item = self.stack.pop()
        self.keys.pop()
        anchor = self.open_anchors.pop()
        if anchor is not None:
            self.anchors[anchor] = item
        self._add(item)

    def _alias(self, event: Any) -> None:
        anchor = event.anchor
        if self._awaits_key():
            raise Syntax(self._fault(event, "An alias cannot be a key. Write the key out."))
        if anchor in self.open_anchors:
            raise Syntax(self._fault(event, f"*{shown(anchor)} is inside its own &{shown(anchor)}: a cycle."))
        target = self.anchors.get(anchor)
        if target is None:
            self._report(event, f"*{shown(anchor)} has no &{shown(anchor)} before it.")
            target = Item(None)
        item = Item(target.value, event.start_mark.line + 1, event.start_mark.column + 1)
        item.size = target.size
        item.height = target.height
        self._add(item)

    def _add(self, item: Item) -> None:
        """Hang a finished item into the collection that is open, under the key that awaits it."""
        if not self.stack:
            self.root = item
            return
        parent = self.stack[-1]
        parent.size += item.size
        parent.height = max(parent.height, item.height + 1)
        if parent.size > ITEMS_LIMIT or parent.height > DEPTH_LIMIT:
            what = f"With its aliases this is over {ITEMS_LIMIT} values or {DEPTH_LIMIT} levels. Write less."
            raise Syntax(Fault(where=self.name, line=item.line, column=item.column, message=what))
        if isinstance(parent.value, list):
            parent.value.append(item)
            return
        awaiting = self.keys[-1]
        assert isinstance(parent.value, dict)
        assert awaiting is not None
        key, item.key_line, item.key_column = awaiting
        parent.value.setdefault(key, item)  # a duplicate is reported already; the first one is kept
        self.keys[-1] = None


_TAGS: dict[type, tuple[str, ...]] = {
    dict: ("tag:yaml.org,2002:map", "!"),
    list: ("tag:yaml.org,2002:seq", "!"),
    str: (),
    int: ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"),
    float: ("tag:yaml.org,2002:float",),
    bool: ("tag:yaml.org,2002:bool",),
    type(None): ("tag:yaml.org,2002:null",),
}
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Length bounds: int() refuses thousands of digits, and no value here needs more.
_INT = re.compile(r"[-+]?[0-9]{1,40}\Z|0o[0-7]{1,40}\Z|0x[0-9a-fA-F]{1,40}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,5})?\Z")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


def core_scalar(text: str) -> Scalar:
    """What an unquoted scalar means in the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.match(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _FLOAT.match(text):
        return float(text)
    if _SPECIAL.match(text):
        return float(text.replace(".", ""))
    return text


def plain(item: Item) -> Any:
    """The values alone: dicts, lists, scalars. Depth is bounded by DEPTH_LIMIT, so recursion is."""
    if isinstance(item.value, dict):
        return {key: plain(child) for key, child in item.value.items()}
    if isinstance(item.value, list):
        return [plain(child) for child in item.value]
    return item.value


def find(root: Item, path: KeyPath) -> tuple[Item, int]:
    """The item at `path`, or the deepest above it; and how many steps of `path` were there."""
    item = root
    for done, step in enumerate(path):
        child = _child(item, step)
        if child is None:
            return item, done
        item = child
    return item, len(path)


def _child(item: Item, step: Key) -> Item | None:
    if isinstance(item.value, dict):
        return item.value.get(str(step))
    if isinstance(item.value, list) and isinstance(step, int) and step < len(item.value):
        return item.value[step]
    return None


def place(item: Item, *, key: bool) -> tuple[int, int]:
    """Line and column of a value; of its key when asked, or when the value is a mapping or a list."""
    if item.key_line and (key or isinstance(item.value, (dict, list))):
        return item.key_line, item.key_column
    return item.line, item.column


def dotted(path: KeyPath) -> str:
    """("tiers", "web", "members", 2) -> "tiers.web.members[2]"."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            parts.append(f".{shown(step)}" if parts else shown(step))
    return "".join(parts)


def shown(text: str, limit: int = 60) -> str:
    """Text of the file, safe to print in one line of a message."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
