"""Probes the health port and the serving port of every backend, and hears the backends' own words.

`look.shell.Watch` keeps the schedule; each turn here makes it follow the estate. An engine that checks by itself
(HAProxy) decides by its own checks; of the probes only the words count then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from backstay.agent.world import World
from backstay.balance.health import (
    BackendHealth,
    HealthEvent,
    PoolHealth,
    Port,
    checked,
    health_of,
    said,
    start,
    targets,
)
from backstay.balance.model import Backend, Health
from backstay.estate.model import Check, Estate
from backstay.look.agentcheck import Admin, AgentWords, parse
from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.look.ports import Prober
from backstay.look.shell import Watch

BURST_LIMIT = 500  # as many new targets are probed at once; more are spread over their interval

log = structlog.get_logger()


class Asked(NamedTuple):
    """One thing that is probed again and again."""

    pool: str
    backend: str
    port: Port


class Probing:
    def __init__(self, world: World, prober: Prober, changed: Callable[[], None]) -> None:
        """`changed` is called when the health of a backend changed."""
        self._world = world
        self._changed = changed
        # One at a time, as HAProxy does: results come in order, and a hanging target costs one connection.
        self._watch: Watch[Asked] = Watch(prober, self._seen, salt=world.lb, most_in_flight=1)
        self._watching: asyncio.Task[None] | None = None
        self._wanted: dict[Asked, tuple[Check, Target]] = {}
        self._estate: Estate | None = None
        self.results: dict[str, int] = {}  # probes by outcome, since the start

    async def turn(self) -> None:
        """Follow the estate; see that the watch runs. Raises what ended it."""
        if self._estate is not self._world.estate:
            self._follow()
            self._estate = self._world.estate
        if self._watching is None or self._watching.done():
            ended, self._watching = self._watching, asyncio.create_task(self._watch.run())
            if ended is not None and not ended.cancelled():
                ended.result()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def first_round_done(self) -> bool:
        """Every backend that is checked has been, at least once."""
        healths = [health for pool in self._world.health.values() for health in pool.values()]
        return self._estate is not None and all(health.health_port.up is not None for health in healths)

    def _follow(self) -> None:
        """Forget who left, take in who joined, leave the others as they are."""
        world = self._world
        wanted: dict[Asked, tuple[Check, Target]] = {}
        for pool in world.pools():
            check = world.estate.pools[pool].check
            known = world.health.get(pool, {})
            fresh = start(world.members(pool), check, engine_checks=world.checks_itself)
            world.health[pool] = {name: _carry_on(known.get(name), fresh[name]) for name in fresh}
            if check is not None:
                wanted |= self._asked(pool, check)
        for gone in world.health.keys() - set(world.pools()):
            del world.health[gone]
        for asked in self._wanted.keys() - wanted.keys():
            self._watch.remove(asked)
        fresh_ones = wanted.keys() - self._wanted.keys()
        for asked, (check, target) in wanted.items():
            if self._wanted.get(asked) != (check, target):
                at_once = asked in fresh_ones and len(fresh_ones) <= BURST_LIMIT
                self._watch.put(asked, target, every_s=check.interval_s, timeout_s=check.timeout_s, at_once=at_once)
        self._wanted = wanted

    def _asked(self, pool: str, check: Check) -> dict[Asked, tuple[Check, Target]]:
        estate = self._world.estate
        asked: dict[Asked, tuple[Check, Target]] = {}
        for node in self._world.members(pool):
            backend = Backend(name=node, address=str(estate.nodes[node].address), port=estate.pools[pool].port)
            for port, target in targets(check, backend).items():
                if not self._world.checks_itself or (port is Port.HEALTH and target.kind is ProbeKind.HTTP):
                    asked[Asked(pool, node, port)] = (check, target)
        return asked

    def _seen(self, asked: Asked, seen: Observation) -> None:
        try:
            self._fold(asked, seen)
        except Exception:  # one bad answer must not end the watch of all others
            log.exception("a probe's result was not understood", pool=asked.pool, backend=asked.backend)

    def _fold(self, asked: Asked, seen: Observation) -> None:
        self.results[str(seen.outcome)] = self.results.get(str(seen.outcome), 0) + 1
        if seen.outcome is Outcome.NOT_SENT or asked not in self._wanted:
            return  # our own fault says nothing of the backend
        world, check = self._world, self._wanted[asked][0]
        before = world.health.get(asked.pool, {})
        quiet = world.quiet(asked.pool)
        words = parse(seen.body) if asked.port is Port.HEALTH and seen.status is not None else AgentWords()
        after = before
        events: list[HealthEvent] = []
        if not world.checks_itself:
            ok = seen.ok and words.up is not False
            detail = "says down" if seen.ok and not ok else seen.detail or str(seen.outcome)
            after, events = checked(after, asked.backend, asked.port, ok=ok, detail=detail, check=check, quiet=quiet)
        if asked.port is Port.HEALTH and seen.status is not None:
            drains = _drains(words, world.checks_itself)
            share = min(words.share or 1.0, 1.0)
            after, told = said(after, asked.backend, draining=drains, factor=share, quiet=quiet)
            events += told
        world.health[asked.pool] = after
        world.tell(asked.pool, events)
        if _view(after, asked.backend) != _view(before, asked.backend):
            self._changed()


def _view(pool: PoolHealth, backend: str) -> Health | None:
    return health_of(pool[backend]) if backend in pool else None


def _drains(words: AgentWords, checks_itself: bool) -> bool:
    """No new requests, please. "down" is a failed check, where the agent is who checks."""
    asks = words.admin in (Admin.DRAIN, Admin.MAINT) or words.share == 0.0
    return asks or (words.up is False and checks_itself)


def _carry_on(known: BackendHealth | None, fresh: BackendHealth) -> BackendHealth:
    """What was known of a backend stays, unless its check is made by nobody, or by somebody else, from now on."""
    if known is None or (fresh.health_port.up is True and known.health_port.up is not True):
        return fresh
    return known
