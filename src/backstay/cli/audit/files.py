"""What the audit's commands read: facts and indicators from files, the cluster's nodes, the time looked at."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.audit.model import Cluster, Grid
from backstay.audit.sources.factfile import read_facts
from backstay.audit.sources.file import cut, read_series
from backstay.audit.sources.gridding import step_of, tidy, to_grid
from backstay.audit.sources.history import History, fold

if TYPE_CHECKING:
    from backstay.estate import Estate

UNIT_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


class NotSo(Exception):
    """What was asked for cannot be: what, what there is, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a person named: a cluster, and how to know its nodes and its unit of work."""

    cluster: str
    nodes: tuple[str, ...] = ()  # empty: those of the estate, or all that the files have
    estate: Estate | None = None
    work: str | None = None  # over what the estate says

    def of(self, known: Sequence[str]) -> Cluster:
        """The cluster. `known`: nodes that the files have, for when nobody names any. Raises NotSo."""
        work = self.work
        nodes = self.nodes
        if self.estate is not None:
            declared = self.estate.clusters.get(self.cluster)
            if declared is None:
                there = ", ".join(self.estate.clusters) or "none"
                raise NotSo(f'"{self.cluster[:60]}" is no cluster of the estate. Clusters: {there}.')
            from backstay.estate.select import members

            nodes = nodes or members(self.estate, self.cluster)
            work = work or declared.work
        return Cluster(name=self.cluster, nodes=nodes or tuple(known), work=work)

    @property
    def balanced(self) -> bool:
        """Does a load balancer of the estate deal the work to this cluster?"""
        return self.estate is not None and any(pool.cluster == self.cluster for pool in self.estate.pools.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Indicators of a cluster on one grid."""

    cluster: Cluster
    grid: Grid
    problems: tuple[str, ...]

    @property
    def work(self) -> str | None:
        """The unit of work, if the files have it."""
        return self.cluster.work if self.cluster.work in self.grid.indicators else None


def facts_of(path: Path, now: datetime) -> History:
    """Raises SourceError."""
    return fold(read_facts(path, now))


def measure(
    path: Path, chosen: Chosen, *, since: timedelta, counters: Collection[str], now: datetime, more: Sequence[str] = ()
) -> Measured:
    """The last `since` of what the file has, on a grid. `more`: nodes that the facts have, when nobody names any.

    Raises SourceError, and NotSo for a cluster of which the file has nothing.
    """
    tidied = tidy(read_series(path, counters), now)
    problems = list(tidied.problems)
    in_file = list(dict.fromkeys(one.node for one in tidied.series))
    if not in_file:
        raise NotSo(f"{path}: no sample that can be used. {'; '.join(problems)}.")
    cluster = chosen.of(list(dict.fromkeys([*in_file, *more])))
    mine = [one for one in tidied.series if one.node in set(cluster.nodes)]
    if not mine:
        raise NotSo(f"{path}: nothing of {', '.join(cluster.nodes[:5])}. Nodes in it: {', '.join(in_file[:20])}.")
    end = datetime.fromtimestamp(max(float(one.times_s[-1]) for one in mine), UTC)
    start = max(end - since, datetime.fromtimestamp(min(float(one.times_s[0]) for one in mine), UTC))
    step_s = step_of([cut(one, start, end) for one in mine], start, end)
    indicators = tuple(dict.fromkeys(one.indicator for one in mine))
    if chosen.work is not None and chosen.work not in indicators:
        raise NotSo(f'{path}: no indicator "{chosen.work[:60]}" to divide by. There is: {", ".join(indicators[:20])}.')
    if cluster.work is not None and cluster.work not in indicators:
        problems.append(f"no indicator {cluster.work}, the unit of work of {cluster.name}: not divided by work")
    try:
        grid = to_grid(mine, cluster.nodes, indicators, start=start, end=end + timedelta(seconds=step_s), step_s=step_s)
    except ValueError as error:
        raise NotSo(f"{path}: {error}") from None
    return Measured(cluster=cluster, grid=grid, problems=tuple(problems))


def parse_since(words: str) -> timedelta:
    """ "7d", "4w", "1y". Raises NotSo."""
    found = re.fullmatch(r"(\d{1,5})([mhdwy])", words.strip().lower(), re.ASCII)
    seconds = int(found[1]) * UNIT_S[found[2]] if found else 0
    if not 0 < seconds <= 10 * UNIT_S["y"]:
        raise NotSo(f'"{words[:40]}" is no time to look back. Write 6h, 7d, 4w or 1y; ten years at most.')
    return timedelta(seconds=seconds)
