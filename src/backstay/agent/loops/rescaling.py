"""The outer loop: this load balancer's window and its peers' -> shares, a step a pool every `rescale.every_s`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backstay.agent.client import AgentClient, AgentError, clients_for
from backstay.agent.world import World, now_s
from backstay.balance.model import BackendState, Sample, Share
from backstay.balance.record import BadRecord, Occasion, line, state_from_json, state_to_json
from backstay.balance.rescale import Frozen, PoolScale, Rescaled, rescale
from backstay.balance.window import Collector, Window, from_json
from backstay.estate.select import tier_of
from backstay.journal.mint import new_id

PEER_TIMEOUT_S = 2.0
LOG_LIMIT_BYTES = 8 * 2**20  # of the rescale log; the one before it is kept as `.1`


class Rescaling:
    def __init__(self, world: World, run: Path, changed: Callable[[], None]) -> None:
        """`run`: the run directory, where peers on this machine are found. `changed`: shares changed."""
        self._world = world
        self._run = run
        self._changed = changed
        self._collectors: dict[str, Collector] = {}
        self._scales: dict[str, PoolScale] = {}
        self._next_s: dict[str, float] = {}
        self.windows: dict[str, tuple[Window, datetime]] = {}  # the last closed one a pool, for the peers
        self.steps: dict[str, Rescaled] = {}  # the last a pool, for `pool explain`
        self.moves = 0  # shares that moved, since the start

    def collect(self, pool: str, samples: Sequence[Sample]) -> None:
        if self._world.estate.pools[pool].rescale is not None:
            self._collectors.setdefault(pool, Collector()).add(samples)

    async def turn(self) -> None:
        """Step the pools that are due."""
        world = self._world
        rescaled = {pool: declared.rescale for pool in world.pools() if (declared := world.estate.pools[pool]).rescale}
        self._forget(rescaled.keys())
        for pool, settings in rescaled.items():
            assert settings is not None
            due_s = self._next_s.setdefault(pool, now_s() + settings.every_s)
            if now_s() >= due_s:
                # From the due time, not from now: steps of a minute stay in step with the peers'.
                self._next_s[pool] = max(due_s + settings.every_s, now_s())
                await self._step(pool)

    async def _step(self, pool: str) -> None:
        world = self._world
        at = datetime.now(UTC)
        mine = self._collectors.setdefault(pool, Collector()).close(world.lb, new_id())
        self.windows[pool] = (mine, at)
        peers = self._peers()
        occasion = Occasion(
            pool=pool,
            at=at,
            windows=(mine, *await self._ask(pool, peers)),
            load_balancers=(world.lb, *peers),
            backends=world.members(pool),
            serving=self._serving(pool),
            ramping=self._ramping(pool),
        )
        before = self._scales.get(pool, PoolScale())
        self._scales[pool], report = rescale(
            before,
            occasion.windows,
            load_balancers=occasion.load_balancers,
            serving=occasion.serving,
            ramping=occasion.ramping,
            backends=occasion.backends,
            at=at,
        )
        self._log(line(occasion, before, report))
        self._adopt(pool, report)

    def _adopt(self, pool: str, report: Rescaled) -> None:
        world, before = self._world, self.steps.get(pool)
        self.steps[pool] = report
        was, now = before.frozen if before else None, report.frozen
        if (now is Frozen.NO_QUORUM) != (was is Frozen.NO_QUORUM):
            kind = "rescale.frozen" if now is Frozen.NO_QUORUM else "rescale.resumed"
            reason = "too few load balancers of the tier told what they saw" if now else "enough of them tell again"
            world.record(kind, f"pool/{pool}", reason)
        if now is Frozen.HELD and was is not Frozen.HELD:
            world.record("rescale.rolled_back", f"pool/{pool}", "the tier's p95 grew worse twice after moves")
        moved = [step for step in report.steps if step.share != step.share_before]
        self.moves += len(moved)
        for step in report.steps:
            world.shares[pool, step.backend] = Share(share=step.share, reason=step.sentence)
        if moved:
            self._changed()

    def _forget(self, kept: Set[str]) -> None:
        for of_pool in (self._collectors, self._scales, self._next_s, self.windows, self.steps):
            for gone in of_pool.keys() - kept:
                del of_pool[gone]
        for key in [key for key in self._world.shares if key[0] not in kept]:
            del self._world.shares[key]

    # --- what the step is decided by -------------------------------------------------------------------------------

    def _serving(self, pool: str) -> tuple[str, ...]:
        world = self._world
        running = world.running.desired
        return tuple(
            backend.name
            for served in (running.pools if running else ())
            if served.name == pool
            for backend in served.backends
            if backend.state is BackendState.ACTIVE and not world.taken_out((pool, backend.name))
        )

    def _ramping(self, pool: str) -> tuple[str, ...]:
        parts = self._world.ramp_parts()
        return tuple(name for (of, name), part in parts.items() if of == pool and part < 1.0)

    def _peers(self) -> dict[str, AgentClient]:
        """The other load balancers of the tier that can be asked at all. Without `agents.token` (and off this
        machine) there is no way to: then this one goes by what it sees itself."""
        world = self._world
        found = tier_of(world.estate, world.lb)
        others = [lb for lb in found[1].members if lb != world.lb] if found else []
        clients = clients_for(world.estate, folder=world.adopted.folder, lbs=others, run=self._run)
        return {lb: client for lb, client in clients.items() if client.has_way}

    async def _ask(self, pool: str, peers: dict[str, AgentClient]) -> list[Window]:
        """The peers' last windows; a peer that is away is left out."""

        async def ask(lb: str, client: AgentClient) -> Window | None:
            async with client:
                try:
                    answer = await client.signals(pool, timeout_s=PEER_TIMEOUT_S)
                    return from_json(lb, str(answer["id"]), answer["signals"])
                except (AgentError, ValueError, KeyError, TypeError):
                    return None  # it is missing from the quorum, which says so when it matters

        windows = await asyncio.gather(*(ask(lb, client) for lb, client in peers.items()))
        return [window for window in windows if window is not None]

    # --- what is kept ----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {pool: state_to_json(scale) for pool, scale in self._scales.items()}

    def recall(self, plain: object) -> None:
        """Go on with the shares of a checkpoint; damaged ones are left out."""
        for pool, scale in plain.items() if isinstance(plain, dict) else ():
            with contextlib.suppress(BadRecord):
                self._scales[str(pool)] = known = state_from_json(scale)
                for name, backend in known.backends.items():
                    reason = "as before the agent's restart" if backend.share != 1.0 else ""
                    self._world.shares[str(pool), name] = Share(share=backend.share, reason=reason)

    def _log(self, step: dict[str, Any]) -> None:
        """One line a step, with all that it was decided by: `pool replay` decides it again."""
        text = json.dumps(step, separators=(",", ":")) + "\n"
        path = self._world.files.rescale_log
        try:
            if path.exists() and path.stat().st_size + len(text) > LOG_LIMIT_BYTES:
                path.replace(path.with_name(path.name + ".1"))
            with open(path, "a", encoding="utf-8", opener=_private) as file:
                file.write(text)
        except OSError as error:
            self._world.warn("rescale log", f"{path}: {error.strerror}. Make room on that disk.")
        else:
            self._world.warn("rescale log", "")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
