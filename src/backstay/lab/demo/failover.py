"""The chapter on failover: the active dies, the address moves, people are told, nothing flaps; and a planned move back.

The witness counts what users lost: a crash costs what the detection takes, and a planned move is to cost nothing.
"""

from __future__ import annotations

import asyncio

from backstay.agent.client import AgentError
from backstay.lab.demo.scene import Scene, Watch
from backstay.lab.hosts.control import tell
from backstay.lab.model import FabricKind
from backstay.link.views import IpView

IP = "www"
OUTAGE_ALLOWED_S = 10.0  # of a crash: detection, provider, and a loaded machine


async def failover(scene: Scene) -> None:
    """The active load balancer dies, comes back, and is rearmed; then its whole tier dies; then all is moved back."""
    candidates = next(ip.candidates for ip in scene.ips if ip.name == IP)
    first = await scene.holder(IP)

    async def all_know() -> bool:
        return all([(await _view(scene, lb)).get("owner") == first for lb in candidates])

    await scene.eventually(all_know)
    tier = [lb for lb in candidates if _zone(scene, lb) == _zone(scene, first)]
    await _active_dies(scene, first)
    await _tier_dies(scene, tier)
    await _moved_back(scene, first, candidates)


async def _active_dies(scene: Scene, active: str) -> None:
    scene.say(f"Failover: {active}, which holds {IP}, dies under traffic.")
    async with scene.watched(f"failover {active}", losses_allowed=_allowed(scene)) as watch:
        pages = await _pages(scene)
        await scene.fault("crash", active)
        heir = await _moved_from(scene, watch, active)
        await _paged(scene, watch, heir, pages)
        await scene.heal(active)

        async def quarantined() -> bool:
            return (await _view(scene, active)).get("state") == "quarantined"

        came_s = await scene.eventually(quarantined)
        await asyncio.sleep(scene.tempo.watch_s)
        holder = await scene.holder(IP)
        watch.prove(IP, came_s is not None and holder == heir, f"{active} came back, quarantined; {holder} keeps it")
        _others_undisturbed(scene, watch)
    for lb in (active, heir):
        await scene.backstay("ip", "rearm", IP, lb, "--reason", "looked at it")


async def _tier_dies(scene: Scene, tier: list[str]) -> None:
    scene.say(f"Failover: the whole tier of {IP}'s datacenter dies: {', '.join(tier)}.")
    async with scene.watched(f"failover {_zone(scene, tier[0])}", losses_allowed=_allowed(scene)) as watch:
        pages = await _pages(scene)
        holder = await scene.holder(IP)
        for lb in tier:
            await scene.fault("crash", lb)
        heir = await _moved_from(scene, watch, holder)
        watch.prove(IP, heir not in tier, f"{heir} is in {_zone(scene, heir)}")
        await _paged(scene, watch, heir, pages)
        for lb in tier:
            await scene.heal(lb)
        _others_undisturbed(scene, watch)


async def _moved_back(scene: Scene, first: str, candidates: tuple[str, ...]) -> None:
    scene.say(f"Planned move: {IP} back to {first}.")

    async def all_there() -> bool:
        views = [await _view(scene, lb) for lb in candidates]
        holder = await scene.holder(IP)
        return all(view.get("owner") == holder for view in views)

    await scene.eventually(all_there)
    for lb in candidates:
        await scene.backstay("ip", "rearm", IP, lb, "--reason", "looked at it")

    async def fit() -> bool:
        status = await scene.agents[first].status()
        return status["in_sync"] and all(pool["active"] == pool["backends"] for pool in status["pools"])

    await scene.eventually(fit)
    async with scene.watched(f"move to {first}", losses_allowed=_cut_by_a_move(scene)) as watch:
        await asyncio.sleep(scene.tempo.watch_s / 2)
        await scene.backstay("ip", "move", IP, "--to", first, "--reason", "all is well again", "--yes")

        async def at_rest() -> bool:
            views = [await _view(scene, lb) for lb in candidates]
            return all(view.get("owner") == first for view in views)

        await scene.eventually(at_rest)
        await asyncio.sleep(scene.tempo.watch_s)
        states = [(await _view(scene, lb)).get("state") for lb in candidates]
        holder = await scene.holder(IP)
        watch.prove(IP, holder == first, f"{holder} holds it")
        watch.prove(IP, "quarantined" not in states, "nobody quarantined")
        _others_undisturbed(scene, watch)


# --- what is seen --------------------------------------------------------------------------------------------------


async def _moved_from(scene: Scene, watch: Watch, dead: str) -> str:
    """Who holds the address once `dead` does not any more (or when patience ends)."""

    async def moved() -> bool:
        return await scene.holder(IP) != dead

    took_s = await scene.eventually(moved)
    heir = await scene.holder(IP)
    watch.prove(IP, took_s is not None, f"{dead} -> {heir}" if took_s is not None else f"stayed with {dead}")
    return heir


async def _paged(scene: Scene, watch: Watch, heir: str, before: int) -> None:
    async def rang() -> bool:
        return await _pages(scene) > before

    rang_s = await scene.eventually(rang)
    summary = ""
    if rang_s is not None:
        incidents = (await tell(scene.lab.folder.control / "pager.sock", {}))["incidents"]
        summary = next((one["summary"] for one in reversed(incidents) if one["source"] == heir), "")
        scene.say(f"  the pager rings: {summary}")
    watch.prove(IP, bool(summary), "paged" if summary else "no page came")


async def _pages(scene: Scene) -> int:
    return int((await tell(scene.lab.folder.control / "pager.sock", {}))["count"])


async def _view(scene: Scene, lb: str) -> IpView | dict[str, object]:
    """What `lb` says; {} while its agent is dead."""
    try:
        return await scene.agents[lb].ip(IP)
    except AgentError:
        return {}


def _others_undisturbed(scene: Scene, watch: Watch) -> None:
    for ip in scene.ips:
        if ip.name != IP:
            watch.prove(ip.name, True, "not concerned")


def _allowed(scene: Scene) -> dict[str, int]:
    return {IP: round(scene.tempo.rate * OUTAGE_ALLOWED_S)}


def _cut_by_a_move(scene: Scene) -> dict[str, int]:
    """Nothing, where connections can be handed over. A relay cuts those that it carries (docs/decisions/0073)."""
    on_loopback = scene.lab.folder.record.fabric is FabricKind.LOOPBACK
    return {IP: round(scene.tempo.rate)} if on_loopback else {}


def _zone(scene: Scene, lb: str) -> str:
    return scene.lab.layout.host(lb).zone
