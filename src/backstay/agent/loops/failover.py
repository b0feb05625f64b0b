"""Global IPs for which this load balancer is a candidate: the failover room, run inside the agent.

The room decides and acts (failover/shell.py); here it gets its estate, its provider, its peers, its pen and its post.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import structlog

from backstay.agent.client import AgentClient, AgentError, AgentUnreachable, clients_for
from backstay.agent.loops.telling import Telling
from backstay.agent.world import World, now_s
from backstay.change import read_clock
from backstay.estate.model import CommandSecret, EnvSecret, Estate, FileSecret, PluginProvider, Provider, Secret
from backstay.estate.secrets import SecretUnavailable, resolve
from backstay.estate.select import load_balancers
from backstay.failover.handover import Handover
from backstay.failover.keep import Keep
from backstay.failover.known import Declared, Hands
from backstay.failover.ports import IpProvider, SeenThrough, Standing
from backstay.failover.providers.apart import Apart, secret_key
from backstay.failover.shell import Warden
from backstay.failover.targets import targets_of, through_of
from backstay.failover.verify import see
from backstay.failover.watch import Watcher, default_gateway
from backstay.look.ports import Prober

PEER_TIMEOUT_S = 2.0
REST_S = 0.01  # between two decisions: answers of a burst come a hundred a second

Ask = Callable[[str, AgentClient], Awaitable[None]]

log = structlog.get_logger()


class Failover:
    def __init__(self, world: World, prober: Prober, run: Path, telling: Telling) -> None:
        self._world = world
        self._peers = AgentPeers(world, run)
        self._telling = telling
        self._estate: Estate | None = None
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._providers: dict[str, IpProvider] = {}
        self.watcher = Watcher(prober, world.lb, now_s, self._news.set)
        self.wardens: dict[str, Warden] = {}

    async def turn(self) -> None:
        """Follow the estate; see that the watch runs. Raises what ended it."""
        if self._estate is not self._world.estate:
            await self._follow(self._world.estate)
            self._estate = self._world.estate
        if not self.wardens:
            await self._rest()
        elif self._running is None or self._running.done():
            ended, self._running = self._running, asyncio.create_task(self._run())
            if ended is not None and not ended.cancelled():
                ended.result()
        self._warn()

    async def close(self) -> None:
        """End the watch; what is under way at the provider is found again by the next start."""
        await self._rest()
        for warden in self.wardens.values():
            await warden.close()
        for provider in self._providers.values():
            await provider.close()

    async def see(self, ip: str) -> SeenThrough:
        """What this machine gets when it asks the address of `ip` itself."""
        return await see(through_of(self._world.estate, ip, self._world.lb))

    # --- the watch -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watcher.run())
            tasks.create_task(self._drive())

    async def _drive(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            for warden in self.wardens.values():
                warden.turn()
            owners = (warden.known.owner for warden in self.wardens.values())
            self.watcher.attend({owner.holder for owner in owners if owner and owner.holder})
            await asyncio.sleep(REST_S)

    async def _rest(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    def _warn(self) -> None:
        for name, warden in self.wardens.items():
            fault = warden.hands.keep.fault
            self._world.warn(f"failover {name}", f"{fault}. Make room on that disk." if fault else "")
            error = warden.known.owner_error
            self._world.warn(f"provider {name}", f"who holds {name} is not known: {error}" if error else "")
            out = warden.memory.quarantined
            self._world.warn(
                f"quarantine {name}",
                f"quarantined for {name} since {out.at:%Y-%m-%d %H:%M} UTC: backstay ip rearm {name} {self._world.lb}"
                if out
                else "",
            )

    # --- the estate ------------------------------------------------------------------------------------------------

    async def _follow(self, estate: Estate) -> None:
        world, folder = self._world, self._world.adopted.folder
        mine = {name: ip for name, ip in estate.global_ips.items() if world.lb in ip.candidates}
        for gone in self.wardens.keys() - mine.keys():
            await self.wardens.pop(gone).close()
        if self._estate is None or self._estate.providers != estate.providers or self._estate.nodes != estate.nodes:
            for provider in self._providers.values():
                await provider.close()
            self._providers = {}
        nodes = {name for ip in mine.values() for name in ip.candidates}
        on_loopback = estate.nodes[world.lb].address.is_loopback  # then the machine's gateway tells nothing
        gateway = default_gateway() if nodes and not on_loopback else None
        self.watcher.follow({name: targets_of(estate, name, folder) for name in sorted(nodes)}, gateway)
        for name, ip in mine.items():
            declared = Declared(
                name=name,
                address=str(ip.address),
                candidates=ip.candidates,
                witnesses=tuple(lb for lb in load_balancers(estate) if lb not in ip.candidates),
                false_takeovers_per_year=ip.false_takeovers_per_year,
                nodes={lb: str(estate.nodes[lb].address) for lb in ip.candidates},
            )
            provider = await self._provider(estate, ip.provider, folder)
            if name in self.wardens:
                self.wardens[name].redeclare(declared, provider)
            else:
                self.wardens[name] = Warden(world.lb, declared, self._hands(declared, provider, ip.handover))
        self._news.set()

    def _hands(self, declared: Declared, provider: IpProvider, hands_over: bool) -> Hands:
        world, name = self._world, declared.name
        handover = Handover(name, declared.address, declared.nodes[world.lb]) if hands_over else None
        if handover is not None:
            handover.expire()
        return Hands(
            provider=provider,
            watcher=self.watcher,
            peers=self._peers,
            pen=world.record,
            page=self._telling.put,
            keep=Keep(world.files.root / "failover" / f"{name}.json"),
            see=lambda: self.see(name),
            clock=read_clock,
            handover=handover,
        )

    async def _provider(self, estate: Estate, name: str, folder: Path) -> IpProvider:
        """The adapter, in a process of its own: a vendor's library would not fit into an agent's memory."""
        if name not in self._providers:
            declared = estate.providers[name]
            secrets: dict[str, str] = {}
            faults: dict[str, str] = {}
            for secret in _secrets_in(declared):
                try:
                    secrets[secret_key(secret)] = await resolve(secret, folder)
                except SecretUnavailable as error:
                    faults[secret_key(secret)] = str(error)
            nodes = {node: str(one.address) for node, one in estate.nodes.items()}
            self._providers[name] = Apart(declared, nodes, secrets, faults)
        return self._providers[name]


def _secrets_in(provider: Provider) -> list[Secret]:
    values = [value for _, value in provider]
    if isinstance(provider, PluginProvider):
        values += provider.secrets.values()
    return [value for value in values if isinstance(value, (EnvSecret, FileSecret, CommandSecret))]


class AgentPeers:
    """The other load balancers' agents, by their control API; `failover.ports.Peers`."""

    def __init__(self, world: World, run: Path) -> None:
        self._world = world
        self._run = run

    async def standings(self, ip: str, lbs: Sequence[str]) -> Mapping[str, Standing | None]:
        found: dict[str, Standing | None] = {}

        async def ask(lb: str, client: AgentClient) -> None:
            try:
                view = await client.ip(ip, timeout_s=PEER_TIMEOUT_S)
            except AgentUnreachable as error:
                if error.refused:
                    found[lb] = None
                return
            found[lb] = Standing(quarantined=bool(view["quarantined"]), took=bool(view["took"]))

        await self._each(lbs, ask)
        return found

    async def see(self, ip: str, lbs: Sequence[str]) -> Mapping[str, SeenThrough]:
        found: dict[str, SeenThrough] = {}

        async def ask(lb: str, client: AgentClient) -> None:
            view = await client.see(ip, timeout_s=PEER_TIMEOUT_S)
            found[lb] = SeenThrough(**view)

        await self._each(lbs, ask)
        return found

    async def _each(self, lbs: Sequence[str], ask: Ask) -> None:
        world = self._world
        clients = clients_for(world.estate, folder=world.adopted.folder, lbs=list(lbs), run=self._run)

        async def one(lb: str, client: AgentClient) -> None:
            async with client:
                with contextlib.suppress(AgentError, KeyError, TypeError):  # who does not answer is left out
                    await ask(lb, client)

        await asyncio.gather(*(one(lb, client) for lb, client in clients.items() if client.has_way))
