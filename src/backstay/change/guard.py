"""May this change be made now? Pure. The guard of a load balancer asks it before every change.

It protects users, not the tool: a change that would leave a pool with fewer active members than the estate
promises (members minus spare), with none at all, or with survivors that cannot carry the moved load, is refused.
`forced` overrides these three; it does not make a wrong request right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from backstay.change.book import FACTOR_LIMIT, effect_on
from backstay.change.expiry import is_due
from backstay.change.model import BackendLoad, Change, ChangeKind, ClockReading
from backstay.estate.model import Estate
from backstay.estate.select import members, pools_of_node

UTILISATION_CEILING = 0.85  # above it, waiting times grow steeply in any queue (M/M/c); survivors must stay below
ERROR_CEILING = 0.05  # a backend that fails more of its requests has no headroom to offer

Health = Mapping[tuple[str, str], bool]  # (pool, node) -> takes traffic; a missing key: not known
Load = Mapping[tuple[str, str], BackendLoad]  # (pool, node) -> what it carries; a missing key: not known


class Refusal(StrEnum):
    UNKNOWN_NODE = "unknown_node"
    UNKNOWN_POOL = "unknown_pool"
    NO_POOL = "no_pool"  # the node serves in no pool
    NOT_IN_POOL = "not_in_pool"
    FACTOR = "factor"  # out of range, missing, or given where it means nothing
    EXPIRED = "expired"  # over before it began
    LOAD_BALANCER = "load_balancer"  # it carries traffic for others: its address is moved instead
    LAST_BACKEND = "last_backend"
    SPARE = "spare"  # fewer active members than members minus spare
    HEADROOM = "headroom"  # survivors cannot carry the moved load


OVERRIDABLE = frozenset({Refusal.LAST_BACKEND, Refusal.SPARE, Refusal.HEADROOM})

Figures = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    reason: Refusal
    sentence: str  # what, where, what next
    pool: str | None = None
    figures: Figures = field(default_factory=dict)

    @property
    def overridable(self) -> bool:
        """Would `forced` have let it pass?"""
        return self.reason in OVERRIDABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    already: bool = False  # this very change is in force: nothing to do
    notes: tuple[str, ...] = ()  # what the asker should know: load unknown, other changes of the node
    overridden: tuple[Refused, ...] = ()  # refusals that `forced` overrode; to be journaled


Verdict = Allowed | Refused


def pools_in_scope(estate: Estate, change: Change) -> tuple[str, ...]:
    """The pools that `change` touches: the one it names, or all that its node serves in."""
    serving = pools_of_node(estate, change.node)
    return serving if change.pool is None else tuple(pool for pool in serving if pool == change.pool)


def decide_guard(
    estate: Estate, in_force: Sequence[Change], health: Health, load: Load, change: Change, reading: ClockReading
) -> Verdict:
    """Say whether `change` may be put in force.

    `in_force` are the changes in force now; the same id among them is a repetition, and allowed.
    Never allows a pool to lose its last active backend, or its promised members, unless `change.forced`.
    """
    if any(other.id == change.id for other in in_force):
        return Allowed(already=True, notes=("this change is in force already",))
    wrong = _wrong_request(estate, change, reading)
    if wrong is not None:
        return wrong
    notes = list(_notes_on_others(in_force, change))
    refusals: list[Refused] = []
    for pool in pools_in_scope(estate, change):
        view = _PoolView(estate, in_force, health, load, pool)
        refused = _refuse_loss(view, change)
        if refused is None:
            refused, unknown = _refuse_overload(view, change)
            notes += unknown
        if refused is not None:
            refusals.append(refused)
    if refusals and not change.forced:
        return refusals[0]
    return Allowed(notes=tuple(notes), overridden=tuple(refusals))


def _wrong_request(estate: Estate, change: Change, reading: ClockReading) -> Refused | None:
    """What no force overrides: the request does not fit the estate."""
    if change.node not in estate.nodes:
        return Refused(
            reason=Refusal.UNKNOWN_NODE,
            sentence=f'"{change.node}" is no node of estate {estate.estate}. Nodes: {_listed(estate.nodes)}.',
        )
    serving = pools_of_node(estate, change.node)
    if change.pool is not None and change.pool not in estate.pools:
        return Refused(
            reason=Refusal.UNKNOWN_POOL,
            pool=change.pool,
            sentence=f'"{change.pool}" is no pool of estate {estate.estate}. Pools: {_listed(estate.pools)}.',
        )
    if not serving:
        return Refused(
            reason=Refusal.NO_POOL,
            sentence=f"{change.node} serves in no pool, so there is nothing to change. Pools: {_listed(estate.pools)}.",
        )
    if change.pool is not None and change.pool not in serving:
        return Refused(
            reason=Refusal.NOT_IN_POOL,
            pool=change.pool,
            sentence=f"{change.node} does not serve in pool {change.pool}. It serves in: {_listed(serving)}.",
        )
    if not _factor_fits(change):
        return Refused(reason=Refusal.FACTOR, sentence=_factor_sentence(change))
    if is_due(change.deadline, reading):
        return Refused(
            reason=Refusal.EXPIRED,
            sentence=f"The {change.kind} of {change.node} was over before it began. Ask again with a longer --for.",
        )
    return None


def _factor_fits(change: Change) -> bool:
    if change.kind is not ChangeKind.WEIGHT:
        return change.factor is None
    return change.factor is not None and math.isfinite(change.factor) and 0.0 < change.factor <= FACTOR_LIMIT


def _factor_sentence(change: Change) -> str:
    if change.kind is not ChangeKind.WEIGHT:
        return f"A {change.kind} takes no factor. To give {change.node} less of its share: backstay weight."
    given = "none was given" if change.factor is None else f"not {change.factor:g}"
    return (
        f"A factor is above 0 and at most {FACTOR_LIMIT:g} (1 is the full share), {given}. "
        f"To give {change.node} nothing at all: backstay drain {change.node}"
    )


def _notes_on_others(in_force: Sequence[Change], change: Change) -> tuple[str, ...]:
    """One sentence for each other change that meets this one on the same node and pool."""
    return tuple(
        f"{change.node} already has a {other.kind}"
        + (f" of {other.factor:g}" if other.factor is not None else "")
        + f" by {other.actor} ({other.reason}); both are in force then: {other.id}"
        for other in in_force
        if other.node == change.node and (other.pool is None or change.pool is None or other.pool == change.pool)
    )


class _PoolView:
    """One pool as it stands now: who is active, who carries what."""

    def __init__(self, estate: Estate, in_force: Sequence[Change], health: Health, load: Load, pool: str) -> None:
        cluster = estate.clusters[estate.pools[pool].cluster]
        self.pool = pool
        self.spare = cluster.spare
        self.members = members(estate, estate.pools[pool].cluster)
        # A backend whose health is not known takes traffic (the engines are configured so), so it counts as active.
        self.active = tuple(
            node
            for node in self.members
            if health.get((pool, node), True) and not effect_on(in_force, pool, node).draining
        )
        self._load = load

    def load_of(self, node: str) -> BackendLoad:
        return self._load.get((self.pool, node), BackendLoad())


def _refuse_loss(view: _PoolView, change: Change) -> Refused | None:
    """Does the pool lose a member that it needs? A backend that is out already takes nothing away."""
    if change.kind is ChangeKind.WEIGHT or change.node not in view.active:
        return None
    remaining = len(view.active) - 1
    needed = len(view.members) - view.spare
    figures: Figures = {
        "members": len(view.members),
        "spare": view.spare,
        "active": len(view.active),
        "remaining": remaining,
        "needed": needed,
    }
    out = _listed([node for node in view.members if node not in view.active])
    if remaining == 0:
        return Refused(
            reason=Refusal.LAST_BACKEND,
            pool=view.pool,
            figures=figures,
            sentence=f"{change.node} is the last active backend of pool {view.pool} (out: {out}). "
            "Bring another back first (backstay undrain), or override with --force.",
        )
    if remaining < needed:
        return Refused(
            reason=Refusal.SPARE,
            pool=view.pool,
            figures=figures,
            sentence=f"Pool {view.pool} would have {remaining} active of {len(view.members)} members; with spare "
            f"{view.spare} it needs {needed} (out now: {out}). Bring one back first (backstay undrain), "
            "or override with --force.",
        )
    return None


def _refuse_overload(view: _PoolView, change: Change) -> tuple[Refused | None, tuple[str, ...]]:
    """Can the survivors carry what `change` moves to them? With notes on what is not known."""
    moved_part = 1.0 if change.kind is not ChangeKind.WEIGHT else 1.0 - (change.factor or 1.0)
    if change.node not in view.active or moved_part == 0:
        return None, ()
    loads = {node: view.load_of(node) for node in view.active}
    unknown = [node for node, load in loads.items() if load.utilisation is None]
    if unknown:
        return None, (f"pool {view.pool}: load of {_listed(unknown)} is not known, so headroom was not checked",)
    moved = abs(moved_part) * (loads[change.node].utilisation or 0.0)
    # A factor above 1 moves load the other way: from the others to this node.
    takers = [node for node in loads if (node == change.node) == (moved_part < 0)]
    headroom = sum(_headroom(loads[node]) for node in takers)
    if moved <= headroom:
        return None, ()
    figures: Figures = {
        "moved": round(moved, 3),
        "headroom": round(headroom, 3),
        "takers": len(takers),
        "ceiling": UTILISATION_CEILING,
    }
    sentence = (
        f"The {change.kind} moves the load of {moved:.2f} of a backend in pool {view.pool} to {_listed(takers)}, "
        f"which {'has' if len(takers) == 1 else 'have'} room for {headroom:.2f} below {UTILISATION_CEILING:.0%}. "
        "Wait for a quieter hour, bring another backend back, or override with --force."
    )
    return Refused(reason=Refusal.HEADROOM, pool=view.pool, figures=figures, sentence=sentence), ()


def _headroom(load: BackendLoad) -> float:
    """How much more one backend carries, in backends. One that fails its requests has no room."""
    if (load.error_ratio or 0.0) > ERROR_CEILING:
        return 0.0
    return max(0.0, UTILISATION_CEILING - (load.utilisation or 0.0))


def _listed(names: Sequence[str] | Mapping[str, object], limit: int = 12) -> str:
    """Names for a sentence: at most `limit` of them."""
    shown = list(names)[:limit]
    more = len(names) - len(shown)
    return (", ".join(shown) + (f" and {more} more" if more else "")) or "none"
