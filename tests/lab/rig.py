"""A lab under test, whatever its fabric, and what the machine looks like from outside."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backstay.lab import build, proc
from backstay.lab.fabric.base import python
from backstay.lab.keeper.client import call
from backstay.lab.model import FabricKind, Spawned
from backstay.lab.state import LabFolder

T = TypeVar("T")
HERE = Path(__file__).parent
SMALL = HERE / "small.yaml"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@dataclass
class Rig:
    """A lab, spoken to from outside through its keeper."""

    folder: LabFolder

    def ask(self, *urls: str, source: str = "witness") -> list[dict[str, Any]]:
        """What `source` sees at each of `urls`."""
        log = self.folder.log / f"{source}-ask.log"
        log.unlink(missing_ok=True)
        run(call(self.folder, "run", host=source, role="ask", argv=python(str(HERE / "ask.py"), *urls)))
        return list(json.loads(log.read_text()))

    def web(self, *hosts: str, port: int = 8000, source: str = "witness") -> list[dict[str, Any]]:
        layout = self.folder.layout
        return self.ask(*(f"http://{layout.host(host).address}:{port}/" for host in hosts), source=source)

    def statuses(self, *hosts: str, source: str = "witness") -> list[int]:
        """What each web server answers; 0 for no answer."""
        return [int(answer["status"]) for answer in self.web(*hosts, source=source)]

    def health(self, host: str) -> int:
        return int(self.web(host, port=8001)[0]["status"])

    def fault(self, kind: str, name: str, amount: float | None = None) -> None:
        run(call(self.folder, "fault", kind=kind, name=name, amount=amount))

    def heal(self, name: str | None = None) -> int:
        return int(run(call(self.folder, "heal", name=name)))

    def spawn(self, host: str, role: str, *argv: str) -> Spawned:
        return Spawned(**run(call(self.folder, "spawn", host=host, role=role, argv=python(*argv))))

    def can(self, verb: str) -> bool:
        return verb in run(call(self.folder, "status"))["can"]


async def start(root: Path, kind: FabricKind, name: str = "small") -> build.Lab:
    """A lab of hosts and web servers, without agents."""
    return await build.up(build.Options(source=SMALL, root=root, name=name, fabric=kind, agents=False))


@dataclass(frozen=True)
class Outside:
    """What of a lab could be left behind on the machine."""

    interfaces: frozenset[str]
    routes: str
    named_namespaces: frozenset[str]
    files: frozenset[str]

    @classmethod
    def look(cls, root: Path) -> Outside:
        return cls(
            interfaces=_names(Path("/sys/class/net")),
            routes=Path("/proc/net/route").read_text(),
            named_namespaces=_names(Path("/run/netns")),
            files=frozenset(str(path) for path in root.rglob("*")),
        )


def _names(folder: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in folder.iterdir()) if folder.is_dir() else frozenset()


def processes_of(root: Path) -> list[int]:
    """Processes that work below `root`, or were told of it on their command line; never this one."""
    found = set(proc.pids_in_folder(root))
    for pid in proc.pids():
        try:
            if str(root).encode() in (proc.PROC / str(pid) / "cmdline").read_bytes():
                found.add(pid)
        except OSError:
            continue
    return sorted(pid for pid in found - {os.getpid()} if proc.start_time_ticks(pid) is not None)


def poll(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Poll until `condition()` holds; False when it never did."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def main() -> None:
    """Bring a lab up, say so, and hold it until killed: `python rig.py ROOT FABRIC`."""

    async def hold() -> None:
        await start(Path(sys.argv[1]), FabricKind(sys.argv[2]))
        print("up", flush=True)
        await asyncio.Event().wait()

    asyncio.run(hold())


if __name__ == "__main__":
    main()
