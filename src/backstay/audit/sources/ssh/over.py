"""Facts of many nodes over SSH: one command to each, its output into a report. What hangs holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from backstay.audit.model import FactReport
from backstay.audit.ports import Surroundings
from backstay.audit.sources.asked import ask_each
from backstay.audit.sources.reports import nothing
from backstay.audit.sources.ssh.remote import Ended, Login, Remote, Unreachable, run
from backstay.audit.sources.tools import Facts

LATE = "not read in the time for all nodes. Give it more, or read more nodes at once (at_once)."
SHARE = 0.95  # of the time is for listening; the rest for saying what was heard, and what not


class NodeLogin(Login):
    timeout_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 30.0
    """A node that takes longer is read as far as it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is run on one node, what it gets on its stdin, and what its output says (ValueError: what is wrong)."""

    command: str
    feed: bytes
    read: Callable[[Ended], Facts]


class OverSsh:
    """A FactSource. `task` makes what is run, anew for each node."""

    def __init__(
        self, name: str, login: NodeLogin, around: Surroundings, task: Callable[[], Task], *, limit_bytes: int
    ) -> None:
        self.name = name
        self._login = login
        self._around = around
        self._remote = Remote(login, around, name)
        self._task = task
        self._limit_bytes = limit_bytes

    async def read(self, nodes: Sequence[str], *, timeout_s: float) -> Sequence[FactReport]:
        """As FactSource says; no nodes: every node of the estate. Raises SourceError without key or known_hosts."""
        await self._remote.ready()
        wanted = tuple(dict.fromkeys(nodes or self._around.addresses))
        end = asyncio.get_running_loop().time() + timeout_s * SHARE

        async def one(node: str) -> FactReport:
            return await self._read(node, end)

        asked = await ask_each(wanted, one, at_once=self._login.at_once, timeout_s=timeout_s)
        return [asked.answers.get(node) or self._nothing(node, LATE) for node in wanted]

    async def _read(self, node: str, end: float) -> FactReport:
        task = self._task()
        try:
            async with asyncio.timeout_at(end), self._remote.connected(node) as connection:
                left_s = end - asyncio.get_running_loop().time()
                timeout_s = max(0.0, min(self._login.timeout_s, left_s)) * SHARE
                ended = await run(
                    connection, task.command, task.feed, timeout_s=timeout_s, limit_bytes=self._limit_bytes
                )
            values, unread = await asyncio.to_thread(task.read, ended)
        except (Unreachable, ValueError) as error:
            return self._nothing(node, str(error))
        except TimeoutError:
            return self._nothing(node, LATE)
        return FactReport(node=node, source=self.name, time=self._around.clock(), values=values, unread=unread)

    def _nothing(self, node: str, problem: str) -> FactReport:
        return nothing(node, self.name, self._around.clock(), problem)

    async def close(self) -> None:
        """Nothing is held open."""
