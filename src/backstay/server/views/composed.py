"""A node, composed: what is declared of it, with all changes in force. What Puppet and Ansible read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backstay.change import ChangeKind, effect_on
from backstay.server.model import ServerChange
from backstay.server.views.scene import Scene
from backstay.server.weigh import as_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter in force, and the change that sets it."""

    node: str
    name: str
    value: Any
    change: str
    actor: str
    reason: str
    expires_at: datetime | None  # None: until undone


@dataclass(frozen=True, slots=True, kw_only=True)
class InPool:
    """What all changes in force do together to the node in one pool, as every agent composes it."""

    pool: str
    draining: bool
    quiet: bool  # under maintenance: its health events are not told
    factor: float  # on its share


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node, composed."""

    node: str
    address: str
    zone: str
    region: str
    provider: str  # "": the region names none
    paths: tuple[str, ...]
    clusters: tuple[str, ...]
    tier: str  # "": no load balancer
    global_ips: tuple[str, ...]  # that it may hold
    in_service: bool  # drained in none of its pools
    maintenance: bool  # in one of them
    pools: tuple[InPool, ...]
    parameters: tuple[Parameter, ...]  # by name; of several changes of one name the newest


def node_state(scene: Scene, node: str) -> NodeState:
    """Raises KeyError for a node that is not declared."""
    declared, index = scene.estate.nodes[node], scene.index
    region = index.region_of[declared.zone]
    mine = [one for one in scene.snapshot.changes if one.node == node]
    changes = [as_change(one) for one in mine if one.kind is not ChangeKind.PARAMETER]
    effects = {pool: effect_on(changes, pool, node) for pool in index.pools_of.get(node, ())}
    return NodeState(
        node=node,
        address=str(declared.address),
        zone=declared.zone,
        region=region,
        provider=scene.estate.regions[region].provider or "",
        paths=declared.paths,
        clusters=index.clusters_of.get(node, ()),
        tier=index.tier_of.get(node, ""),
        global_ips=index.ips_of.get(node, ()),
        in_service=not any(effect.draining for effect in effects.values()),
        maintenance=any(effect.quiet for effect in effects.values()),
        pools=tuple(
            InPool(pool=pool, draining=effect.draining, quiet=effect.quiet, factor=effect.factor)
            for pool, effect in effects.items()
        ),
        parameters=tuple(_newest(mine)),
    )


def facts(state: NodeState) -> dict[str, Any]:
    """What is known of the node beside its parameters, as plain data; the same for Puppet and Ansible."""
    return {
        "node": state.node,
        "address": state.address,
        "zone": state.zone,
        "region": state.region,
        "provider": state.provider,
        "paths": list(state.paths),
        "clusters": list(state.clusters),
        "tier": state.tier,
        "global_ips": list(state.global_ips),
        "in_service": state.in_service,
        "maintenance": state.maintenance,
        "pools": {
            one.pool: {"draining": one.draining, "quiet": one.quiet, "factor": one.factor} for one in state.pools
        },
    }


def parameters(scene: Scene) -> list[Parameter]:
    """Every parameter in force, by node and name."""
    by_node: dict[str, list[ServerChange]] = {}
    for change in scene.snapshot.changes:
        by_node.setdefault(change.node, []).append(change)
    return [one for node in sorted(by_node) for one in _newest(by_node[node])]


def _newest(changes: list[ServerChange]) -> list[Parameter]:
    """Of one node's: the newest change of a name counts."""
    newest = {one.parameter: one for one in changes if one.parameter is not None}  # oldest first: later ones win
    return [
        Parameter(
            node=one.node,
            name=name,
            value=one.value,
            change=one.id,
            actor=one.actor,
            reason=one.reason,
            expires_at=one.expires_at,
        )
        for name, one in sorted(newest.items())
    ]
