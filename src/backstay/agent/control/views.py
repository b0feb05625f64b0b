"""What the agent knows, as the JSON of wire.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import cast

from backstay import __version__
from backstay.agent.loops.draining import Draining
from backstay.agent.loops.reconcile import Reconcile
from backstay.agent.loops.rescaling import Rescaling
from backstay.agent.world import World
from backstay.balance import drain, explain, window
from backstay.balance.desired import FAIL_OPEN
from backstay.balance.health import health_of
from backstay.balance.model import Backend, BackendState, DesiredPool
from backstay.change import Change, Ended, change_json, ended_json, read_clock
from backstay.link.views import (
    AgentView,
    BackendView,
    ChangeView,
    EngineView,
    ExplainView,
    PoolSummary,
    PoolView,
    ProofView,
    ServerView,
    SignalsView,
    StatusView,
)


class Views:
    """Reads only."""

    def __init__(
        self,
        world: World,
        reconcile: Reconcile,
        rescaling: Rescaling,
        draining: Draining,
        server: Callable[[], ServerView | None],
    ) -> None:
        """`server`: how the link to the server stands."""
        self._world = world
        self._server = server
        self._reconcile = reconcile
        self._rescaling = rescaling
        self._draining = draining

    def status(self) -> StatusView:
        world, running = self._world, self._world.running
        return StatusView(
            lb=world.lb,
            tier=world.tier,
            estate=world.estate.estate,
            estate_sha256=world.adopted.sha256,
            estate_source=world.adopted.source.value,
            engine=self._engine(),
            revision=running.desired.revision if running.desired else None,
            in_sync=running.up and self._reconcile.in_sync(),
            applied_at=_iso(running.at),
            how=running.applied.how.value if running.applied else None,
            error=running.error or None,
            warnings=list(world.warnings.values()),
            reloads=running.reloads,
            changes=len(world.in_force()),
            events_waiting=world.record.spool.waiting,
            pools=[PoolSummary(**self._counts(pool)) for pool in self._pools()],
            agent=self._agent(),
            server=self._server(),
        )

    def pools(self) -> list[PoolView]:
        return [self._pool(pool) for pool in self._pools()]

    def pool(self, name: str) -> PoolView | None:
        return next((self._pool(pool) for pool in self._pools() if pool.name == name), None)

    def explain(self, name: str) -> ExplainView:
        report = self._rescaling.steps.get(name)
        settings = self._world.estate.pools[name].rescale
        return ExplainView(
            pool=name,
            lb=self._world.lb,
            every_s=settings.every_s if settings else None,
            at=_iso(report.at) if report else None,
            frozen=report.frozen.value if report and report.frozen else None,
            p95_ms=round(report.p95_s * 1e3, 1) if report and report.p95_s is not None else None,
            rows=explain.rows(report) if report else [],
        )

    def signals(self, name: str) -> SignalsView | None:
        """None before the first window was closed."""
        closed = self._rescaling.windows.get(name)
        if closed is None:
            return None
        last, at = closed
        return SignalsView(pool=name, lb=self._world.lb, id=last.id, at=at.isoformat(), signals=window.to_json(last))

    def changes(self) -> list[ChangeView]:
        book = self._world.book
        return [*map(self.change, book.ended), *map(self.change, book.changes)]

    def change(self, one: Change | Ended) -> ChangeView:
        reading = read_clock()
        plain = change_json(one, reading) if isinstance(one, Change) else ended_json(one, reading)
        return cast(ChangeView, plain)

    def proof(self, change_id: str) -> list[ProofView]:
        proof = self._draining.proofs.get(change_id)
        if proof is None:
            return []
        return [cast(ProofView, drain.to_json(proof) | {"lost": proof.lost, "detail": proof.sentence})]

    # --- parts -----------------------------------------------------------------------------------------------------

    def _engine(self) -> EngineView:
        world, version = self._world, self._world.capabilities.version
        return EngineView(
            kind=version.kind.value,
            version=".".join(map(str, version.version)),
            binary=version.binary,
            origin=version.origin,
            running=world.running.up,
            missing=list(world.capabilities.missing),
            client_connections=world.stats.client_connections if world.stats else None,
        )

    def _agent(self) -> AgentView:
        world = self._world
        return AgentView(
            version=__version__,
            pid=world.pid,
            started_at=world.started_at.isoformat(),
            resident_mb=round(world.resident_bytes() / 1e6, 1),
        )

    def _pools(self) -> tuple[DesiredPool, ...]:
        """As they run; before the first apply as they shall."""
        return (self._world.running.desired or self._world.desired()).pools

    def _pool(self, pool: DesiredPool) -> PoolView:
        members = [self._backend(pool.name, backend) for backend in pool.backends]
        return PoolView(**self._counts(pool), balance=pool.balance.value, members=members)

    def _counts(self, pool: DesiredPool) -> PoolSummary:
        states = [self._state(pool.name, backend) for backend in pool.backends]
        return PoolSummary(
            pool=pool.name,
            protocol=pool.protocol.value,
            backends=len(states),
            active=states.count(BackendState.ACTIVE),
            draining=states.count(BackendState.DRAINING),
            down=states.count(BackendState.DOWN),
            fail_open=any(backend.reason.startswith(FAIL_OPEN) for backend in pool.backends)
            or (self._world.checks_itself and BackendState.DOWN in states and BackendState.ACTIVE not in states),
        )

    def _backend(self, pool: str, backend: Backend) -> BackendView:
        seen = self._world.seen.get((pool, backend.name))
        health = self._world.health.get(pool, {}).get(backend.name)
        state = self._state(pool, backend)
        reason = backend.reason
        if state is not backend.state and seen is not None:
            reason = f"{self._world.kind} says {seen.engine_state} by its own check"
        return BackendView(
            backend=backend.name,
            address=backend.address,
            port=backend.port,
            state=state.value,
            share=backend.share,
            health=health_of(health).state.value if health else "unchecked",
            in_flight=seen.in_flight if seen else None,
            engine_state=seen.engine_state if seen else None,
            reason=reason,
        )

    def _state(self, pool: str, backend: Backend) -> BackendState:
        """As desired, unless an engine that checks by itself took the backend out."""
        if backend.state is BackendState.ACTIVE and self._world.taken_out((pool, backend.name)):
            return BackendState.DOWN
        return backend.state


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
