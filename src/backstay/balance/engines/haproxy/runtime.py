"""Speaks to a running HAProxy through its master's socket, which reaches the workers, old ones too.

Commands and answers: docs.haproxy.org/2.8/management.html, 9.4. One command line a connection, because a connection
ends with a reload, and a stuck one must not hold up the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from backstay.balance.engines.haproxy import state
from backstay.balance.ports import EngineFailed

SOCKET = "run/master.sock"  # relative to the engine's folder, its working directory

Read = TypeVar("Read")

_TIMEOUT_S = 10.0
_ANSWER_LIMIT_BYTES = 64 * 1024 * 1024  # 10,000 servers' statistics are 5 MB


class Runtime:
    """The command line interface of one HAProxy. Everything raises EngineFailed: silence, garbage, a refusal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ask(self, line: str) -> str:
        """Send one line, return the whole answer (at most 64 MB, within 10 s)."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._ask(line)
        except (OSError, TimeoutError) as error:
            what = "no answer within 10 s" if isinstance(error, TimeoutError) else str(error)
            raise EngineFailed(
                f"HAProxy at {self._folder / SOCKET} does not answer {_short(line)}: {what}. "
                "Is it running? See log/output.log in its folder."
            ) from error

    async def _ask(self, line: str) -> str:
        # A unix socket's path is at most 107 bytes; through a descriptor of the folder any folder will do.
        run = os.open(self._folder / Path(SOCKET).parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{run}/{Path(SOCKET).name}")
        finally:
            os.close(run)
        answer = bytearray()
        try:
            writer.write(line.encode() + b"\n")
            writer.write_eof()
            while chunk := await reader.read(1_048_576):
                answer += chunk
                if len(answer) > _ANSWER_LIMIT_BYTES:
                    raise EngineFailed(f"HAProxy's answer to {_short(line)} is over 64 MB; it was dropped.")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return answer.decode(errors="replace")

    async def processes(self) -> state.Processes:
        return _understood(state.read_processes, await self.ask("show proc"))

    async def shape(self, pid: int) -> str:
        """The shape of the configuration that worker `pid` runs; "" when it is none of ours."""
        for line in (await self.ask(f"@!{pid} show info")).splitlines():
            if line.startswith("description: backstay "):
                return line.rsplit(" ", 1)[1]
        return ""

    async def is_leaving(self, pid: int) -> bool:
        """True for a worker that takes no new connection any more, or is gone."""
        return "\nStopping: 0\n" not in await self.ask(f"@!{pid} show info")

    async def servers(self, pid: int) -> dict[state.Server, state.ServerRow]:
        return _understood(state.read_servers, await self.ask(f"@!{pid} show servers state"))

    async def statistics(self, pid: int) -> state.Statistics:
        """Of frontends and servers (types 1 and 4)."""
        return _understood(state.read_statistics, await self.ask(f"@!{pid} show stat -1 5 -1"))

    async def command(self, pid: int, commands: Sequence[str]) -> None:
        """Run commands in worker `pid`, in order. Each says nothing when it is done; any word is a refusal."""
        for line in state.command_lines(pid, commands):
            words = " ".join((await self.ask(line)).split())
            if words:
                raise EngineFailed(f"HAProxy refused {_short(line)}: {words[:500]}")

    async def reload(self) -> str:
        """Ask for a reload. Returns what HAProxy says of it: from 2.7 on the outcome, before that nothing."""
        try:
            return await self.ask("reload")
        except EngineFailed as error:
            # 2.6 ends the connection as it begins, sometimes with a reset.
            if isinstance(error.__cause__, ConnectionError):
                return ""
            raise


def _understood(read: Callable[[str], Read], text: str) -> Read:
    try:
        return read(text)
    except (ValueError, KeyError, IndexError) as error:
        raise EngineFailed(
            f"HAProxy's answer was not understood: {error}. Is its version one of ours (2.6 on)?"
        ) from error


def _short(line: str) -> str:
    return repr(line if len(line) <= 120 else f"{line[:117]}...")
