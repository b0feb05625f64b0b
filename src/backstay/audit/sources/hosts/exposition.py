"""The text that exporters answer with: Prometheus's format and OpenMetrics (timestamps and exemplars are left aside).

https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/specs/om/open_metrics_spec/

Only the metrics that are wanted are taken apart: an exporter tells a thousand samples, and some hundred are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Container

from backstay.audit.sources.hosts.selector import METRIC, Sample, unescaped

SAMPLES_LIMIT = 100_000  # that are wanted
_NUMBER = r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+|Inf|NaN|[Ii]nfinity|inf|nan)"
_LINE = re.compile(
    rf"({METRIC})\s*(?:\{{((?:[^\"}}]|\"(?:[^\"\\]|\\.)*\")*)\}})?\s+({_NUMBER})(?:\s+{_NUMBER})?\s*(?:#.*)?"
)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


def read(text: str, wanted: Container[str]) -> list[Sample]:
    """The samples of the metrics in `wanted`. Raises ValueError with the line for what is no exposition."""
    samples: list[Sample] = []
    seen = False
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line[0] == "#" or line.isspace():
            continue
        name = line[: len(line) if (at := _end_of_name(line)) < 0 else at]
        if seen and name not in wanted:
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"line {number}, {line[:60]!r}, is no sample. Is this the address of an exporter?")
        seen = True
        if match[1] in wanted:
            if len(samples) >= SAMPLES_LIMIT:
                raise ValueError(
                    f"more than {SAMPLES_LIMIT} samples of the metrics that are asked for, {match[1]} the last: "
                    "has it a label too many? Select less of it."
                )
            samples.append(Sample(match[1], _labels(match[2] or "", number), float(match[3])))
    return samples


def _end_of_name(line: str) -> int:
    ends = [at for mark in "{ \t" if (at := line.find(mark)) >= 0]
    return min(ends, default=-1)


def _labels(text: str, line: int) -> dict[str, str]:
    labels: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        match = _LABEL.match(text, at)
        if match is None:
            raise ValueError(f"line {line}, {text[at : at + 60]!r}, is no label. Is the exporter broken?")
        labels[match[1]] = unescaped(match[2])
        at = match.end()
    return labels
