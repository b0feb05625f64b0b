"""Asks every agent of a tier at once, and tells load balancer by load balancer what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from backstay.change.rollout import Answer, Reply
from backstay.cli.output import Exit

if TYPE_CHECKING:
    from backstay.agent.client import AgentClient
    from backstay.estate import Loaded

T = TypeVar("T")

EXIT_OF = {
    Reply.DONE: Exit.DONE,
    Reply.REFUSED: Exit.REFUSED,
    Reply.UNREACHABLE: Exit.UNREACHABLE,
    Reply.FAILED: Exit.FAILED,
}


class Fleet:
    """The agents of some load balancers. Used inside one event loop; closes its connections."""

    def __init__(self, loaded: Loaded, lbs: Sequence[str] | None = None) -> None:
        from backstay.agent.client import clients_for

        self.agents: dict[str, AgentClient] = clients_for(loaded.estate, folder=loaded.folder, lbs=lbs)

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(agent.close() for agent in self.agents.values()))

    async def ask(
        self, call: Callable[[AgentClient], Awaitable[T]], lbs: Sequence[str] | None = None
    ) -> tuple[dict[str, T], list[Answer]]:
        """Call all agents (or `lbs`) at once: what those said that did it, and an answer for each, in order."""
        names = list(self.agents) if lbs is None else [lb for lb in self.agents if lb in lbs]
        results = await asyncio.gather(*(_ask(self.agents[lb], call) for lb in names))
        said = {lb: value for lb, (value, answer) in zip(names, results, strict=True) if answer.reply is Reply.DONE}
        return said, [answer for _, answer in results]


async def _ask(agent: AgentClient, call: Callable[[AgentClient], Awaitable[T]]) -> tuple[Any, Answer]:
    from backstay.agent.client import AgentFailed, AgentRefused, AgentUnreachable

    try:
        return await call(agent), Answer(lb=agent.lb, reply=Reply.DONE)
    except AgentUnreachable as error:
        return None, Answer(lb=agent.lb, reply=Reply.UNREACHABLE, detail=f"{error.what}. {error.next_step}")
    except AgentRefused as error:
        return None, Answer(lb=agent.lb, reply=Reply.REFUSED, detail=error.detail)
    except AgentFailed as error:
        return None, Answer(lb=agent.lb, reply=Reply.FAILED, detail=error.detail)
