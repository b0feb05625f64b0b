"""What the lab needs of a fabric: hosts with addresses, a movable global IP, actions that faults are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from backstay.lab.model import FaultKind, Layout, Spawned
from backstay.lab.plan.faults import Action, Verb


class Fabric(Protocol):
    """`namespaces` (as root or inside a user namespace) or `loopback`. Lives in the keeper."""

    name: str
    owners: dict[str, str]  # global IP -> the host that it is routed to

    async def up(self, layout: Layout) -> None:
        """Build hosts, zones and core; each global IP is routed to its first candidate."""
        ...

    async def spawn(self, host: str, role: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Spawned:
        """Start a process on `host`, its output to a log file; it dies with the lab, not with this call."""
        ...

    async def run(self, host: str, role: str, argv: Sequence[str]) -> int:
        """Run a process on `host` to its end; its exit status (negative: the signal that ended it)."""
        ...

    async def stop(self, host: str, role: str) -> int:
        """Ask a spawned process to end and wait for it; its exit status. A heal does not start it again."""
        ...

    def processes(self) -> dict[str, list[dict[str, object]]]:
        """What was spawned on each host: role, pid, alive."""
        ...

    def reap(self) -> None:
        """Collect children that ended; called on SIGCHLD."""
        ...

    async def route(self, global_ip: str, host: str) -> None:
        """Route the address to `host` (what the provider's API does)."""
        ...

    def can(self) -> frozenset[Verb]:
        """The verbs that this fabric performs here; known once it is up."""
        ...

    async def perform(self, action: Action) -> None:
        """Do one action of a fault or of its undo. Idempotent."""
        ...

    async def fault(self, kind: FaultKind, name: str, *, amount: float | None = None) -> None:
        """Inject; the undo is on disk before the fault is in force. Raises LabError when it cannot be done here."""
        ...

    async def heal(self, name: str | None = None) -> int:
        """Undo the faults called `name` (None: all of them), newest first; the number undone."""
        ...

    async def down(self) -> None:
        """Heal all, end every process, take the hosts apart."""
        ...
