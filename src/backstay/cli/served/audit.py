"""The audit's desk by way of a server: the same questions, the same answers (audit/desk), another machine's store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeVar

from backstay.audit.planned import Planned
from backstay.cli.output import Exit, fail, note
from backstay.cli.served.client import ServerAt, ServerClient, ServerSaid, ServerUnreachable, part
from backstay.journal import format_time, new_id

T = TypeVar("T")
Answer = dict[str, Any]

AGAIN_S = 0.5  # how often an answer that takes long is looked for
WAIT_S = 300.0


class ServedDesk:
    """One server. Methods raise ServerError."""

    def __init__(self, server: ServerClient) -> None:
        self._server = server

    async def facts_diff(self, cluster: str) -> Answer:
        return await self._question({"do": "facts_diff", "cluster": cluster})

    async def compare(self, cluster: str, since: timedelta) -> Answer:
        return await self._question({"do": "compare", "cluster": cluster, "since_s": since.total_seconds()})

    async def explain(self, cluster: str, indicator: str, since: timedelta) -> Answer:
        asked = {"do": "explain", "cluster": cluster, "indicator": indicator, "since_s": since.total_seconds()}
        return await self._question(asked)

    async def review(self, end: datetime | None, clusters: Sequence[str] = ()) -> Answer:
        asked: dict[str, Any] = {"do": "review", "clusters": list(clusters)}
        return await self._question(asked if end is None else asked | {"end": format_time(end)})

    async def register(self, planned: Planned) -> Answer:
        """`planned.actor` is the token's: the server knows who asks."""
        body = {**asdict(planned), "by": format_time(planned.by)}
        del body["actor"]
        return await self._done(await self._server.post("/audit/fixes", body, new_id()))

    async def verify(self, fix_id: str, *, actor: str) -> Answer:
        """`actor`: as for `register`."""
        path = "/audit/verify/" + "/".join(part(one) for one in fix_id.split("/"))
        return await self._done(await self._server.post(path, {"reason": "asked for"}, new_id()))

    async def fixes(self) -> list[Answer]:
        return await self._server.items("/audit/fixes")

    async def collect(self, reason: str) -> Answer:
        """Everything, now."""
        return await self._done(await self._server.post("/audit/collect", {"reason": reason}, new_id()))

    async def close(self) -> None:
        await self._server.close()

    async def _question(self, asked: dict[str, Any]) -> Answer:
        told = await self._done(await self._server.post("/audit/questions", asked, new_id()))
        answer: Answer = told["answer"]
        return answer

    async def _done(self, asked: dict[str, Any]) -> Answer:
        """The result, as soon as the server that audits has it."""
        deadline = asyncio.get_running_loop().time() + WAIT_S
        while asked["done"] is None:
            if asyncio.get_running_loop().time() > deadline:
                path = f"/api/v1/audit/asks/{asked['id']}"
                raise ServerSaid(
                    503, "audit", f"The audit has not answered within {WAIT_S:g} s. Look later: {path}", {}
                )
            await asyncio.sleep(AGAIN_S)
            asked = await self._server.get(f"/audit/asks/{asked['id']}")
        if not asked["done"]:
            raise ServerSaid(422, "audit", str(asked["detail"]), {})
        result: Answer = asked["result"]
        return result


def ask_served(at: ServerAt, question: Callable[[ServedDesk], Awaitable[T]]) -> T:
    """The answer of that server's audit. Ends the command for what cannot be."""

    async def asked() -> T:
        async with ServerClient(at) as server:
            return await question(ServedDesk(server))

    try:
        return asyncio.run(asked())
    except ServerUnreachable as error:
        fail(str(error), Exit.UNREACHABLE)
    except ServerSaid as error:
        if error.code == "no_audit":
            note("Without --server the command reads the store of this machine.")
        fail(error.detail)
