"""Asks every load balancer of a tier at once, and tells one by one what became of it.

Each by its agent, or all by way of the server that they follow (served/): commands do not know which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from backstay.change.rollout import Answer, Reply
from backstay.cli.output import Exit

if TYPE_CHECKING:
    from backstay.change.wire import ChangeRequest, UndoRequest
    from backstay.cli.served.client import ServerClient
    from backstay.cli.served.way import Site
    from backstay.link.views import (
        AppliedView,
        ChangeAnswer,
        ChangeView,
        EventView,
        ExplainView,
        IpExplainView,
        IpView,
        PlanView,
        PoolView,
        ProofView,
        StatusView,
    )

T = TypeVar("T")

EXIT_OF = {
    Reply.DONE: Exit.DONE,
    Reply.REFUSED: Exit.REFUSED,
    Reply.UNREACHABLE: Exit.UNREACHABLE,
    Reply.FAILED: Exit.FAILED,
}


class LoadBalancer(Protocol):
    """What a command asks of one: `agent.client.AgentClient`, or `served.balancer.Served`.

    Every call raises AgentUnreachable, AgentRefused or AgentFailed (agent/client.py).
    """

    lb: str

    async def close(self) -> None: ...
    async def status(self) -> StatusView: ...
    async def pools(self) -> list[PoolView]: ...
    async def pool(self, pool: str) -> PoolView: ...
    async def explain(self, pool: str) -> ExplainView: ...
    async def changes(self) -> list[ChangeView]: ...
    async def proof(self, change_id: str) -> list[ProofView]: ...
    async def put_change(self, request: ChangeRequest, *, dry_run: bool = False) -> ChangeAnswer: ...
    async def undo(self, change_id: str, request: UndoRequest) -> ChangeView: ...
    async def ips(self) -> list[IpView]: ...
    async def ip(self, ip: str) -> IpView: ...
    async def explain_ip(self, ip: str) -> IpExplainView: ...
    async def ip_history(self, ip: str) -> list[EventView]: ...
    async def expect_move(self, ip: str, *, to: str, actor: str, reason: str) -> IpView: ...
    async def move_ip(self, ip: str, *, actor: str, reason: str) -> IpView: ...
    async def rearm_ip(self, ip: str, *, actor: str, reason: str, false_alarm: bool = False) -> IpView: ...
    async def freeze_ip(self, ip: str, *, for_s: float, actor: str, reason: str) -> IpView: ...
    async def plan(self, estate_text: str | None = None) -> PlanView: ...
    async def apply(self, estate_text: str, *, plan: str, actor: str, reason: str = "") -> AppliedView: ...


class Fleet:
    """Some load balancers of a site. Used inside one event loop; closes its connections."""

    def __init__(self, site: Site, lbs: Sequence[str] | None = None) -> None:
        from backstay.agent.client import clients_for

        self._server: ServerClient | None = None
        self._keepers: dict[str, LoadBalancer] = {}
        self.agents: Mapping[str, LoadBalancer] = {}
        if site.server is None:
            self.agents = clients_for(site.estate, folder=site.loaded.folder, lbs=lbs)
        else:
            from backstay.cli.served.balancer import KEEPER, Keeper, Served
            from backstay.cli.served.client import ServerClient
            from backstay.estate.select import load_balancers

            self._server = server = ServerClient(site.server)
            self.agents = {lb: Served(lb, server) for lb in load_balancers(site.estate) if lbs is None or lb in lbs}
            self._keepers = {KEEPER: Keeper(server)}

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(agent.close() for agent in self.agents.values()))
        if self._server is not None:
            await self._server.close()

    @property
    def keepers(self) -> tuple[str, ...]:
        """Who keeps changes beside the load balancers: the server, when there is one. Asked when named alone."""
        return tuple(self._keepers)

    async def ask(
        self, call: Callable[[LoadBalancer], Awaitable[T]], lbs: Sequence[str] | None = None
    ) -> tuple[dict[str, T], list[Answer]]:
        """Call all load balancers (or `lbs`) at once: what those said that did it, and an answer for each, in order."""
        asked = self.agents if lbs is None else {**self.agents, **self._keepers}
        names = [lb for lb in asked if lbs is None or lb in lbs]
        results = await asyncio.gather(*(_ask(asked[lb], call) for lb in names))
        said = {lb: value for lb, (value, answer) in zip(names, results, strict=True) if answer.reply is Reply.DONE}
        return said, [answer for _, answer in results]


async def _ask(agent: LoadBalancer, call: Callable[[LoadBalancer], Awaitable[T]]) -> tuple[Any, Answer]:
    from backstay.agent.client import AgentFailed, AgentRefused, AgentUnreachable

    try:
        return await call(agent), Answer(lb=agent.lb, reply=Reply.DONE)
    except AgentUnreachable as error:
        return None, Answer(lb=agent.lb, reply=Reply.UNREACHABLE, detail=f"{error.what}. {error.next_step}")
    except AgentRefused as error:
        return None, Answer(lb=agent.lb, reply=Reply.REFUSED, detail=error.detail)
    except AgentFailed as error:
        return None, Answer(lb=agent.lb, reply=Reply.FAILED, detail=error.detail)
