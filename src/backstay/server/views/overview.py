"""The first page: promises, what needs a person, the map, who holds the addresses, the load balancers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backstay.estate.model import FailureLevel
from backstay.journal.model import Event
from backstay.server.views.attention import Item
from backstay.server.views.failover import Address, addresses
from backstay.server.views.nodes import standings
from backstay.server.views.scene import Scene
from backstay.server.views.scene.words import LEVEL, Standing, Tone, severity, worst

DRAWN = 240  # nodes of an estate that is drawn node by node; of a larger one, those that are not simply well
CELLS = 12  # of one cluster in one zone, then
GROUPS = 16  # clusters and tiers of one zone that are drawn
ADDRESSES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the journal holds of one level of failure: the newest."""

    words: str
    at: datetime  # UTC
    event: str  # id
    kept: bool  # it was within what is promised


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    level: str
    meaning: str
    promised: str  # "none", "2h"
    measured: Measured | None  # None: nothing in the journal yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    node: str
    standing: Standing
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes of one cluster, or load balancers of one tier, in one zone."""

    name: str
    href: str
    cells: tuple[Cell, ...]  # all; of a large estate those that are not well, the gravest first
    more: int  # not drawn
    tone: Tone
    words: str  # "12 active, 1 down"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneMap:
    zone: str
    nodes: int
    groups: tuple[Group, ...]  # the gravest, when there are more than GROUPS
    more: int  # groups that are not drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMap:
    region: str
    provider: str
    zones: tuple[ZoneMap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    attention: tuple[Item, ...]
    regions: tuple[RegionMap, ...]
    addresses: tuple[Address, ...]  # the gravest, when there are more than ADDRESSES
    more_addresses: int
    promises: tuple[Promise, ...]
    nodes: int
    tones: Mapping[str, int]  # nodes by tone
    load_balancers: int
    connected: int
    connections: int  # of clients, over all load balancers
    changes: int
    events: tuple[Event, ...]  # the newest of the journal

    @property
    def sentence(self) -> str:
        """The state of it all, in one sentence."""
        grave = sum(item.tone is Tone.BAD for item in self.attention)
        if grave:
            return f"{grave} of {len(self.attention)} matters below are urgent."
        if self.attention:
            return "Everything serves; there is something to look at."
        return "Everything is as it should be."


def overview(scene: Scene, attention: Sequence[Item], measured: Sequence[Promise], events: Sequence[Event]) -> Overview:
    """`attention`: see attention.py; `measured`: see `promises`; `events`: of the journal, the newest first."""
    ips = addresses(scene)
    if len(ips) > ADDRESSES:
        ips.sort(key=lambda ip: -severity(ip.tone))
    stand = standings(scene, scene.estate.nodes)
    lbs = scene.index.tier_of
    return Overview(
        attention=tuple(attention),
        regions=tuple(_regions(scene, stand)),
        addresses=tuple(ips[:ADDRESSES]),
        more_addresses=max(0, len(ips) - ADDRESSES),
        promises=tuple(measured),
        nodes=len(stand),
        tones=Counter(standing.tone.value for standing, _ in stand.values()),
        load_balancers=len(lbs),
        connected=sum(scene.connected(lb) for lb in lbs),
        connections=sum(said.status.engine.client_connections or 0 for said in scene.fresh.values()),
        changes=len({change.batch for change in scene.snapshot.changes}),
        events=tuple(events),
    )


def _regions(scene: Scene, stand: Mapping[str, tuple[Standing, str]]) -> list[RegionMap]:
    return [
        RegionMap(
            region=name,
            provider=region.provider or "",
            zones=tuple(_zone(scene, zone, stand) for zone in region.zones),
        )
        for name, region in scene.estate.regions.items()
    ]


def _zone(scene: Scene, zone: str, stand: Mapping[str, tuple[Standing, str]]) -> ZoneMap:
    index = scene.index
    groups: dict[tuple[str, str], list[str]] = {}
    for node in index.nodes[zone]:
        if node in index.tier_of:
            groups.setdefault(("tier", index.tier_of[node]), []).append(node)
        for cluster in index.clusters_of.get(node, ()):
            groups.setdefault(("cluster", cluster), []).append(node)
        if node not in index.tier_of and node not in index.clusters_of:
            groups.setdefault(("", "others"), []).append(node)
    ordered = sorted(groups.items(), key=lambda group: group[0][0] != "tier")  # stable: tiers first
    shown = [_group(zone, kind, name, nodes, stand) for (kind, name), nodes in ordered]
    if len(shown) > GROUPS:
        shown.sort(key=lambda group: -severity(group.tone))
    return ZoneMap(
        zone=zone,
        nodes=len(index.nodes[zone]),
        groups=tuple(shown[:GROUPS]),
        more=max(0, len(shown) - GROUPS),
    )


def _group(zone: str, kind: str, name: str, nodes: list[str], stand: Mapping[str, tuple[Standing, str]]) -> Group:
    counts = Counter(stand[node][0].word for node in nodes)
    shown = nodes
    if len(stand) > DRAWN:
        odd = [node for node in nodes if stand[node][0].tone is not Tone.OK]
        shown = sorted(odd, key=lambda node: -severity(stand[node][0].tone))[:CELLS]
    only = f"&cluster={name}" if kind == "cluster" else ""
    return Group(
        name=name,
        href=f"/nodes?zone={zone}{only}",
        cells=tuple(Cell(node=node, standing=stand[node][0], note=stand[node][1]) for node in shown),
        more=len(nodes) - len(shown),
        tone=worst(stand[node][0].tone for node in nodes),
        words=", ".join(f"{count} {word}" for word, count in counts.most_common()),
    )


# --- promises -----------------------------------------------------------------------------------------------------


def promises(scene: Scene, drains: Sequence[Event], takeovers: Sequence[Event]) -> list[Promise]:
    """What is promised at each level, with what the journal holds of it.

    `drains`: `drain.done` and `drain.lost`, the newest first. `takeovers`: of all addresses `ip.suspected`,
    `ip.takeover_started` and `ip.verified`, the newest first. A takeover speaks for the level that it crossed: within a
    zone a machine or its feed, between zones a zone, between regions a region.
    """
    found = {"maintenance": _drained(drains)} | _taken_over(scene, takeovers)
    return [
        Promise(
            level=level.value,
            meaning=LEVEL[level.value],
            promised=promised,
            measured=_judged(found.get(level.value), promised),
        )
        for level, promised in scene.estate.promises.items()
        if level in FailureLevel
    ]


_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_Found = tuple[str, float, Event]  # words, seconds of downtime (or lost requests), event


def _judged(found: _Found | None, promised: str) -> Measured | None:
    if found is None:
        return None
    words, much, event = found
    limit = 0.0 if promised == "none" else float(promised[:-1]) * _UNIT_S[promised[-1]]
    return Measured(words=words, at=event.time, event=event.id, kept=much <= limit)


def _drained(drains: Sequence[Event]) -> _Found | None:
    """The newest drain: how many requests it cut or refused."""
    for event in drains:
        cut, refused = event.data.get("cut"), event.data.get("refused")
        if isinstance(cut, int) and isinstance(refused, int):
            node = event.subject.removeprefix("node/")
            lost = cut + refused
            return f"drain of {node}: {lost or 'no'} {'request' if lost == 1 else 'requests'} lost", float(lost), event
    return None


def _taken_over(scene: Scene, events: Sequence[Event]) -> dict[str, _Found]:
    """The newest verified takeover of each level: the seconds from the first missed probe to the address answering."""
    by_id = {event.id: event for event in events}
    found: dict[str, _Found] = {}
    for verified in events:
        started = by_id.get(verified.cause or "")
        if verified.kind != "ip.verified" or started is None or started.kind != "ip.takeover_started":
            continue
        level = _crossed(scene, started)
        if level is None or level in found:
            continue
        suspected = [
            event.time
            for event in events
            if event.kind == "ip.suspected" and event.actor == started.actor and event.subject == started.subject
            and event.time <= started.time
        ]  # fmt: skip
        away_s = round((verified.time - max(suspected, default=started.time)).total_seconds(), 1)
        name = started.subject.removeprefix("ip/")
        words = f"{name} from {started.data.get('holder')} to {started.data.get('to')} in {away_s:.1f} s"
        found[level] = words, away_s, verified
    return found


def _crossed(scene: Scene, started: Event) -> str | None:
    nodes = scene.estate.nodes
    holder, to = started.data.get("holder"), started.data.get("to")
    if not isinstance(holder, str) or not isinstance(to, str) or holder not in nodes or to not in nodes:
        return None
    zones = nodes[holder].zone, nodes[to].zone
    if zones[0] == zones[1]:
        return "power_or_network"
    regions = scene.index.region_of
    return "zone" if regions[zones[0]] == regions[zones[1]] else "region"
