"""What the store has, as scenes: the cluster in question on a grid, the other clusters coarser, every node's facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from backstay.audit.desk.scene import NotSo, Scene, balanced, declared, fleet_of, of_nodes, unread_besides, worked
from backstay.audit.fix import FixRefused
from backstay.audit.fix.shell import Fixes
from backstay.audit.knowing import Look, recall
from backstay.audit.model import Cluster, Grid
from backstay.audit.review import Watched
from backstay.audit.sources.history import History
from backstay.audit.store import AuditStore
from backstay.estate import Estate

TIMEOUT_S = 60.0
CELL = timedelta(hours=1)  # the widest in which the store keeps anything
YEAR = timedelta(days=366)
FINER = timedelta(days=35)  # with less than that, hours are too coarse
HABITS = timedelta(days=28)  # of facts are learned from so much
OLD_STEPS = 10  # a last sample older than so many readings is worth saying
TELLING = "told"  # kind of the records: earlier findings
STORED = "backstay audit collect --indicators, or backstay audit import FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How large a grid may get; a longer time, or more series, makes it coarser."""

    values: int
    cells: int  # of one series

    def step(self, step_s: float, since: timedelta, series: int) -> float:
        """The multiple of `step_s` at which `series` over `since` fit."""
        cells = since.total_seconds() / step_s
        return step_s * max(1, math.ceil(cells / self.cells), math.ceil(cells * series / self.values))

    def shared(self, by: int) -> Room:
        return replace(self, values=max(1, self.values // max(by, 1)))


HERE = Room(values=20_000_000, cells=45_000)  # the cluster in question
FLEET = Room(values=10_000_000, cells=5_000)  # all the others together, which only support it
REVIEW = Room(values=40_000_000, cells=45_000)  # all clusters under review


class Stored:
    """Reads scenes. `now`: when the question is asked."""

    def __init__(self, store: AuditStore, estate: Estate, now: datetime) -> None:
        self._store = store
        self._estate = estate
        self._now = now

    async def history(self, start: datetime | None = None) -> History:
        """Facts of every node, and what changed since `start`, or as far back as habits are learned from."""
        begin = min(start or self._now, self._now - HABITS)
        end = self._now + timedelta(seconds=1)  # of now, too
        return await self._store.facts.history((), start=begin, end=end, timeout_s=TIMEOUT_S)

    async def scene(self, name: str, since: timedelta, indicator: str | None = None) -> Scene:
        """The last `since` of a cluster: one indicator and the unit of work, or all of them.

        Raises NotSo where nothing was measured.
        """
        here, problems = await self._look(declared(self._estate, name), since, indicator, HERE)
        others = await self._looks([one for one in self._estate.clusters if one != name], since, indicator)
        found = [(here, problems), *others]
        return (await self._scenes(found))[0]

    async def scenes(self, since: timedelta) -> list[Scene]:
        """Every cluster of which something was measured, all indicators."""
        return await self._scenes(await self._looks(list(self._estate.clusters), since, None))

    async def watched(self, names: Sequence[str], end: datetime) -> list[Watched]:
        """Clusters as the weekly review needs them: a year up to `end`, finer where there is less.

        A cluster of which nothing was measured is left out; one that the estate has not raises NotSo.
        """
        audit, found = self._estate.audit, []
        clusters = [declared(self._estate, name) for name in names]
        room = REVIEW.shared(len(clusters))
        for cluster in clusters:
            try:
                look, _ = await self._look(cluster, YEAR, None, room, end)
                span = look.grid.end - look.grid.start
                if span < FINER:
                    look, _ = await self._look(cluster, span, None, room, end)
            except NotSo:
                continue
            found.append(
                Watched(
                    cluster=look.cluster,
                    grid=look.grid,
                    closed_loop=look.closed_loop,
                    limits=audit.limits,
                    natures=audit.natures,
                )
            )
        return found

    async def _scenes(self, found: Sequence[tuple[Look, tuple[str, ...]]]) -> list[Scene]:
        """A scene for each, with the others around it."""
        if not found:
            return []
        history = await self.history(min(look.grid.start for look, _ in found))
        told = recall(await self._store.records.all(TELLING, timeout_s=TIMEOUT_S))
        try:
            fixes = await Fixes(self._store.records, clock=lambda: self._now).all()
        except FixRefused as error:
            raise NotSo(str(error)) from None
        looks = [look for look, _ in found]
        fleet = replace(fleet_of(history, looks), told=told, fixes=fixes)
        have = set(history.table.nodes)
        return [
            Scene(
                here=look,
                fleet=fleet,
                has_facts=any(node in have for node in look.cluster.nodes),
                unread=unread_besides(history),
                problems=(*problems, *of_nodes(history.problems, look.cluster.nodes)),
            )
            for look, problems in found
        ]

    async def _looks(
        self, names: Sequence[str], since: timedelta, indicator: str | None
    ) -> list[tuple[Look, tuple[str, ...]]]:
        """Clusters in about the same time, as coarse as their number needs it. Those without values are left out."""
        found = []
        for name in names:
            try:
                cluster = declared(self._estate, name)
                found.append(await self._look(cluster, since, indicator, FLEET.shared(len(names))))
            except NotSo:
                continue
        return found

    async def _look(
        self, cluster: Cluster, since: timedelta, indicator: str | None, room: Room, end: datetime | None = None
    ) -> tuple[Look, tuple[str, ...]]:
        """The last `since` up to `end` (None: the last sample) of a cluster, and what is amiss. Raises NotSo."""
        indicators = self._store.indicators
        latest = await indicators.latest(cluster.nodes, timeout_s=TIMEOUT_S)
        if latest is None:
            raise NotSo(f"Nothing was measured of {cluster.name} yet ({', '.join(cluster.nodes[:5])}). Do: {STORED}.")
        names = await indicators.names(cluster.nodes, timeout_s=TIMEOUT_S)
        if indicator is not None and indicator not in names:
            there = ", ".join(names[:20])
            raise NotSo(f'No indicator "{indicator[:60]}" of {cluster.name} in the store. There is: {there}.')
        latest = min(latest, end) if end is not None else latest
        cluster = worked(cluster, self._estate, names)
        wanted = _wanted(names, indicator, cluster.work)
        start = latest - since
        asked = latest - max(since, CELL)
        step_s = await indicators.step_s(cluster.nodes, start=asked, end=latest, timeout_s=TIMEOUT_S)
        step_s = room.step(step_s, since, len(cluster.nodes) * len(wanted))
        whole_s = math.floor(start.timestamp() / step_s) * step_s  # of a cell that was down-sampled its begin counts
        grid = await indicators.grid(
            cluster.nodes,
            wanted,
            start=datetime.fromtimestamp(whole_s, UTC),
            end=latest + timedelta(seconds=step_s),
            step_s=step_s,
            timeout_s=TIMEOUT_S,
        )
        look = Look(
            cluster=cluster,
            grid=measured(grid),
            closed_loop=balanced(self._estate, cluster.name),
            natures=self._estate.audit.natures,
        )
        return look, self._problems(cluster, names, latest)

    def _problems(self, cluster: Cluster, names: Sequence[str], latest: datetime) -> tuple[str, ...]:
        problems = []
        age = self._now - latest
        if age > OLD_STEPS * timedelta(seconds=self._estate.audit.every_s):
            problems.append(f"the last sample is of {latest:%Y-%m-%d %H:%M} UTC, {_hours(age)} ago")
        if cluster.work is not None and cluster.work not in names:
            problems.append(f"no indicator {cluster.work}, the unit of work of {cluster.name}: not divided by work")
        return tuple(problems)


def _wanted(names: Sequence[str], indicator: str | None, work: str | None) -> tuple[str, ...]:
    if indicator is None:
        return tuple(names)
    return tuple(dict.fromkeys([indicator, *([work] if work in names and work is not None else [])]))


def measured(grid: Grid) -> Grid:
    """Without the cells before anything was measured, and without indicators that have no value in this time."""
    present = np.isfinite(grid.values)
    cells = np.flatnonzero(present.any(axis=(0, 1)))
    first = int(cells[0]) if cells.size else 0
    rows = np.flatnonzero(present.any(axis=(1, 2)))
    return Grid(
        nodes=grid.nodes,
        indicators=tuple(grid.indicators[row] for row in rows),
        start=grid.start + timedelta(seconds=first * grid.step_s),
        step_s=grid.step_s,
        values=grid.values[rows][:, :, first:],
    )


def _hours(age: timedelta) -> str:
    hours = age.total_seconds() / 3600.0
    return f"{hours:.1f} hours" if hours < 48.0 else f"{hours / 24.0:.0f} days"
