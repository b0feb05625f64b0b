"""Fabric of network namespaces: one a host; the keeper's own is the core router.

Works alike as root and inside a user namespace. Nothing of it is visible outside: the namespaces have no names, they
live by the keeper's descriptors and the processes in them, and go with the last of these.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial

from backstay.lab import proc
from backstay.lab.fabric import links
from backstay.lab.fabric.base import BaseFabric
from backstay.lab.model import Host, LabError, LabIp, Layout
from backstay.lab.plan.faults import Action, Verb
from backstay.lab.state import LabFolder

_TABLE = "backstay_loss"
_PROCESS_VERBS = frozenset(Verb) - {Verb.LINK_DOWN, Verb.LINK_UP, Verb.LOSS, Verb.DELAY}
NFT_TIMEOUT_S = 10.0


class Namespaces(BaseFabric):
    name = "namespaces"

    def __init__(self, folder: LabFolder) -> None:
        super().__init__(folder)
        self._namespaces: dict[str, int] = {}  # host -> descriptor
        self._inodes: dict[str, int] = {}
        self._bridges: dict[str, int] = {}  # zone -> interface index in the core
        self._ends: dict[str, int] = {}  # host -> interface index of its link, in the core
        self._verbs = _PROCESS_VERBS
        # pyroute2's synchronous calls run a loop of their own, which the keeper's thread cannot have a second time.
        # One thread, so that the order of changes is the order of calls.
        self._netlink = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")

    async def up(self, layout: Layout) -> None:
        self.layout = layout
        for host in layout.hosts:
            self._namespaces[host.name] = fd = links.new_namespace()
            self._inodes[host.name] = os.fstat(fd).st_ino
        await self._run(self._build)
        for ip in layout.ips:
            await self.route(ip.name, ip.candidates[0])

    def _build(self) -> None:
        layout = self.layout
        addresses = {ip.name: ip.address for ip in layout.ips}
        self._bridges = links.build_core(sorted({host.zone for host in layout.hosts}))
        self._ends = links.connect_hosts(layout.hosts, self._namespaces, self._bridges)
        for host in layout.hosts:
            links.configure_host(self._namespaces[host.name], host, [addresses[name] for name in host.holds])
        verbs = {Verb.LINK_DOWN, Verb.LINK_UP}
        if shutil.which("nft"):
            verbs.add(Verb.LOSS)
        if links.has_netem():
            verbs.add(Verb.DELAY)
        self._verbs = _PROCESS_VERBS | verbs

    async def _route(self, ip: LabIp, host: Host) -> None:
        await self._run(partial(links.set_route, ip.address, host, self._bridges[host.zone]))

    def can(self) -> frozenset[Verb]:
        return self._verbs

    def _inside(self, host: str) -> AbstractContextManager[None]:
        return links.entered(self._namespaces[host])

    def _pids(self, host: str) -> list[int]:
        return proc.pids_in_netns(self._inodes[host])

    async def _perform_network(self, action: Action) -> None:
        match action.verb:
            case Verb.LINK_DOWN | Verb.LINK_UP:
                await self._run(partial(links.set_link, self._ends[action.host], up=action.verb is Verb.LINK_UP))
            case Verb.DELAY:
                await self._run(partial(links.set_delay, self._ends[action.host], action.amount))
            case Verb.LOSS:
                self._set_loss(action.host, action.amount)
            case _:
                await super()._perform_network(action)

    def _set_loss(self, host: str, percent: float) -> None:
        """Drop a share of what the host receives and of what it sends; replaces what was set before."""
        rule = f"numgen random mod 10000 <= {max(round(percent * 100), 1) - 1} drop"
        lines = [f"add table inet {_TABLE}", f"delete table inet {_TABLE}"]
        if percent:
            lines += [
                f"add table inet {_TABLE}",
                f"add chain inet {_TABLE} in {{ type filter hook prerouting priority -300; }}",
                f"add chain inet {_TABLE} out {{ type filter hook postrouting priority 300; }}",
                f"add rule inet {_TABLE} in iifname eth0 {rule}",
                f"add rule inet {_TABLE} out oifname eth0 {rule}",
            ]
        with links.entered(self._namespaces[host]):
            done = subprocess.run(
                ["nft", "-f", "-"],
                input="\n".join(lines),
                capture_output=True,
                text=True,
                timeout=NFT_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            raise LabError(f"nft refused the loss rule on {host}: {done.stderr.strip()}")

    async def _run(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._netlink, work)
