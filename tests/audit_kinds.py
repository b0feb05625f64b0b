"""Kinds of sources for tests, as another package would bring them: found by entry points, plugged in by the estate.

Each does what it says, or goes wrong in one way. `installed(folder)` makes them a package on sys.path.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from backstay.audit.model import FactReport, Series, SeriesKind
from backstay.audit.ports import SourceError, Surroundings

FACTS = ("half", "refusing", "hanging", "buggy", "fussy")
INDICATORS = ("clockwork", "present", "refusing", "hanging", "buggy")


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """The kinds of this module, as an installed package."""
    info = folder / "audit_kinds-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: audit-kinds\nVersion: 1\n")
    facts = "".join(f"{kind} = audit_kinds:{kind}_facts\n" for kind in FACTS)
    indicators = "".join(f"{kind} = audit_kinds:{kind}_indicators\n" for kind in INDICATORS)
    (info / "entry_points.txt").write_text(f"[backstay.facts]\n{facts}[backstay.indicators]\n{indicators}")
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


class Source:
    """Of facts and of indicators; what it is asked is kept for the test to read."""

    problems: Sequence[str] = ()

    def __init__(self, name: str, settings: Mapping[str, Any], around: Surroundings) -> None:
        self.name = name
        self.settings = settings
        self.around = around
        self.asked: list[tuple[datetime, datetime]] = []
        self.closed = False
        OPENED.append(self)

    async def close(self) -> None:
        self.closed = True


OPENED: list[Source] = []  # newest last


class Half(Source):
    """Without root on one node, unreachable on another: `without_root` and `unreachable` name them."""

    async def read(self, nodes: Sequence[str], **_: Any) -> list[FactReport]:
        return [self._report(node) for node in nodes]

    def _report(self, node: str) -> FactReport:
        now = self.around.clock()
        if node == self.settings.get("unreachable"):
            why = f"{node}: no route to it. Is it up?"
            return FactReport(node=node, source=self.name, time=now, values={}, unread={"*": why}, problem=why)
        hidden = {"dmi.*": "needs root"} if node == self.settings.get("without_root") else {}
        return FactReport(node=node, source=self.name, time=now, values={"kernel.release": "6.1"}, unread=hidden)


class Clockwork(Source):
    """A load for each step asked for; a source with a memory."""

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, **_: Any
    ) -> list[Series]:
        self.asked.append((start, end))
        times_s = np.arange(np.ceil(start.timestamp() / step_s) * step_s, end.timestamp(), step_s)
        return [Series(node=node, indicator="load", times_s=times_s, values=1.0 + 0.0 * times_s) for node in nodes]


class Present(Source):
    """What is now, whatever was asked: as an exporter."""

    async def read(self, nodes: Sequence[str], *, start: datetime, end: datetime, **_: Any) -> list[Series]:
        self.asked.append((start, end))
        self.problems = [f"{nodes[0]}: no answer on port 9100. Is its exporter up?"]
        now = np.array([self.around.clock().timestamp()])
        return [
            Series(node=node, indicator="ticks_total", times_s=now, values=now, kind=SeriesKind.COUNTER)
            for node in nodes[1:]
        ]


class Refusing(Source):
    async def read(self, nodes: Sequence[str], **_: Any) -> Any:
        raise SourceError("http://192.0.2.9: refused. Is it up?")


class Hanging(Source):
    """Neither answers nor keeps its time."""

    async def read(self, nodes: Sequence[str], **_: Any) -> Any:
        await asyncio.Event().wait()


class Buggy(Source):
    async def read(self, nodes: Sequence[str], **_: Any) -> Any:
        raise KeyError("nodes")


def fussy_facts(settings: Mapping[str, Any], around: Surroundings) -> Source:
    """Takes no settings."""
    raise SourceError(f"{sorted(settings)[0]}: unknown here. It has no settings.")


def half_facts(settings: Mapping[str, Any], around: Surroundings) -> Source:
    return Half("half", settings, around)


def clockwork_indicators(settings: Mapping[str, Any], around: Surroundings) -> Source:
    return Clockwork("clockwork", settings, around)


def present_indicators(settings: Mapping[str, Any], around: Surroundings) -> Source:
    return Present("present", settings, around)


def refusing_facts(settings: Mapping[str, Any], around: Surroundings) -> Source:
    return Refusing("refusing", settings, around)


def hanging_facts(settings: Mapping[str, Any], around: Surroundings) -> Source:
    return Hanging("hanging", settings, around)


def buggy_facts(settings: Mapping[str, Any], around: Surroundings) -> Source:
    return Buggy("buggy", settings, around)


refusing_indicators, hanging_indicators, buggy_indicators = refusing_facts, hanging_facts, buggy_facts
