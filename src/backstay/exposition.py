"""Prometheus's text format: families of samples that are read at the moment of a scrape, and kept nowhere.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format. The client library would add 1 MB to the
agent for what it keeps between scrapes, and we keep nothing; promtool and the library's parser hold us to the format
(ADR 0174).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Sequence[str], float]]  # values of the labels, value


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name. `lines`: suffix of the name, label and its value in order, value."""

    name: str
    kind: str
    text: str
    lines: Sequence[tuple[str, Sequence[tuple[str, str]], float]]


def one(name: str, text: str, value: float) -> Family:
    """A gauge without labels."""
    return gauge(name, text, (), [((), value)])


def gauge(name: str, text: str, labels: Sequence[str], samples: Samples) -> Family:
    return Family(name, "gauge", text, [("", _labelled(labels, values), value) for values, value in samples])


def counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Family:
    """`name` without `_total`, which is added."""
    lines = [("", _labelled(labels, values), value) for values, value in samples]
    return Family(f"{name}_total", "counter", text, lines)


def summary(name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], int, float]]) -> Family:
    """`samples`: values of the labels, how many, their sum."""
    lines = [
        line
        for values, count, total in samples
        for line in (("_count", _labelled(labels, values), count), ("_sum", _labelled(labels, values), total))
    ]
    return Family(name, "summary", text, lines)


def render(families: Iterable[Family]) -> bytes:
    """The text exposition format."""
    return "".join(line for family in families for line in _lines(family)).encode()


def _labelled(labels: Sequence[str], values: Sequence[str]) -> Sequence[tuple[str, str]]:
    return tuple(zip(labels, values, strict=True))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.text)}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for suffix, labels, value in family.lines:
        inside = ",".join(f'{name}="{_escaped(str(text), quotes=True)}"' for name, text in labels)
        yield f"{family.name}{suffix}{'{' + inside + '}' if inside else ''} {_number(value)}\n"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
