"""How each node stands: backends by the word of all their load balancers, load balancers by their own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backstay.change import ChangeKind
from backstay.server.model import ServerChange
from backstay.server.views.scene import Scene
from backstay.server.views.scene.said import Backend, Said
from backstay.server.views.scene.words import NOT_SERVING, UNKNOWN, Standing, Tone, backend, counted, severity

Word = tuple[str, str, Backend]  # load balancer, pool, what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A node in a list."""

    node: str
    address: str
    zone: str
    clusters: tuple[str, ...]
    pools: tuple[str, ...]
    tier: str  # "": no load balancer
    standing: Standing
    note: str  # why, when it is not simply active
    changes: tuple[ServerChange, ...] = ()  # in force


def words_by_node(scene: Scene) -> dict[str, list[Word]]:
    """What the connected load balancers say of each node."""
    found: dict[str, list[Word]] = {}
    for lb, said in scene.fresh.items():
        for name, pool in said.pools.items():
            for member in pool.members:
                found.setdefault(member.backend, []).append((lb, name, member))
    return found


def changes_by_node(scene: Scene) -> dict[str, tuple[ServerChange, ...]]:
    found: dict[str, list[ServerChange]] = {}
    for change in scene.snapshot.changes:
        found.setdefault(change.node, []).append(change)
    return {node: tuple(changes) for node, changes in found.items()}


def merged(said: Sequence[Word]) -> tuple[Standing, str]:
    """One standing of what several load balancers say of one backend, and why.

    They check by themselves, so they may differ: then it says how many have it active.
    """
    if not said:
        return UNKNOWN, "no connected load balancer tells of it"
    states = {member.state for _, _, member in said}
    reason = next((member.reason for _, _, member in said if member.state != "active" and member.reason), "")
    if len(states) == 1:
        return backend(next(iter(states))), reason
    active = sum(member.state == "active" for _, _, member in said)
    if "down" in states:
        where = ", ".join(dict.fromkeys(lb for lb, _, member in said if member.state == "down"))
        return Standing(f"active on {active} of {len(said)}", Tone.WARN), f"down on {where}" + _because(reason)
    return Standing(f"draining on {len(said) - active} of {len(said)}", Tone.INFO, "drain"), reason


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def load_balancer(scene: Scene, lb: str) -> tuple[Standing, str]:
    """How a load balancer stands, and why: its agent, its engine, what it follows."""
    record = scene.agent(lb)
    if record is None or record.revoked_at is not None:
        return Standing("not enrolled" if record is None else "revoked", Tone.WARN), "its agent is not enrolled here"
    if not scene.connected(lb):
        return Standing("not connected", Tone.BAD), "its agent is not heard; it goes on as it was told last"
    said = scene.said.get(lb)
    if said is None:
        return Standing("no report", Tone.WARN), "its agent has not reported yet"
    return reported(scene, said)


def reported(scene: Scene, said: Said) -> tuple[Standing, str]:
    """How a connected load balancer stands by its own report."""
    status = said.status
    if not status.engine.running:
        return Standing("engine down", Tone.BAD), status.error or "its engine does not run"
    if status.error:
        return Standing("apply failed", Tone.BAD), status.error
    if said.error:
        return Standing("not following", Tone.BAD), said.error
    if said.revision < scene.snapshot.revision:
        behind = scene.snapshot.revision - said.revision
        return Standing("behind", Tone.WARN), f"{counted(behind, 'revision')} behind"
    if not status.in_sync:
        return Standing("not in sync", Tone.WARN), "what runs is not what is desired"
    if status.warnings:
        return Standing("warns", Tone.WARN), status.warnings[0]
    return Standing("in sync", Tone.OK), ""


def standings(scene: Scene, nodes: Iterable[str]) -> dict[str, tuple[Standing, str]]:
    """Standing and why, of each of `nodes`."""
    said = words_by_node(scene)
    index = scene.index
    found: dict[str, tuple[Standing, str]] = {}
    for node in nodes:
        if node in index.tier_of:
            found[node] = load_balancer(scene, node)
        elif node in index.pools_of:
            found[node] = merged(said.get(node, ()))
        else:
            found[node] = NOT_SERVING, ""
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFilter:
    """Which nodes of the list; "" is any."""

    text: str = ""
    zone: str = ""
    cluster: str = ""
    state: str = ""  # a tone: "bad", "warn"

    def query(self) -> dict[str, str]:
        return {"text": self.text, "zone": self.zone, "cluster": self.cluster, "state": self.state}


def rows(scene: Scene, only: NodeFilter) -> list[NodeRow]:
    """The nodes that `only` lets through: what matters most first, else in the order of the file."""
    index, changes = scene.index, changes_by_node(scene)
    wanted = [
        name
        for name, node in scene.estate.nodes.items()
        if only.zone in ("", node.zone)
        and (not only.cluster or only.cluster in index.clusters_of.get(name, ()))
        and (not only.text or only.text in name or only.text in str(node.address))
    ]
    stand = standings(scene, wanted)
    if only.state:
        wanted = [node for node in wanted if stand[node][0].tone == only.state]
    wanted.sort(key=lambda node: -severity(stand[node][0].tone))
    return [node_row(scene, node, stand[node], changes.get(node, ())) for node in wanted]


def node_row(scene: Scene, node: str, stand: tuple[Standing, str], changes: tuple[ServerChange, ...]) -> NodeRow:
    declared, index = scene.estate.nodes[node], scene.index
    return NodeRow(
        node=node,
        address=str(declared.address),
        zone=declared.zone,
        clusters=index.clusters_of.get(node, ()),
        pools=index.pools_of.get(node, ()),
        tier=index.tier_of.get(node, ""),
        standing=stand[0],
        note=stand[1],
        changes=changes,
    )


def change_words(change: ServerChange) -> str:
    """A change in two or three words: "drain", "weight 0.5", "parameter role"."""
    match change.kind:
        case ChangeKind.WEIGHT:
            return f"weight {change.factor:g}" if change.factor is not None else "weight"
        case ChangeKind.PARAMETER:
            return f"parameter {change.parameter}"
        case kind:
            return kind.value
