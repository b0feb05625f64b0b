"""Two programs of the user's own, for what has no adapter: a router's command line, a colleague's script.

    owner ADDRESS                               prints the holder, a node's name or address, or nothing: nobody;
                                                a second line `moving` says that a route is under way
    assign ADDRESS NODE NODE-ADDRESS            routes it, without taking it from its holder first

Exit status: 0 done; 75 (EX_TEMPFAIL) not reachable, or, when the last line printed is `retry-after SECONDS`, asked too
often; 77 (EX_NOPERM) denied; any other: refused. The first line on stderr is the reason. (sysexits.h of BSD.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backstay.estate.model import CommandProvider, Secret
from backstay.failover.ports import IpProvider, ProviderDenied, ProviderError, ProviderUnreachable
from backstay.failover.providers.flow import (
    READ_AGAIN,
    Ask,
    Reading,
    Routed,
    bounded_retry_after_s,
    nonsense,
    said,
)

OUTPUT_LIMIT_BYTES = 4 * 1024  # a holder's name is shorter
EX_TEMPFAIL = 75
EX_NOPERM = 77


def provider(provider: CommandProvider, nodes: Mapping[str, str], secrets: Callable[[Secret], str]) -> IpProvider:
    """For the entry point `command`."""
    return Routed("command", Command(provider, nodes), nodes)


@dataclass(frozen=True, slots=True)
class _Ended:
    status: int
    out: str
    err: str


class Command:
    def __init__(self, provider: CommandProvider, nodes: Mapping[str, str]) -> None:
        self._provider = provider
        self._nodes = nodes
        self._names = {address: name for name, address in nodes.items()}

    async def read(self, address: str, ask: Ask) -> Reading:
        lines = (await self._run(ask, (*self._provider.owner, address))).splitlines()
        if len(lines) > 2 or (len(lines) == 2 and lines[1] != "moving"):
            raise nonsense(" / ".join(lines))
        holder = lines[0].strip() if lines else ""
        if len(holder.split()) > 1:
            raise nonsense(holder)
        return Reading(holder=self._names.get(holder, holder) or None, moving=len(lines) == 2)

    async def route(self, address: str, target: str, reading: Reading, ask: Ask) -> None:
        await self._run(ask, (*self._provider.assign, address, target, self._nodes[target]))

    async def close(self) -> None:
        pass  # a program ends with its call

    async def _run(self, ask: Ask, argv: tuple[str, ...]) -> str:
        """What the program prints. Raises ProviderError."""
        limit_s = ask.begin()
        try:
            ended = await _ended(argv, limit_s)
        except TimeoutError as error:
            raise ProviderUnreachable(f"{argv[0]}: no answer in {limit_s:.1f} s. {READ_AGAIN}") from error
        except OSError as error:
            raise ProviderError(f"{argv[0]}: not started: {error}. Check the command in the estate.") from error
        if ended.status == 0:
            return ended.out
        why = f"{argv[0]}: {said(ended.err) or 'no reason given'} (exit status {ended.status})"
        if ended.status == EX_NOPERM:
            raise ProviderDenied(f"denied: {why}.")
        if ended.status != EX_TEMPFAIL:
            raise ProviderError(f"refused: {why}.")
        last = ended.out.splitlines()[-1:] or [""]
        if last[0].startswith("retry-after "):
            raise ProviderError(f"asked too often: {why}. Wait.", retry_after_s=bounded_retry_after_s(last[0][12:]))
        raise ProviderUnreachable(f"{why}. {READ_AGAIN}")


async def _ended(argv: tuple[str, ...], timeout_s: float) -> _Ended:
    """Run a program to its end. Raises OSError (not started), TimeoutError, and ProviderUnreachable for nonsense."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # so that its children end with it
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
            status = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status < 0:
        raise ProviderUnreachable(f"{argv[0]} was ended by signal {-status}. {READ_AGAIN}")
    return _Ended(status, out, err.partition("\n")[0])


async def _bounded(stream: asyncio.StreamReader) -> str:
    """All that a program prints. Raises ProviderUnreachable when that is no text, or too much."""
    raw = b""
    while more := await stream.read(OUTPUT_LIMIT_BYTES):
        raw += more
        if len(raw) > OUTPUT_LIMIT_BYTES:
            raise nonsense(f"over {OUTPUT_LIMIT_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise nonsense("no UTF-8 text") from error
