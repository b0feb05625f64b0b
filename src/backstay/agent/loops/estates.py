"""Another estate: plan it, adopt it from the API, reread the file. A bad one is refused and the good one goes on."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from backstay.agent.host.adoption import Adopted, Source
from backstay.agent.host.parse import EstateRefused
from backstay.agent.loops.reconcile import Reconcile
from backstay.agent.world import World, now_s
from backstay.balance.desired import difference
from backstay.balance.model import Applied, BackendState, Capabilities, Desired, DesiredTls, How
from backstay.balance.ports import ConfigRefused, EngineFailed
from backstay.estate.select import services_of, tier_of
from backstay.link.views import PlanView

# What a reload of an engine without `keepalive_min_timeout` was measured to reset, of the connections that it holds.
RESETS_PER_CONNECTION = 0.078


class PlanStale(Exception):
    """The estate in force is not the one that was planned against, or another one was planned."""


class ApplyFailed(Exception):
    """The engine did not take a good estate: why. The estate before it is in force again."""


class Estates:
    def __init__(self, world: World, reconcile: Reconcile, changed: Callable[[], None]) -> None:
        """`changed` is called when another estate is in force."""
        self._world = world
        self._reconcile = reconcile
        self._changed = changed
        self._lock = asyncio.Lock()
        self._kept = ""  # digest of the estate that was kept last

    # --- plan ------------------------------------------------------------------------------------------------------

    async def plan(self, text: str | None) -> PlanView:
        """What applying `text` would alter (None: the estate in force). Raises EstateRefused, ConfigRefused."""
        world = self._world
        planned = world.adopted if text is None else await asyncio.to_thread(world.adoption.parse, text)
        wanted = await self._check(planned)
        before = world.running.desired
        how = self._how(before, wanted)
        files = {} if before is None else world.engine.render(before)
        return PlanView(
            lb=world.lb,
            digest=plan_digest(world.adopted, planned),
            in_sync=how is How.NOTHING,
            how=how.value,
            expected_resets=self._resets(how),
            words=difference(before, wanted),
            diff=unified_diff(files, world.engine.render(wanted)),
        )

    def _how(self, before: Desired | None, wanted: Desired) -> How:
        if before is None or not self._world.running.up:
            return How.START
        if before.revision == wanted.revision:
            return How.NOTHING
        runtime = self._world.capabilities.runtime_changes and _fixed(before) == _fixed(wanted)
        return How.RUNTIME if runtime else How.RELOAD

    def _resets(self, how: How) -> int:
        stats = self._world.stats
        if how is not How.RELOAD or stats is None:
            return 0
        return expected_resets(self._world.capabilities, stats.client_connections)

    # --- adopt -----------------------------------------------------------------------------------------------------

    async def apply(self, text: str, *, plan: str, actor: str, reason: str) -> Applied:
        """Adopt `text`, as planned. Raises EstateRefused, ConfigRefused, PlanStale, ApplyFailed, OSError."""
        async with self._lock:
            planned = await asyncio.to_thread(self._world.adoption.parse, text)
            if plan != plan_digest(self._world.adopted, planned):
                raise PlanStale("the estate changed since this plan was made: plan again, and read it again.")
            await self._check(planned)
            return await self._adopt(planned, actor=actor, reason=reason or "applied")

    async def follow(self, text: str, *, actor: str, reason: str) -> None:
        """Adopt `text`, the server's. Raises EstateRefused, ConfigRefused, ApplyFailed, EngineFailed, OSError."""
        world = self._world
        async with self._lock:
            if text == world.adopted.text:
                return
            planned = await asyncio.to_thread(world.adoption.parse, text, Source.SERVER)
            if planned.estate.estate != world.estate.estate:
                raise EstateRefused(
                    f"the server's text is of estate {planned.estate.estate}, and this load balancer is one of "
                    f"{world.estate.estate}. Give the server the right estate."
                )
            await self._check(planned)
            await self._adopt(planned, actor=actor, reason=reason or "the server's estate")

    async def reread(self) -> None:
        """SIGHUP: adopt the file as it is now. A bad one is refused, said and journaled; nothing else happens."""
        world = self._world
        async with self._lock:
            try:
                given = await asyncio.to_thread(world.adoption.reread, world.adopted)
                if given.text == world.adopted.text:
                    world.adopted = replace(world.adopted, source=given.source)
                    world.warn("estate", "")
                    return
                await self._check(given)
                await self._adopt(given, actor=None, reason="reread (SIGHUP)")
            except (EstateRefused, ConfigRefused, ApplyFailed, EngineFailed, OSError) as error:
                world.warn("estate", f"the estate file was refused, the one before stays in force: {error}")
                world.record("estate.refused", "estate", str(error), data={"sha256": world.adopted.sha256})

    async def _check(self, planned: Adopted) -> Desired:
        """What this load balancer would run under `planned`, accepted by the engine's own check."""
        world = self._world
        found = tier_of(planned.estate, world.lb)
        assert found is not None, "adoption refuses an estate without this load balancer"
        if found[1].engine is not world.capabilities.version.kind:
            raise EstateRefused(
                f"tiers.{found[0]}.engine: {world.lb} runs {world.capabilities.version.kind}, and another engine "
                f"({found[1].engine}) is a new start: stop the agent, alter the estate file, start it again."
            )
        wanted = world.desired(planned.estate, self._certificates(planned))
        await world.engine.check(wanted)
        return wanted

    def _certificates(self, planned: Adopted) -> Mapping[str, DesiredTls]:
        if planned is self._world.adopted:
            return self._world.certificates.tls
        services = services_of(planned.estate, self._world.tier_in(planned.estate))
        return self._world.certificates.preview(services, planned.folder)

    def keep_good(self) -> None:
        """The engine runs the estate in force: keep it as the last good one, for a start with a bad file."""
        world = self._world
        if self._kept == world.adopted.sha256 or world.adopted.source is Source.LAST_GOOD:
            return
        try:
            world.adoption.keep(world.adopted)
        except OSError as error:
            world.warn("last good", f"{world.files.estate}: {error.strerror}: not kept as the last good. Make room.")
        else:
            self._kept = world.adopted.sha256
            world.warn("last good", "")

    async def _adopt(self, new: Adopted, *, actor: str | None, reason: str) -> Applied:
        """Put `new` in force, or have the one before it in force again when the engine does not take it."""
        world, old = self._world, self._world.adopted
        data = {"before": old.sha256, "after": new.sha256, "source": new.source.value}
        event = world.record("estate.adopting", "estate", reason, data=data, actor=actor)
        world.adoption.keep(new)
        self._kept = new.sha256
        self._switch(new)
        applied = await self._reconcile.apply(self._reconcile.wanted(now_s()), cause=event)
        if applied is None:
            error = world.running.error
            world.adoption.keep(old)
            self._kept = old.sha256
            self._switch(old)
            world.record("estate.rolled_back", "estate", error, data=data, cause=event)
            raise ApplyFailed(f"{world.lb}: {error} The estate before it is in force again.")
        world.record("estate.adopted", "estate", reason, data=data, actor=actor, cause=event)
        world.warn("estate", "")
        return applied

    def _switch(self, adopted: Adopted) -> None:
        world = self._world
        world.adopted = adopted
        world.certificates.look(services_of(adopted.estate, world.tier), adopted.folder)
        self._changed()


def plan_digest(before: Adopted, after: Adopted) -> str:
    """Names a plan: from which estate to which. Health and shares move all the time, and make no plan stale."""
    return hashlib.sha256(f"{before.sha256} {after.sha256}".encode()).hexdigest()[:16]


def expected_resets(capabilities: Capabilities, connections: int) -> int:
    """Client connections that a reload is expected to reset."""
    return 0 if capabilities.keepalive_min_timeout else math.ceil(connections * RESETS_PER_CONNECTION)


def unified_diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """All files as one unified diff, in the order of their names."""
    parts: list[str] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            parts += difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
            )
    return "".join(parts)


def _fixed(desired: Desired) -> Desired:
    """`desired` without what an engine with runtime changes takes without a reload."""
    pools = tuple(
        replace(
            pool,
            backends=tuple(replace(b, state=BackendState.ACTIVE, share=1.0, reason="") for b in pool.backends),
        )
        for pool in desired.pools
    )
    return replace(desired, pools=pools, revision="")
