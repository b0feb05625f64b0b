"""Which samples are meant, in PromQL's words: node_network_receive_drop_total{device!~"lo|veth.*"}."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

METRIC = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SELECTOR = re.compile(rf"\s*({METRIC})\s*(?:\{{(.*)\}})?\s*")
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\\n]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an exposition."""

    metric: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Matcher:
    label: str
    how: str  # "=", "!=", "=~", "!~"
    value: str

    def fits(self, labels: Mapping[str, str]) -> bool:
        """A label that is not there is empty; patterns match the whole value, both as in PromQL."""
        have = labels.get(self.label, "")
        same = have == self.value if self.how in ("=", "!=") else _matches(self.value, have)
        return same == (self.how in ("=", "=~"))

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.how}"{value}"'


@dataclass(frozen=True, slots=True)
class Selector:
    metric: str
    matchers: tuple[Matcher, ...] = ()

    def fits(self, sample: Sample) -> bool:
        return sample.metric == self.metric and all(matcher.fits(sample.labels) for matcher in self.matchers)

    def __str__(self) -> str:
        inside = ",".join(str(matcher) for matcher in self.matchers)
        return f"{self.metric}{{{inside}}}" if inside else self.metric


def selector(text: str) -> Selector:
    """Of its text. Raises ValueError: what is wrong, and how to write it."""
    whole = _SELECTOR.fullmatch(text)
    if whole is None:
        raise ValueError(f'{text[:80]!r} selects no metric. Write METRIC or METRIC{{label="value"}}.')
    return Selector(whole[1], matchers(whole[2] or ""))


def matchers(text: str) -> tuple[Matcher, ...]:
    """What is between the braces. Raises ValueError."""
    found, at = [], 0
    while text[at:].strip():
        match = _MATCHER.match(text, at)
        if match is None:
            raise ValueError(f'{text[at : at + 80]!r} is no matcher of a label. Write label="value" (or !=, =~, !~).')
        value = unescaped(match[3])
        if match[2] in ("=~", "!~"):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{match[1]}: {value[:80]!r} is no pattern ({error}).") from None
        found.append(Matcher(match[1], match[2], value))
        at = match.end()
    return tuple(found)


def unescaped(text: str) -> str:
    """A label's value between its quotes."""
    return _ESCAPED.sub(lambda match: _UNESCAPED.get(match[1], match[1]), text) if "\\" in text else text


@lru_cache(maxsize=65_536)
def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None
