"""Fabric for containers that allow no namespaces: hosts are 127.x addresses, a global IP is a relay process.

There are no links to cut and no packets to drop here. A host that is cut off is one whose processes are stopped:
connections are accepted by the kernel and nothing answers, which is what its peers would see.
"""

from __future__ import annotations

from functools import partial

from backstay.lab import proc
from backstay.lab.fabric.base import BaseFabric, python
from backstay.lab.hosts.control import tell
from backstay.lab.model import WITNESS, Host, LabIp, Layout
from backstay.lab.plan.faults import Verb
from backstay.lab.waiting import connects, until

RELAY_TIMEOUT_S = 20.0
RELAY = "backstay.lab.hosts.relay"


class Loopback(BaseFabric):
    name = "loopback"

    async def up(self, layout: Layout) -> None:
        """Start a relay for each global IP. They belong to the provider's side: no fault of a host stops them."""
        self.layout = layout
        for ip in layout.ips:
            control = self.folder.control / f"ip-{ip.name}.sock"
            ports = [str(port) for port in ip.ports]
            target = layout.host(ip.candidates[0]).address
            argv = python("-m", RELAY, "--control", str(control), "--target", target, ip.address, *ports)
            await self.spawn(WITNESS, f"relay-{ip.name}", argv)
            log = self.folder.log / f"{WITNESS}-relay-{ip.name}.log"
            await until(partial(connects, control), RELAY_TIMEOUT_S, f"the relay of {ip.name}", log)
            self.owners[ip.name] = ip.candidates[0]

    async def _route(self, ip: LabIp, host: Host) -> None:
        await tell(self.folder.control / f"ip-{ip.name}.sock", {"target": host.address})

    def can(self) -> frozenset[Verb]:
        return frozenset(Verb) - {Verb.LINK_DOWN, Verb.LINK_UP, Verb.LOSS, Verb.DELAY}

    def _pids(self, host: str) -> list[int]:
        return proc.pids_in_folder(self.folder.hosts / host)
