"""The chapters of the demo. Each shows one thing on both engines, while users ask all the time, and proves it.

A chapter is `async def chapter(scene) -> None`; it opens `scene.watched`, acts as an operator or as bad luck would, and
says for each global IP what is proven. That of the audit has claims in place of traffic.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from backstay.lab.demo.audit import audit
from backstay.lab.demo.failover import failover
from backstay.lab.demo.scene import Scene, Watch
from backstay.lab.hosts.control import tell
from backstay.lab.model import LabError
from backstay.lab.served import ServerApi

POOL = "web"
DRAINED = ("web2", "web6")  # one in each region
CLICKED = "web4"
SICK = "web3"
SLOWED = "web5"
SLOW_FACTOR = 2.0  # more, and nginx's least_time leaves it so few requests that there is little to measure it by
LOST = 0.85  # a slowed backend has lost weight when its share is at most this much of what it was
REGAINED = 1.1  # and gets it back when its share is this much of its least: the last of it comes slowly, by design
KEPT_ALIVE_S = 3.5  # an nginx that reloaded serves kept-alive clients as before for up to 3 s (keepalive_min_timeout)
SERVICE_MS = 150.0  # long enough that requests are in flight when a drain begins, on every server

Chapter = Callable[[Scene], Awaitable[None]]


async def traffic(scene: Scene) -> None:
    """Requests flow through both tiers, to every web server, and none is lost."""
    scene.say("Traffic: users in front of nginx in Washington and HAProxy in Toronto.")
    async with scene.watched("traffic", websockets=2) as watch:
        before = await _served(scene)

        async def all_busy() -> bool:
            return all(count > before[node] for node, count in (await _served(scene)).items())

        await scene.eventually(all_busy)
        await asyncio.sleep(scene.tempo.watch_s)
        after = await _served(scene)
        busy = sum(after[node] > before[node] for node in after)
        for ip in scene.ips:
            watch.prove(ip.name, busy == len(after), f"{busy} of {len(after)} web servers answered")


async def drain(scene: Scene) -> None:
    """A server is taken out by a person, with a proof from each load balancer, and brought back."""
    for node in DRAINED:
        scene.say(f"Drain: {node} is taken out of rotation, and nobody notices.")
        async with scene.watched(f"drain {node}") as watch:
            await scene.backstay("drain", node, "--for", "10m", "--reason", "kernel update", "--wait")
            drained_after_s = await scene.every_lb_says(POOL, node, "draining")
            before = (await _served(scene))[node]
            await asyncio.sleep(scene.tempo.watch_s)
            reached = (await _served(scene))[node] - before
            for ip in scene.ips:
                await _prove_drain(scene, watch, ip.name, node, drained_after_s, reached)
            await scene.backstay("undrain", node, "--reason", "kernel updated")
            back_s = await scene.every_lb_says(POOL, node, "active")
            for ip in scene.ips:
                watch.prove(
                    ip.name, back_s is not None, "back in rotation" if back_s is not None else "never came back"
                )


async def _prove_drain(
    scene: Scene, watch: Watch, ip: str, node: str, drained_after_s: float | None, reached: int
) -> None:
    agent = scene.agents[await scene.holder(ip)]
    change = next((c for c in await agent.changes() if c["node"] == node and "ended" not in c), None)
    if change is None or drained_after_s is None:
        watch.prove(ip, False, f"{node} was not drained on every load balancer")
        return
    for proof in await agent.proof(change["id"]):
        text = f"{proof['in_flight_at_start']} in flight, {proof['finished']} finished, {proof['cut']} cut"
        watch.prove(ip, proof["done"] and proof["cut"] == 0 and proof["refused"] == 0, text)
    watch.prove(ip, reached == 0, f"{reached} requests after it")


async def server(scene: Scene) -> None:
    """The same at a click: the server tells every load balancer at once."""
    if scene.lab.layout.server is None:
        scene.say("No server in this lab (--no-server): nothing to click.")
        return
    scene.say(f"Server: {CLICKED} is drained by one call of the API, as the console does it.")
    async with scene.watched(f"server drains {CLICKED}") as watch, ServerApi(scene.lab.folder) as api:
        asked = {"selector": f"node/{CLICKED}", "kind": "drain", "reason": "kernel update", "duration_s": 600}
        put = await api.call("POST", "/changes", asked)
        drained_s = await scene.every_lb_says(POOL, CLICKED, "draining")
        await asyncio.sleep(KEPT_ALIVE_S)
        before = (await _served(scene))[CLICKED]
        await asyncio.sleep(scene.tempo.watch_s / 2)
        reached = (await _served(scene))[CLICKED] - before
        for change in put["changes"]:
            await api.call("POST", f"/changes/{change['id']}/undo", {"reason": "kernel updated"})
        back_s = await scene.every_lb_says(POOL, CLICKED, "active")
        count = len(scene.agents)
        for ip in scene.ips:
            watch.prove(ip.name, drained_s is not None, _after(f"applied on all {count}", drained_s))
            watch.prove(ip.name, reached == 0, f"{reached} requests after it")
            watch.prove(ip.name, back_s is not None, _after("back", back_s))


async def health(scene: Scene) -> None:
    """A server says on its health port that it is not well, while it still serves: it leaves, and comes back."""
    scene.say(f"Health: the health port of {SICK} fails; its serving port still answers.")
    async with scene.watched(f"health {SICK}") as watch:
        await scene.fault("unhealthy", SICK)
        left_s = await scene.every_lb_says(POOL, SICK, "down", "draining")
        await asyncio.sleep(KEPT_ALIVE_S)
        before = (await _served(scene))[SICK]
        await asyncio.sleep(scene.tempo.watch_s / 2)
        reached = (await _served(scene))[SICK] - before
        await scene.heal(SICK)
        back_s = await scene.every_lb_says(POOL, SICK, "active")
        for ip in scene.ips:
            watch.prove(ip.name, left_s is not None, _after("out of rotation", left_s))
            watch.prove(ip.name, reached == 0, f"{reached} requests while out")
            watch.prove(ip.name, back_s is not None, _after("back", back_s))


async def slow(scene: Scene) -> None:
    """A server becomes slow and loses weight on both engines; when it is well again it gets the weight back."""
    scene.say(f"Rescaling: {SLOWED} takes {SLOW_FACTOR:g} times as long to answer.")
    async with scene.watched(f"slow {SLOWED}") as watch:
        holders = {ip.name: await scene.holder(ip.name) for ip in scene.ips}
        normal = [await _share(scene, lb) for lb in holders.values()]
        begin = await _requests(scene)
        await scene.fault("slow", SLOWED, SLOW_FACTOR)
        await asyncio.gather(
            *(_until_share(scene, lb, most=LOST * was) for lb, was in zip(holders.values(), normal, strict=True))
        )
        slowed = await _requests(scene)
        await scene.heal(SLOWED)
        least = [await _share(scene, lb) for lb in holders.values()]
        risen = await asyncio.gather(
            *(_until_share(scene, lb, least=REGAINED * low) for lb, low in zip(holders.values(), least, strict=True))
        )
        healed = await _requests(scene)
        for (ip, lb), was, low, high in zip(holders.items(), normal, least, risen, strict=True):
            watch.prove(ip, low <= LOST * was, f"share {was:.2f} fell to {low:.2f}")
            watch.prove(ip, high >= REGAINED * low, f"rises again, to {high:.2f}")
            during, after = _part(slowed[lb], begin[lb]), _part(healed[lb], slowed[lb])
            watch.prove(ip, during < after, f"it got {during:.0%} of the requests while slow, {after:.0%} after")


async def _share(scene: Scene, lb: str) -> float:
    """The slowed server's share as the rescaler of `lb` has it. An nginx may run with a coarser one (ADR 0055)."""
    rows = (await scene.agents[lb].explain(POOL))["rows"]
    return next((row["share"] for row in rows if row["backend"] == SLOWED), 1.0)


async def _until_share(scene: Scene, lb: str, *, least: float = 0.0, most: float = math.inf) -> float:
    """The share of the slowed server on `lb` once it is between the two (or when patience ends)."""

    async def reached() -> bool:
        return least <= await _share(scene, lb) <= most

    await scene.eventually(reached)
    return await _share(scene, lb)


Requests = dict[str, tuple[int, int]]  # load balancer -> requests that the slowed server got, and all


async def _requests(scene: Scene) -> Requests:
    """As the web servers count them."""
    states = await _states(scene)
    return {
        lb: (states[SLOWED].get(lb, 0), sum(counts.get(lb, 0) for counts in states.values())) for lb in scene.agents
    }


def _part(now: tuple[int, int], before: tuple[int, int]) -> float:
    """Which part of the requests in between the slowed server got."""
    return (now[0] - before[0]) / max(now[1] - before[1], 1)


async def _served(scene: Scene) -> dict[str, int]:
    """Requests that each web server has counted itself."""
    return {node: sum(counts.values()) for node, counts in (await _states(scene)).items()}


async def _states(scene: Scene) -> dict[str, dict[str, int]]:
    """Requests that each web server has counted itself, by the load balancer that they came from."""
    control = scene.lab.folder.control
    nodes = [server.host for server in scene.lab.layout.web]
    states = await asyncio.gather(*(tell(control / f"{node}.sock", {}) for node in nodes))
    return {node: state["served"] for node, state in zip(nodes, states, strict=True)}


def _after(what: str, seconds: float | None) -> str:
    return f"never {what}" if seconds is None else f"{what} after {seconds:.1f} s"


CHAPTERS: dict[str, Chapter] = {
    "traffic": traffic,
    "drain": drain,
    "server": server,
    "health": health,
    "slow": slow,
    "failover": failover,
    "audit": audit,
}


def chosen(names: list[str]) -> dict[str, Chapter]:
    """The chapters of these names, in the demo's order; all of them for no name. Raises LabError."""
    unknown = sorted(set(names) - set(CHAPTERS))
    if unknown:
        raise LabError(f"No chapter {', '.join(unknown)}. There are: {', '.join(CHAPTERS)}.")
    return {name: chapter for name, chapter in CHAPTERS.items() if not names or name in names}
