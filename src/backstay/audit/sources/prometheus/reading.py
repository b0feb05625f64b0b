"""An answer -> the series of nodes; and which nodes nothing was read of, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backstay.audit.model import Series
from backstay.audit.sources.hosts.table import kind_of
from backstay.audit.sources.prometheus.answer import Answered, Labelled
from backstay.audit.sources.prometheus.mapping import SHOWN, Naming, Scrapes, as_scraped, differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one query gave."""

    series: tuple[Series, ...] = ()  # at most one a node
    problems: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()  # values of the label, whomever they are of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How answers are read: which label, who it is, when it was scraped, and whose series are wanted."""

    label: str
    naming: Naming
    scrapes: Scrapes
    wanted: frozenset[str]

    def read(self, indicator: str, answered: Answered) -> Told:
        problems = [f"{indicator}: it warns: {warning}" for warning in answered.warnings]
        seen = frozenset(value for one in answered.series if (value := one.labels.get(self.label)))
        if any(not one.labels.get(self.label) for one in answered.series):
            problems.append(f"{indicator}: a series has no label {self.label}. Write sum by ({self.label}) (...).")
        named = self.naming.named(seen)
        by_node: dict[str, list[Labelled]] = {}
        for one in answered.series:
            value = one.labels.get(self.label, "")
            node = named.nodes.get(value)
            if node in self.wanted and node is not None and value not in self.scrapes.twice:
                by_node.setdefault(node, []).append(one)
        series = []
        for node, found in by_node.items():
            if len(found) > 1:
                what = f"{indicator}: {node} has {len(found)} series: {differences(found)}; none is used"
                problems.append(f"{what}. Narrow the query down, or sum by ({self.label}).")
                continue
            times_s, values = as_scraped(found[0], self.scrapes.times.get(found[0].labels[self.label]))
            series.append(
                Series(node=node, indicator=indicator, times_s=times_s, values=values, kind=kind_of(indicator))
            )
        return Told(series=tuple(series), problems=tuple(problems), seen=seen)

    def missing(self, nodes: Sequence[str], have: Iterable[str], seen: Iterable[str]) -> list[str]:
        """A line for each of `nodes` of which nothing was read. `seen`: values of the label in all answers."""
        there, seen = frozenset(have), frozenset(seen)
        named = self.naming.named(seen)
        twice = {named.nodes.get(value): targets for value, targets in self.scrapes.twice.items()}
        unknown = self.naming.unknown(seen)
        problems = []
        for node in nodes:
            if node in twice:
                what = f"{node}: it is scraped twice, as {twice[node]}, and a sum would count it twice"
                problems.append(f"{what}. Choose one by `selector`.")
            elif node in named.clashes:
                what = f"{node}: {' and '.join(named.clashes[node][:SHOWN])} could both be it, and none is used"
                problems.append(f"{what}. Name the node as the label does, or choose one by `selector`.")
            elif node not in there:
                problems.append(f"{node}: {unknown}")
        return problems
