"""The keeper: the process that holds a lab. Inside the fabric's namespaces it is process 1 and the core router.

    python -m backstay.lab.keeper FOLDER [--listen FD ...]

Commands speak to FOLDER/keeper.sock: one JSON object a line, `{"call": NAME, ...}`, answered by
`{"value": ...}` or `{"error": message}`. It ends, and everything with it, on `down`, on SIGTERM, and, until `detach`,
when its standard input ends: whoever started it and died takes the lab along.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from backstay.lab.keeper.publish import carry
from backstay.lab.machines import record
from backstay.lab.machines.parts import Cpu
from backstay.lab.model import FabricKind, FaultKind, LabError
from backstay.lab.ports import Fabric
from backstay.lab.state import LabFolder

LINE_MAX_BYTES = 1_048_576


def make_fabric(kind: FabricKind, folder: LabFolder) -> Fabric:
    if kind is FabricKind.LOOPBACK:
        from backstay.lab.fabric.loopback import Loopback

        return Loopback(folder)
    from backstay.lab.fabric.namespaces import Namespaces

    return Namespaces(folder)


class Keeper:
    def __init__(self, folder: LabFolder) -> None:
        self.folder = folder
        known = folder.record
        self.fabric = make_fabric(known.fabric, folder)
        self.published = known.published
        self.ended = asyncio.Event()
        self.detached = False
        self._calls: dict[str, Callable[..., Awaitable[Any]]] = {
            "up": self._up,
            "spawn": self._spawn,
            "run": self.fabric.run,
            "stop": self.fabric.stop,
            "route": self.fabric.route,
            "fault": self._fault,
            "heal": self.fabric.heal,
            "cpu": self._cpu,
            "clock": self._clock,
            "status": self._status,
            "detach": self._detach,
            "down": self._down,
        }

    async def _up(self) -> None:
        await self.fabric.up(self.folder.layout)

    async def _spawn(self, **spec: Any) -> dict[str, Any]:
        return asdict(await self.fabric.spawn(**spec))

    async def _fault(self, kind: str, name: str, amount: float | None = None) -> None:
        await self.fabric.fault(FaultKind(kind), name, amount=amount)

    async def _cpu(self, names: list[str], cpu: str | None) -> None:
        record.change_cpu(self.folder, names, Cpu(cpu) if cpu is not None else None)

    async def _clock(self, at: str | None) -> None:
        record.stop_clock(self.folder, datetime.fromisoformat(at) if at is not None else None)

    async def _status(self) -> dict[str, Any]:
        return {"hosts": self.fabric.processes(), "can": sorted(self.fabric.can()), "owners": self.fabric.owners}

    async def _detach(self) -> None:
        self.detached = True

    async def _down(self) -> None:
        self.ended.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a command."""
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer_line(line)).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer_line(self, line: bytes) -> dict[str, Any]:
        try:
            message = json.loads(line)
            call = self._calls[message.pop("call")]
            return {"value": await call(**message)}
        except LabError as error:
            return {"error": str(error)}
        except Exception as error:  # the keeper outlives every bad call; what failed goes to the caller
            return {"error": f"{type(error).__name__}: {error}"}

    async def watch_stdin(self) -> None:
        """Until standard input ends. Ends the lab then, unless it was detached."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.read(64):
            pass
        if not self.detached:
            self.ended.set()


async def keep(folder: LabFolder, listening: list[int]) -> None:
    """Hold the lab until it ends."""
    loop = asyncio.get_running_loop()
    keeper = Keeper(folder)
    watcher = asyncio.create_task(keeper.watch_stdin())
    loop.add_signal_handler(signal.SIGCHLD, keeper.fabric.reap)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.ended.set)
    servers = [await asyncio.start_unix_server(keeper.answer, folder.keeper_socket, limit=LINE_MAX_BYTES)]
    for published, descriptor in zip(keeper.published, listening, strict=True):
        servers.append(await asyncio.start_server(carry(published), sock=socket.socket(fileno=descriptor)))
    await keeper.ended.wait()
    for server in servers:
        server.close()
    watcher.cancel()
    await keeper.fabric.down()
    if not keeper.detached:
        # Nobody is left to do it: whoever would have called `lab down` held our standard input and is gone.
        folder.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", type=int, action="append", default=[])
    options = parser.parse_args()
    os.umask(0o077)
    asyncio.run(keep(LabFolder(options.folder), options.listen))


if __name__ == "__main__":
    main()
