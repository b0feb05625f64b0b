"""`FileDesk`: the same answers from files alone, with an estate (for its clusters) or none, and no store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backstay.audit.desk import answers
from backstay.audit.desk.answers import Answer
from backstay.audit.desk.scene import NO_FACTS, NotSo, Scene, balanced, declared, fleet_of, worked
from backstay.audit.knowing import Look
from backstay.audit.model import Cluster, Series
from backstay.audit.sources.factfile import read_facts
from backstay.audit.sources.file import cut, read_series
from backstay.audit.sources.gridding import step_of, tidy, to_grid
from backstay.audit.sources.history import History, fold
from backstay.estate import Estate


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDesk:
    """Reads the files anew at each question. Methods raise SourceError for a file that cannot be used, and NotSo."""

    now: datetime
    facts: Path | None = None  # None: nothing is explained
    indicators: Path | None = None
    estate: Estate | None = None  # whose clusters; None: any name, and all nodes that the files have
    nodes: tuple[str, ...] = ()  # only these
    work: str | None = None  # over what the estate says
    counters: Collection[str] = field(default=())  # indicators that only grow, beside those named ..._total

    async def facts_diff(self, cluster: str) -> Answer:
        history = self._history()
        return answers.facts_diff(self._cluster(cluster, history.table.nodes), history)

    async def compare(self, cluster: str, since: timedelta) -> Answer:
        return answers.compared(self.scene(cluster, since))

    async def explain(self, cluster: str, indicator: str, since: timedelta) -> Answer:
        return answers.explained(self.scene(cluster, since), indicator)[0]

    async def close(self) -> None:
        """Nothing is held open."""

    def _history(self) -> History:
        return fold(read_facts(self.facts, self.now)) if self.facts is not None else fold(())

    def _cluster(self, name: str, known: Sequence[str]) -> Cluster:
        """`known`: nodes that the files have, for when nobody names any."""
        if self.estate is None:
            return Cluster(name=name, nodes=self.nodes or tuple(known), work=self.work)
        cluster = declared(self.estate, name)
        return Cluster(name=name, nodes=self.nodes or cluster.nodes, work=self.work or cluster.work)

    def scene(self, name: str, since: timedelta) -> Scene:
        """The last `since` of a cluster, and what the files know around it."""
        assert self.indicators is not None
        history = self._history()
        tidied = tidy(read_series(self.indicators, self.counters), self.now)
        in_file = list(dict.fromkeys(one.node for one in tidied.series))
        if not in_file:
            raise NotSo(f"{self.indicators}: no sample that can be used. {'; '.join(tidied.problems)}.")
        cluster = self._cluster(name, list(dict.fromkeys([*in_file, *history.table.nodes])))
        here = self._look(cluster, tidied.series, since)
        if here is None:
            nodes, there = ", ".join(cluster.nodes[:5]), ", ".join(in_file[:20])
            raise NotSo(f"{self.indicators}: nothing of {nodes}. Nodes in it: {there}.")
        return Scene(
            here=here,
            fleet=fleet_of(history, self._others(name, tidied.series, since)) if self.facts is not None else NO_FACTS,
            has_facts=self.facts is not None,
            unread=history.unread,
            problems=(*history.problems, *tidied.problems, *self._work(here)),
        )

    def _others(self, name: str, series: Sequence[Series], since: timedelta) -> list[Look]:
        """The other clusters of the estate that the files have."""
        names = [one for one in self.estate.clusters if one != name] if self.estate is not None else []
        looks = [self._look(declared(self.estate, one), series, since) for one in names if self.estate is not None]
        return [look for look in looks if look is not None]

    def _look(self, cluster: Cluster, series: Sequence[Series], since: timedelta) -> Look | None:
        """The last `since` of the cluster, on a grid; None: nothing was measured there."""
        nodes = set(cluster.nodes)
        mine = [one for one in series if one.node in nodes]
        if not mine:
            return None
        end = datetime.fromtimestamp(max(float(one.times_s[-1]) for one in mine), UTC)
        start = max(end - since, datetime.fromtimestamp(min(float(one.times_s[0]) for one in mine), UTC))
        step_s = step_of([cut(one, start, end) for one in mine], start, end)
        indicators = tuple(dict.fromkeys(one.indicator for one in mine))
        end += timedelta(seconds=step_s)
        cluster = worked(cluster, self.estate, indicators) if self.estate is not None else cluster
        try:
            grid = to_grid(mine, cluster.nodes, indicators, start=start, end=end, step_s=step_s)
        except ValueError as error:
            raise NotSo(f"{self.indicators}: {error}") from None
        closed_loop = self.estate is not None and balanced(self.estate, cluster.name)
        natures = self.estate.audit.natures if self.estate is not None else {}
        return Look(cluster=cluster, grid=grid, closed_loop=closed_loop, natures=natures)

    def _work(self, here: Look) -> list[str]:
        """A unit of work that somebody typed must be there; one of the estate may be missing."""
        there = here.grid.indicators
        if self.work is not None and self.work not in there:
            shown = ", ".join(there[:20])
            raise NotSo(f'{self.indicators}: no indicator "{self.work[:60]}" to divide by. There is: {shown}.')
        work = here.cluster.work
        if work is not None and work not in there:
            return [f"no indicator {work}, the unit of work of {here.cluster.name}: not divided by work"]
        return []
