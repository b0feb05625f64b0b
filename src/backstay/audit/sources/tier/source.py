"""Every load balancer's agent is asked for its /metrics: on this machine by its socket, else by HTTPS and the token."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from backstay.audit.model import Series
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.asked import UNKNOWN, NotAnswered, ask_each
from backstay.audit.sources.asking import Access, Way, get, refusal, url_of, way_of
from backstay.audit.sources.hosts.table import single
from backstay.audit.sources.settings import below, checked
from backstay.audit.sources.tier.memory import Memory
from backstay.audit.sources.tier.reading import reading_of
from backstay.audit.sources.tier.tally import Reading, Tally, fold, forget
from backstay.estate.model import Estate, Model
from backstay.estate.select import load_balancers

KIND = "tier"
SOCKETS = "/run/backstay"  # where agents that run as root have them; BACKSTAY_RUN_DIR names another folder
ANSWER_LIMIT_BYTES = 16 * 2**20


class TierSettings(Model):
    sockets: str | None = None
    """Folder of the agents' sockets on this machine; absent: BACKSTAY_RUN_DIR, or /run/backstay."""
    timeout_s: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 10.0
    """For one load balancer."""
    at_once: Annotated[int, Field(ge=1, le=256)] = 32
    """Load balancers at the same time."""


def indicators(settings: Mapping[str, Any], around: Surroundings) -> TierIndicators:
    """The source of these settings. Raises SourceError for settings that it does not take, and without an estate."""
    found = checked(TierSettings, settings, KIND)
    if around.estate is None:
        raise SourceError(f"source {KIND}: there is no estate, so no load balancer is known. Name one (--estate).")
    return TierIndicators(found, around, around.estate)


class TierIndicators:
    """Requests, errors, latency and what is in flight, a backend, over all load balancers together."""

    name = KIND

    def __init__(self, settings: TierSettings, around: Surroundings, estate: Estate) -> None:
        self.problems: Sequence[str] = ()
        self._settings = settings
        self._around = around
        self._estate = estate
        self._memory = Memory(around.state)
        self._sockets = _folder(settings, around)

    async def read(
        self, nodes: Sequence[str], *, start: datetime, end: datetime, step_s: float, timeout_s: float
    ) -> Sequence[Series]:
        """As IndicatorSource says: what is now. A node that is behind no pool has nothing, which is no problem.

        Raises SourceError when no load balancer answers.
        """
        unknown = tuple(UNKNOWN.format(node=node) for node in nodes if node not in self._around.addresses)
        lbs = load_balancers(self._estate)
        if not lbs:
            self.problems = unknown
            return []
        way = await self._way(lbs)

        async def ask(lb: str) -> Reading:
            return await self._ask(lb, way)

        asked = await ask_each(lbs, ask, at_once=self._settings.at_once, timeout_s=timeout_s)
        if not asked.answers:
            raise SourceError("\n".join(f"{KIND}: {problem}" for problem in asked.problems))
        now_s = self._around.clock().timestamp()
        before, lost = await asyncio.to_thread(self._memory.recall)
        tally = forget(fold(before, asked.answers.values(), now_s), self._around.addresses)
        unkept = await asyncio.to_thread(self._memory.keep, tally)
        self.problems = tuple(problem for problem in (*unknown, *asked.problems, lost, unkept) if problem)
        return _series(tally, frozenset(nodes or self._around.addresses))

    async def close(self) -> None:
        """Nothing is held open."""

    def _socket(self, lb: str) -> Path | None:
        path = self._sockets / f"{lb}.sock"
        return path if os.path.exists(path) else None  # noqa: PTH110 - false in a folder that we may not read

    async def _way(self, lbs: Sequence[str]) -> Way:
        """How to be let in by HTTPS, where any of them needs it. Raises SourceError."""
        agents = self._estate.agents
        if agents.token is None or all(self._socket(lb) for lb in lbs):
            return Way()
        return await way_of(Access(bearer=agents.token, ca=agents.ca), self._around, KIND, https=True)

    async def _ask(self, lb: str, way: Way) -> Reading:
        import aiohttp

        agents, socket = self._estate.agents, self._socket(lb)
        if socket is None and agents.token is None:
            what = f"no agent's socket {self._sockets / lb}.sock on this machine, and the estate names no agents.token"
            raise NotAnswered(f"{what}. Give it `agents: {{token, certificate, key, ca}}`.")
        connector: aiohttp.BaseConnector
        if socket is not None:
            connector, url = aiohttp.UnixConnector(path=str(socket)), "http://agent/metrics"
        else:
            url = url_of("https", str(self._estate.nodes[lb].address), agents.port, "/metrics")
            connector = aiohttp.TCPConnector()
        async with aiohttp.ClientSession(connector=connector) as session:
            answer = await get(
                session,
                url,
                way,
                timeout_s=self._settings.timeout_s,
                limit_bytes=ANSWER_LIMIT_BYTES,
                host=lb if socket is None else None,  # agents' certificates name the node
            )
        where = str(socket or url)
        if answer.status != 200:
            raise NotAnswered(refusal(where, answer))
        try:
            return reading_of(lb, answer.body.decode())
        except ValueError as error:
            raise NotAnswered(f"{where}: {error}") from None


def _folder(settings: TierSettings, around: Surroundings) -> Path:
    if settings.sockets is not None:
        return below(around, settings.sockets)
    return Path(os.environ.get("BACKSTAY_RUN_DIR") or SOCKETS)


def _series(tally: Tally, wanted: frozenset[str]) -> list[Series]:
    """Of the backends that some load balancer has now."""
    gauges: defaultdict[tuple[str, str], float] = defaultdict(float)
    for reading in tally.read.values():
        for key, value in reading.gauges.items():
            gauges[key] += value
    counted = {key for reading in tally.read.values() for key in reading.counts}
    found = {key: tally.totals[key] for key in counted if key in tally.totals} | gauges
    return [
        single(node, indicator, tally.at_s, value)
        for (node, indicator), value in sorted(found.items())
        if node in wanted
    ]
