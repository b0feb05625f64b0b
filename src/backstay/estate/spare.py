"""Placement arithmetic: does every cluster keep what it needs when a node, a failure path, a zone or a region is lost?

N+1, one more of everything (Barroso, Hoelzle and Ranganathan, "The Datacenter as a Computer", chapter 7). A cluster
needs its members minus its spare; a tier and a global IP need one load balancer. Pure, and linear in the members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from backstay.estate.check import Finding, listed, quoted
from backstay.estate.model import Estate, FailureLevel
from backstay.estate.select import members


class Level(StrEnum):
    """What can be lost as one."""

    NODE = "node"
    PATH = "path"
    ZONE = "zone"
    REGION = "region"


PROMISE: dict[Level, FailureLevel] = {
    Level.NODE: FailureLevel.MAINTENANCE,
    Level.PATH: FailureLevel.POWER_OR_NETWORK,
    Level.ZONE: FailureLevel.ZONE,
    Level.REGION: FailureLevel.REGION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The worst single loss at one level for one group of nodes."""

    level: Level
    name: str  # "web1", "wdc01/power-a", "wdc01", "washington"; "" when the group hangs on none
    lost: int  # members that it takes
    others: int  # further losses of this level that are as bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A cluster, a tier or a global IP's candidates, and what it bears."""

    section: str  # "clusters", "tiers", "global_ips"
    name: str
    members: int
    needed: int
    worst: tuple[Loss, ...]  # one a level, in the order of Level

    def survives(self, level: Level) -> bool:
        """True when any single loss at `level` leaves what is needed."""
        loss = next(loss for loss in self.worst if loss.level is level)
        return self.members - loss.lost >= self.needed


def groups(estate: Estate) -> Iterator[Group]:
    """Every cluster, tier and global IP with its worst losses, in the order of the file."""
    regions = {zone: region for region, entry in estate.regions.items() for zone in entry.zones}
    for name, cluster in estate.clusters.items():
        nodes = members(estate, name)
        yield _group(estate, regions, "clusters", name, nodes, len(nodes) - cluster.spare)
    for name, tier in estate.tiers.items():
        yield _group(estate, regions, "tiers", name, tier.members, 1)
    for name, ip in estate.global_ips.items():
        yield _group(estate, regions, "global_ips", name, ip.candidates, 1)


def _group(
    estate: Estate, regions: dict[str, str], section: str, name: str, nodes: tuple[str, ...], needed: int
) -> Group:
    takes: dict[Level, Counter[str]] = {level: Counter() for level in Level}
    for node in nodes:
        entry = estate.nodes[node]
        takes[Level.NODE][node] += 1
        takes[Level.ZONE][entry.zone] += 1
        takes[Level.REGION][regions[entry.zone]] += 1
        # A path belongs to its zone: two zones may both have a power-a.
        takes[Level.PATH].update(f"{entry.zone}/{path}" for path in entry.paths)
    return Group(
        section=section,
        name=name,
        members=len(nodes),
        needed=needed,
        worst=tuple(_worst(level, taken) for level, taken in takes.items()),
    )


def _worst(level: Level, taken: Counter[str]) -> Loss:
    if not taken:
        return Loss(level=level, name="", lost=0, others=0)
    most = max(taken.values())
    names = [name for name, lost in taken.items() if lost == most]
    return Loss(level=level, name=names[0], lost=most, others=len(names) - 1)


def spare_left(estate: Estate, cluster: str, out: Collection[str]) -> int:
    """How many more members of `cluster` may go out when `out` are out already; negative when too many are.

    Names in `out` that are no members do not count. Raises KeyError for an unknown cluster.
    """
    gone = set(out)
    return estate.clusters[cluster].spare - sum(node in gone for node in members(estate, cluster))


def warnings(estate: Estate) -> Iterator[Finding]:
    """Placement that breaks N+1: at a node or a failure path always, at a zone or a region when `promises` say none."""
    for group in groups(estate):
        for loss in group.worst:
            promised = estate.promises.get(PROMISE[loss.level]) == "none"
            if group.survives(loss.level) or (loss.level in (Level.ZONE, Level.REGION) and not promised):
                continue
            if group.section == "tiers" and loss.level in (Level.ZONE, Level.REGION):
                continue  # a tier may fill one zone: the candidates of its global IP are what must be spread
            yield Finding(path=(group.section, group.name), message=_message(group, loss, promised=promised))
            break  # what falls with a node falls with the node's path and zone, too
    yield from _without_paths(estate)


def _message(group: Group, loss: Loss, *, promised: bool) -> str:
    others = f" (so would {loss.others} more)" if loss.others else ""
    promise = f" promises.{PROMISE[loss.level]} says none." if promised else ""
    left = group.members - loss.lost
    return (
        f"Losing the {loss.level} {quoted(loss.name)}{others} takes {loss.lost} of {group.members}: "
        f"{left} left, {group.needed} needed.{promise} Spread it, or add a member."
    )


def _without_paths(estate: Estate) -> Iterator[Finding]:
    """Nodes on no failure path in a zone that has some: nobody can say what a power feed takes."""
    zones = {name: zone for region in estate.regions.values() for name, zone in region.zones.items()}
    silent = [name for name, node in estate.nodes.items() if not node.paths and zones[node.zone].paths]
    if silent:
        message = f"On no failure path, though their zones have some: {listed(silent)}. Give each its paths."
        yield Finding(path=("nodes",), message=message)
