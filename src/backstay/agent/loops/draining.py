"""The proof of each drain: begun when the engine has taken it, folded on with what the engine shows, journaled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from backstay.agent.world import World
from backstay.balance.drain import DrainProof, begin, from_json, observe, to_json
from backstay.balance.model import BackendState, Desired, EngineStats, Sample
from backstay.balance.ports import EngineFailed
from backstay.change import Change, ChangeKind

KEPT_PROOFS = 200  # of ended drains


class Draining:
    def __init__(self, world: World) -> None:
        self._world = world
        self.proofs: dict[str, DrainProof] = {}  # by change
        self.altered = False  # since the last checkpoint

    @property
    def pending(self) -> bool:
        """A drain is in force that is not proven yet."""
        return any(not proof.done for proof in self._open())

    async def begin(self) -> None:
        """Begin the proof of every drain that the engine has taken by now. Call it right after an apply."""
        world = self._world
        running = world.running.desired
        fresh = [
            change
            for change in world.in_force()
            if change.kind in (ChangeKind.DRAIN, ChangeKind.MAINTENANCE)
            and change.id not in self.proofs
            and running is not None
            and _taken(running, change)
        ]
        if not fresh:
            return
        taken_at = datetime.now(UTC)
        try:
            stats = await world.engine.observe()
        except EngineFailed:
            stats = None  # the proof says so: seen_at is None
        for change in fresh:
            self.proofs[change.id] = proof = begin(
                change=change.id, lb=world.lb, node=change.node, pool=change.pool, at=taken_at, stats=stats
            )
            world.record("drain.taken", f"node/{change.node}", proof.sentence, data=to_json(proof))
        self._forget()
        self.altered = True

    def fold(self, stats: EngineStats | None, samples: Sequence[Sample]) -> None:
        """What the engine shows now, and the requests that ended since the last call."""
        for proof in self._open():
            after = observe(proof, stats, samples)
            self.altered = self.altered or after != proof
            self.proofs[proof.change] = after
            if after.done and not proof.done:
                self._world.record("drain.done", f"node/{proof.node}", after.sentence, data=to_json(after))
            elif after.done and after.lost > proof.lost:
                self._world.record("drain.lost", f"node/{proof.node}", after.sentence, data=to_json(after))

    def to_json(self) -> list[dict[str, Any]]:
        return [to_json(proof) for proof in self.proofs.values()]

    def recall(self, plain: object) -> None:
        """Go on with the proofs of a checkpoint; damaged ones are left out."""
        for entry in plain if isinstance(plain, list) else ():
            try:
                proof = from_json(entry)
            except (ValueError, TypeError, KeyError):
                continue
            self.proofs[proof.change] = proof

    def _open(self) -> list[DrainProof]:
        """Proofs of the drains in force."""
        return [self.proofs[change.id] for change in self._world.in_force() if change.id in self.proofs]

    def _forget(self) -> None:
        for change_id in list(self.proofs)[:-KEPT_PROOFS]:
            if not isinstance(self._world.book.get(change_id), Change):
                del self.proofs[change_id]


def _taken(running: Desired, change: Change) -> bool:
    """What runs has the node drained wherever the change wants it."""
    states = [
        backend.state
        for pool in running.pools
        if change.pool in (None, pool.name)
        for backend in pool.backends
        if backend.name == change.node
    ]
    return all(state is BackendState.DRAINING for state in states)
