"""The sources that the estate names, by the entry points `backstay.facts` and `backstay.indicators`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from backstay.audit.ports import FactSource, IndicatorSource, SourceError, Surroundings
from backstay.estate import Estate
from backstay.estate.audit import Source

FACTS = "backstay.facts"
INDICATORS = "backstay.indicators"

One = TypeVar("One", bound=FactSource | IndicatorSource)


@dataclass(frozen=True, slots=True)
class Opened(Generic[One]):
    """A source that the estate names: open, or why not. One with a fault does not stop the others."""

    where: str  # in the estate: "audit.facts[0]"
    kind: str
    source: One | None
    problem: str = ""

    @property
    def label(self) -> str:
        """For people, and for what is remembered of it: "audit.facts[0] (ssh)"."""
        return f"{self.where} ({self.kind})"


def fact_sources(estate: Estate, around: Surroundings) -> list[Opened[FactSource]]:
    return [_opened(FACTS, f"audit.facts[{at}]", one, around) for at, one in enumerate(estate.audit.facts)]


def indicator_sources(estate: Estate, around: Surroundings) -> list[Opened[IndicatorSource]]:
    """Those of the estate; the default, the load-balancer tier, only where there is one."""
    declared: Sequence[Source] = estate.audit.indicators
    if "indicators" not in estate.audit.model_fields_set and not estate.tiers:
        declared = ()
    return [_opened(INDICATORS, f"audit.indicators[{at}]", one, around) for at, one in enumerate(declared)]


def _opened(group: str, where: str, declared: Source, around: Surroundings) -> Opened[Any]:
    found = list(entry_points(group=group, name=declared.kind))
    if not found:
        known = ", ".join(sorted({point.name for point in entry_points(group=group)})) or "none"
        problem = f"no package here brings this kind. Kinds: {known}. Install the package that does."
        return Opened(where, declared.kind, None, problem)
    try:
        return Opened(where, declared.kind, found[0].load()(declared.settings, around))
    except (SourceError, ImportError) as error:
        return Opened(where, declared.kind, None, str(error))
