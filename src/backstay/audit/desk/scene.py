"""What is known when a question is asked: what was measured of one cluster, and what is known beyond it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backstay.audit.knowing import Fleet, Look
from backstay.audit.model import Cluster, FactTable
from backstay.audit.sources.history import History
from backstay.audit.sources.tier.reading import WORK
from backstay.estate import Estate
from backstay.estate.select import members


class NotSo(Exception):
    """What was asked for cannot be: what, what there is, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A cluster that was measured, and the fleet around it."""

    here: Look
    fleet: Fleet
    has_facts: bool = True  # False: nobody gave any, so nothing is explained
    unread: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # node -> fact or group -> why
    problems: tuple[str, ...] = ()  # what could not be used, and why

    @property
    def cluster(self) -> Cluster:
        return self.here.cluster

    @property
    def work(self) -> str | None:
        """The unit of work, if it was measured."""
        return self.cluster.work if self.cluster.work in self.here.grid.indicators else None


def declared(estate: Estate, name: str) -> Cluster:
    """The cluster as the estate declares it. Raises NotSo."""
    found = estate.clusters.get(name)
    if found is None:
        there = ", ".join(estate.clusters) or "none"
        raise NotSo(f'"{name[:60]}" is no cluster of the estate. Clusters: {there}.')
    return Cluster(name=name, nodes=members(estate, name), work=found.work)


def balanced(estate: Estate, name: str) -> bool:
    """Does a load balancer of the estate deal the work to this cluster?"""
    return any(pool.cluster == name for pool in estate.pools.values())


def worked(cluster: Cluster, estate: Estate, there: Collection[str]) -> Cluster:
    """The cluster with a unit of work: what the estate says, else the requests that its load-balancer tier counts.

    `there`: indicators that were measured.
    """
    if cluster.work is None and WORK in there and balanced(estate, cluster.name):
        return replace(cluster, work=WORK)
    return cluster


def fleet_of(history: History, others: Sequence[Look] = ()) -> Fleet:
    """The fleet as far as facts tell of it. `others`: the other clusters, as they were measured."""
    return Fleet(table=history.table, changes=history.changes, days=max(history.days, 1.0), others=others)


NO_FACTS = Fleet(table=FactTable((), {}))


def of_nodes(problems: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Of problems of nodes ("web1: ...") those of `nodes`."""
    mine = set(nodes)
    return [problem for problem in problems if problem.partition(":")[0] in mine]


def unread_besides(history: History) -> Mapping[str, Mapping[str, str]]:
    """What is unread on nodes that could be read: what is wrong with the others is said already, in `problems`."""
    told = {problem.partition(":")[0] for problem in history.problems}
    return {node: why for node, why in history.unread.items() if node not in told}


def why_unread(unread: Mapping[str, Mapping[str, str]], nodes: Sequence[str]) -> list[str]:
    """What could not be read, and why, a sentence a node: not the same as absent."""
    lines = []
    for node in nodes:
        reasons = unread.get(node, {})
        if reasons:
            facts = ", ".join(f"{fact} ({why})" for fact, why in list(reasons.items())[:5])
            more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
            lines.append(f"{node}: unread: {facts}{more}")
    return lines
