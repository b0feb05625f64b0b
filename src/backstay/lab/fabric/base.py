"""What all fabrics share: the processes of the hosts, and faults as recorded, undoable actions."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from backstay.lab import proc
from backstay.lab.hosts.control import tell
from backstay.lab.model import FaultKind, Host, LabError, LabIp, Layout, Spawned
from backstay.lab.plan.faults import Action, Fault, Verb, plan_fault, undo_of
from backstay.lab.state import LabFolder

END_GRACE_S = 1.0
KILL_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 30.0
PROCESSES_MAX = 4096


class BaseFabric(ABC):
    """Processes are children of the keeper; every one works in the folder of its host."""

    name: str

    def __init__(self, folder: LabFolder) -> None:
        self.folder = folder
        self.layout: Layout
        self._specs: list[tuple[str, str, tuple[str, ...], dict[str, str]]] = []
        self._spawned: dict[tuple[str, str], Spawned] = {}  # (host, role): the latest
        self._children: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}
        self._killed: set[str] = set()  # hosts that a fault has crashed
        self.owners: dict[str, str] = {}  # global IP -> the host it is routed to

    @abstractmethod
    async def up(self, layout: Layout) -> None: ...

    @abstractmethod
    async def _route(self, ip: LabIp, host: Host) -> None: ...

    @abstractmethod
    def can(self) -> frozenset[Verb]: ...

    @abstractmethod
    def _pids(self, host: str) -> list[int]:
        """Every process on `host`, daemons included."""

    def _inside(self, host: str) -> AbstractContextManager[None]:
        """What a child born in this context is born into."""
        del host
        return nullcontext()

    async def _perform_network(self, action: Action) -> None:
        raise AssertionError(f"{self.name} was asked for {action.verb}, which it cannot")

    async def route(self, global_ip: str, host: str) -> None:
        """Route the address to `host`, one of its candidates. Raises LabError otherwise."""
        ip = next((ip for ip in self.layout.ips if ip.name == global_ip), None)
        if ip is None:
            known = ", ".join(ip.name for ip in self.layout.ips)
            raise LabError(f'"{global_ip}" is no global IP of this lab. There are: {known}.')
        if host not in ip.candidates:
            raise LabError(f"{host} is no candidate for {global_ip}. Candidates: {', '.join(ip.candidates)}.")
        await self._route(ip, self.layout.host(host))
        self.owners[global_ip] = host

    def processes(self) -> dict[str, list[dict[str, object]]]:
        """What was started on each host, alive or not."""
        found: dict[str, list[dict[str, object]]] = {host.name: [] for host in self.layout.hosts}
        for spawned in self._spawned.values():
            living = proc.alive(spawned.pid, spawned.start_time_ticks)
            found[spawned.host].append({"role": spawned.role, "pid": spawned.pid, "alive": living})
        return found

    # --- processes

    async def spawn(self, host: str, role: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Spawned:
        """Start a process on `host`; the latest of each role is remembered, so that a crash can be healed."""
        self.layout.host(host)
        if len(self._specs) >= PROCESSES_MAX:
            raise LabError(f"A lab holds at most {PROCESSES_MAX} processes.")
        if host in self._killed:
            raise LabError(f"{host} has crashed: backstay lab fault heal {host}.")
        spec = (host, role, tuple(argv), dict(env or {}))
        spawned = self._start(*spec)
        self._specs = [known for known in self._specs if known[:2] != (host, role)] + [spec]
        self._spawned[host, role] = spawned
        return spawned

    async def run(self, host: str, role: str, argv: Sequence[str]) -> int:
        """Run a process on `host` to its end; its exit status (negative: the signal that ended it)."""
        self.layout.host(host)
        spawned = self._start(host, role, tuple(argv), {})
        return await self._children[spawned.pid][1]

    async def stop(self, host: str, role: str, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask a process to end and wait for it; its exit status. It is not started again by a heal."""
        spawned = self._spawned.pop((host, role), None)
        if spawned is None:
            raise LabError(f"Nothing called {role} was started on {host}.")
        self._specs = [spec for spec in self._specs if spec[:2] != (host, role)]
        if spawned.pid not in self._children:
            return 0
        child, ended = self._children[spawned.pid]
        child.terminate()
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(ended)

    def _start(self, host: str, role: str, argv: tuple[str, ...], env: dict[str, str]) -> Spawned:
        log_file = self.folder.log / f"{host}-{role}.log"
        self.folder.note_process("starting", host, role)
        with log_file.open("ab") as log, self._inside(host):
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder.hosts / host,
                env=dict(os.environ) | env,
                start_new_session=True,
            )
        ticks = proc.start_time_ticks(child.pid) or 0  # 0: ended already
        spawned = Spawned(host=host, role=role, pid=child.pid, start_time_ticks=ticks, log_file=str(log_file))
        self.folder.note_process("started", host, role, spawned)
        self._children[child.pid] = (child, asyncio.get_running_loop().create_future())
        return spawned

    def reap(self) -> None:
        """Collect children that ended; as process 1 of a namespace also those that their parents left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if known := self._children.pop(pid, None):
                child, ended = known
                child.returncode = os.waitstatus_to_exitcode(status)
                if not ended.done():
                    ended.set_result(child.returncode)

    def _signal(self, host: str, number: signal.Signals) -> None:
        proc.signal_all([pid for pid in self._pids(host) if pid != os.getpid()], number)

    # --- faults

    async def fault(self, kind: FaultKind, name: str, *, amount: float | None = None) -> None:
        faults = self.folder.faults()
        steps = plan_fault(kind, name, amount, self.layout, self.can())
        new = Fault(id=max((fault.id for fault in faults), default=0) + 1, kind=kind, name=name, steps=steps)
        self.folder.write_faults([*faults, new])
        for step in steps:
            await self.perform(step.do)

    async def heal(self, name: str | None = None) -> int:
        faults = list(self.folder.faults())
        healed = [fault for fault in reversed(faults) if name is None or fault.name == name]
        for fault in healed:
            faults.remove(fault)
            for action in undo_of(fault, faults):
                await self.perform(action)
            self.folder.write_faults(faults)
        return len(healed)

    async def perform(self, action: Action) -> None:
        """Do one action. Idempotent."""
        host = action.host
        match action.verb:
            case Verb.KILL:
                self._killed.add(host)
                self._signal(host, signal.SIGKILL)
                await self._gone(host)
            case Verb.RESPAWN:
                self._killed.discard(host)
                for spec in [spec for spec in self._specs if spec[0] == host]:
                    self._spawned[spec[0], spec[1]] = self._start(*spec)
            case Verb.STOP:
                self._signal(host, signal.SIGSTOP)
            case Verb.CONTINUE:
                self._signal(host, signal.SIGCONT)
            case Verb.FACTOR | Verb.HEALTH | Verb.SERVE:
                await self._web(host, {str(action.verb): action.amount})
            case _:
                await self._perform_network(action)

    async def _gone(self, host: str) -> None:
        """Until every process of `host` is dead; a fork in the meantime is killed too."""
        loop = asyncio.get_running_loop()
        end = loop.time() + KILL_TIMEOUT_S
        while left := [
            pid for pid in self._pids(host) if pid != os.getpid() and proc.start_time_ticks(pid) is not None
        ]:
            if loop.time() > end:
                raise LabError(f"{host}: processes {left} outlive SIGKILL.")
            proc.signal_all(left, signal.SIGKILL)
            await asyncio.sleep(0.01)

    async def _web(self, host: str, settings: dict[str, float]) -> None:
        await tell(self.folder.control / f"{host}.sock", settings)

    async def down(self) -> None:
        """Heal what the network holds, then end every process: first asked, then killed."""
        self.folder.write_faults(())
        everyone = [host.name for host in self.layout.hosts] if hasattr(self, "layout") else []
        for number in (signal.SIGCONT, signal.SIGTERM):
            for host in everyone:
                self._signal(host, number)
        loop = asyncio.get_running_loop()
        end = loop.time() + END_GRACE_S
        while self._children and loop.time() < end:
            await asyncio.sleep(0.02)
        for host in everyone:
            await self._gone(host)


def python(*argv: str) -> tuple[str, ...]:
    """Argv of a Python process of the lab: this interpreter."""
    return (sys.executable, *argv)
