"""What the lab needs of a fabric: hosts with addresses, a movable global IP, faults with an undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from backstay.lab.model import FaultKind, Host, Spawned


class Fabric(Protocol):
    """`namespaces` (root), the same inside a user namespace, or `loopback`."""

    name: str

    async def up(self, hosts: Sequence[Host], global_ips: Mapping[str, str]) -> None:
        """Build hosts, zones and core. `global_ips`: name -> address. Records every undo before it acts."""
        ...

    async def spawn(self, host: str, role: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Spawned:
        """Start a process on `host`, its output to a log file; it dies with the lab, not with this call."""
        ...

    async def route(self, global_ip: str, host: str) -> None:
        """Route the address to `host` (what the provider's API does)."""
        ...

    async def fault(self, kind: FaultKind, name: str, *, amount: float | None = None) -> None:
        """Inject; the undo is on disk before the fault is in force."""
        ...

    async def heal(self, name: str | None = None) -> None: ...

    async def down(self) -> None:
        """Leave no process, namespace, route or file behind; also after kill -9 of whoever called `up`."""
        ...
