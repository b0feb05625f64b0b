"""One load balancer by way of its server: reads are its newest report, what is asked for goes to the server once.

The same calls as `agent.client.AgentClient`, with the same answers and errors, so that a command tells load balancer by
load balancer which has followed. What the server put is in force on one when its agent reports so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, cast

from backstay.agent.client import AgentFailed, AgentRefused, AgentUnreachable
from backstay.change.wire import ChangeRequest, UndoRequest
from backstay.cli.served.client import ServerClient, ServerSaid, ServerUnreachable, part
from backstay.journal.mint import new_id
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

KEEPER = "(server)"  # who has what no load balancer was told of
FOLLOW_S = 10.0  # for a change to arrive; goal of the link: 1 s
APPLY_S = 90.0  # for an estate
ORDER_S = 115.0  # for what is done to an address: it is begun within 60 s, or not any more
POLL_S = 0.2


class Served:
    """One load balancer. Raises AgentUnreachable, AgentRefused and AgentFailed, as its agent's client does."""

    def __init__(self, lb: str, server: ServerClient) -> None:
        self.lb = lb
        self._server = server

    async def close(self) -> None:
        """The client is shared: who made it closes it."""

    # --- what is ----------------------------------------------------------------------------------------------------

    async def status(self) -> StatusView:
        return cast(StatusView, (await self._report())["status"])

    async def pools(self) -> list[PoolView]:
        return cast(list[PoolView], (await self._report())["pools"])

    async def pool(self, pool: str) -> PoolView:
        return cast(PoolView, self._named(await self._report(), "pools", "pool", pool))

    async def explain(self, pool: str) -> ExplainView:
        return cast(ExplainView, self._named(await self._report(), "explains", "pool", pool))

    async def changes(self) -> list[ChangeView]:
        return cast(list[ChangeView], (await self._report())["changes"])

    async def proof(self, change_id: str) -> list[ProofView]:
        return [cast(ProofView, one) for one in (await self._report())["proofs"] if one["change"] == change_id]

    async def ips(self) -> list[IpView]:
        return [_ip_view(one) for one in (await self._report())["ips"]]

    async def ip(self, ip: str) -> IpView:
        return _ip_view(await self.explain_ip(ip))

    async def explain_ip(self, ip: str) -> IpExplainView:
        return cast(IpExplainView, self._named(await self._report(), "ips", "ip", ip))

    async def ip_history(self, ip: str) -> list[EventView]:
        """All that is known of the address: the server has every candidate's events."""
        keys = EventView.__annotations__
        found = await self._ask(self._server.fresh(f"/ips/{ip}/history?limit=500"))
        return [cast(EventView, {key: event[key] for key in keys}) for event in reversed(found["items"])]

    # --- changes ----------------------------------------------------------------------------------------------------

    async def put_change(self, request: ChangeRequest, *, dry_run: bool = False) -> ChangeAnswer:
        """Put it at the server, and wait until this load balancer has it in force (or refuses it)."""
        await self._agent()
        if dry_run:
            weighed = await self._once(f"weigh {request.id}", lambda: self._put(request, new_id(), dry_run=True))
            change, verdict = weighed["changes"][0], weighed["nodes"][0]["verdict"]
            return ChangeAnswer(lb=self.lb, change=_change_view(change), verdict=verdict, dry_run=True)
        put = await self._once(f"put {request.id}", lambda: self._put_unless_there(request))
        await self._arrival(request.id, "in force")
        return ChangeAnswer(
            lb=self.lb, change=_change_view(put), verdict={"allowed": True, "code": "allowed"}, dry_run=False
        )

    async def _put_unless_there(self, request: ChangeRequest) -> Any:
        """A change that is known is put already: it only has to arrive."""
        try:
            return await self._server.get(f"/changes/{request.id}")
        except ServerSaid as error:
            if error.status != 404:
                raise
        return (await self._put(request, request.id, dry_run=False))["changes"][0]

    async def _put(self, request: ChangeRequest, key: str, *, dry_run: bool) -> Any:
        asked = request.model_dump(mode="json", include={"kind", "pool", "factor", "reason", "duration_s", "forced"})
        body = asked | {"selector": f"node/{request.node}", "dry_run": dry_run}
        return await self._server.post("/changes", body, key)

    async def undo(self, change_id: str, request: UndoRequest) -> ChangeView:
        ended = await self._once(f"undo {change_id}", lambda: undo_at(self._server, change_id, request))
        await self._arrival(change_id, "ended")
        return ended

    async def _arrival(self, change_id: str, wanted: str) -> None:
        """Until the change is `wanted` here. One that has nothing to do with this load balancer has arrived."""

        async def look() -> bool:
            shown = await self._ask(self._server.fresh(f"/changes/{part(change_id)}"))
            mine = next((one for one in shown["load_balancers"] if one["lb"] == self.lb), None)
            word = wanted if mine is None else mine["standing"]["word"]
            if mine is not None and word == "refused":
                raise AgentRefused(self.lb, "refused", mine["why"], {})
            if mine is not None and word == "not heard":
                self._silent(mine["why"])
            return bool(word == wanted)

        if not await _until(look, FOLLOW_S):
            self._silent(f"it has not followed within {FOLLOW_S:g} s", f"See: backstay changes show {change_id}")

    # --- global IPs -------------------------------------------------------------------------------------------------

    async def expect_move(self, ip: str, *, to: str, actor: str, reason: str) -> IpView:
        """The server tells those who lose it first, and then moves it: this is its word to us, and our answer."""
        given = await self._move(ip, to, reason)
        mine = next((one for one in given["items"] if one["lb"] == self.lb and one["kind"] == "expect"), None)
        if mine is not None:
            self._outcome(mine)
        return await self.ip(ip)

    async def move_ip(self, ip: str, *, actor: str, reason: str) -> IpView:
        await self._agent()
        return await self._carried_out(ip, "move", await self._move(ip, self.lb, reason))

    async def rearm_ip(self, ip: str, *, actor: str, reason: str, false_alarm: bool = False) -> IpView:
        await self._agent()
        body = {"lb": self.lb, "reason": reason, "false_alarm": false_alarm}
        given = await self._ask(self._server.post(f"/ips/{ip}/rearm", body, new_id()))
        return await self._carried_out(ip, "rearm", given)

    async def freeze_ip(self, ip: str, *, for_s: float, actor: str, reason: str) -> IpView:
        await self._agent()
        body = {"for_s": for_s, "reason": reason}
        given = await self._once(f"freeze {ip}", lambda: self._server.post(f"/ips/{ip}/freeze", body, new_id()))
        return await self._carried_out(ip, "freeze", given)

    async def _move(self, ip: str, to: str, reason: str) -> Any:
        body = {"to": to, "reason": reason}
        return await self._once(f"move {ip}", lambda: self._server.post(f"/ips/{ip}/move", body, new_id()))

    async def _carried_out(self, ip: str, kind: str, given: Mapping[str, Any]) -> IpView:
        """Until this load balancer has said what became of its order."""
        mine = next(one for one in given["items"] if one["lb"] == self.lb and one["kind"] == kind)
        newest: dict[str, Any] = mine

        async def look() -> bool:
            nonlocal newest
            found = await self._ask(self._server.fresh(f"/ips/{ip}/orders?limit=500"))
            newest = next((one for one in found["items"] if one["id"] == mine["id"]), mine)
            return newest["done"] is not None

        await _until(look, ORDER_S)
        self._outcome(newest)
        self._server.forget()
        return await self.ip(ip)

    def _outcome(self, order: Mapping[str, Any]) -> None:
        if order["done"] is None:
            self._silent(f"it has not said what became of the {order['kind']}", f"See: backstay ip show {order['ip']}")
        if not order["done"]:
            raise AgentRefused(self.lb, "refused", order["detail"], {})

    # --- the estate -------------------------------------------------------------------------------------------------

    async def plan(self, estate_text: str | None = None) -> PlanView:
        """What the server would have every load balancer follow. How an agent carries it out is the agent's to say."""
        status = await self.status()
        text = estate_text if estate_text is not None else (await self._ask(self._server.fresh("/estate")))["text"]
        body = {"estate": text}
        planned = await self._once("plan", lambda: self._server.post("/estate/plan", body, new_id()))
        if planned["faults"]:
            raise AgentFailed(self.lb, 422, "\n".join(planned["faults"]))
        same = planned["sha256"] == planned["against"]
        return PlanView(
            lb=self.lb,
            digest=f"{planned['against'] or 'none'}-{planned['sha256']}",
            in_sync=same and status["in_sync"],
            how="nothing" if same else "by the server",
            expected_resets=None,
            words=[*planned["words"], *(f"warning: {words}" for words in planned["warnings"])],
            diff="",
        )

    async def apply(self, estate_text: str, *, plan: str, actor: str, reason: str = "") -> AppliedView:
        against, _, _ = plan.partition("-")
        body: dict[str, Any] = {"estate": estate_text, "reason": reason or "backstay apply"}
        if against != "none":
            body["against"] = against
        loop = asyncio.get_running_loop()
        began = loop.time()
        adopted = await self._once("adopt", lambda: self._server.post("/estate/adopt", body, new_id()))

        async def look() -> bool:
            report = await self._report()
            return int(report["revision"]) >= adopted["revision"] and (
                report["status"]["in_sync"] or report["status"]["error"] is not None
            )

        if not await _until(look, APPLY_S):
            self._silent(f"it has not followed within {APPLY_S:g} s", "See: backstay status")
        status = await self.status()
        if status["error"]:
            raise AgentFailed(self.lb, 500, status["error"])
        return AppliedView(
            lb=self.lb,
            revision=status["revision"] or "",
            how=status["how"] or "nothing",
            expected_resets=None,
            took_s=round(loop.time() - began, 2),
            detail=f"estate {adopted['number']}",
        )

    # --- the server -------------------------------------------------------------------------------------------------

    async def _agent(self) -> dict[str, Any]:
        """What the server knows of this agent, when it is there."""
        agent = cast(dict[str, Any], await self._ask(self._server.fresh(f"/agents/{self.lb}"), missing="not enrolled"))
        if not agent["connected"]:
            seen = "never" if agent["seen_at"] is None else f"at {agent['seen_at'][:19]} the last time"
            self._silent(f"its agent is not connected to the server, heard {seen}")
        return agent

    async def _report(self) -> dict[str, Any]:
        report = (await self._agent())["report"]
        if report is None:
            self._silent("its agent has not reported yet", "Try again in some seconds.")
        return cast(dict[str, Any], report)

    def _silent(self, what: str, next_step: str = "It follows by itself when it is back.") -> NoReturn:
        raise AgentUnreachable(self.lb, what, next_step)

    def _named(self, report: Mapping[str, Any], part: str, key: str, name: str) -> Any:
        found = next((one for one in report[part] if one[key] == name), None)
        if found is None:
            raise AgentFailed(self.lb, 404, f"it tells of no {key} {name}")
        return found

    async def _once(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        return await self._ask(self._server.once(name, work))

    async def _ask(self, asking: Awaitable[T], *, missing: str = "") -> T:
        try:
            return await asking
        except ServerUnreachable as error:
            raise AgentUnreachable(self.lb, error.what, error.next_step) from error
        except ServerSaid as error:
            if missing and error.status == 404:
                self._silent(f"{missing} with the server", f"Enrol it: backstay token join {self.lb}")
            if error.status == 409:
                raise AgentRefused(self.lb, error.code, error.detail, error.figures) from error
            raise AgentFailed(self.lb, error.status, error.detail, error.code) from error


class Keeper(Served):
    """The server itself: what it keeps that no load balancer was told of (parameters), or has not followed yet."""

    def __init__(self, server: ServerClient) -> None:
        super().__init__(KEEPER, server)

    async def changes(self) -> list[ChangeView]:
        """Oldest first."""

        async def both() -> list[Any]:
            over = await self._server.get("/changes", {"ended": "true", "limit": "500"})
            return [*reversed(over["items"]), *await self._server.items("/changes")]

        return [_change_view(one) for one in await self._once("changes", both)]

    async def proof(self, change_id: str) -> list[ProofView]:
        return []

    async def undo(self, change_id: str, request: UndoRequest) -> ChangeView:
        return await self._once(f"undo {change_id}", lambda: undo_at(self._server, change_id, request))


async def undo_at(server: ServerClient, change_id: str, request: UndoRequest) -> ChangeView:
    """End it at the server."""
    try:
        ended = await server.post(f"/changes/{part(change_id)}/undo", {"reason": request.reason}, new_id())
    except ServerSaid as error:
        if error.status != 404:
            raise
        told = f"{error.detail} Was it put at the load balancers themselves? Then undo it there: without --server"
        raise ServerSaid(404, error.code, told, error.figures) from error
    return _change_view(ended["items"][0])


def _change_view(change: Mapping[str, Any]) -> ChangeView:
    """A change of the server's, as an agent tells of one."""
    expires, ended = change["expires_at"], change["ended"]
    left = None
    if expires is not None and ended is None:
        left = round(max(0.0, (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()), 3)
    view = ChangeView(
        id=change["id"],
        kind=change["kind"],
        node=change["node"],
        pool=change["pool"],
        factor=change["factor"],
        actor=change["actor"],
        reason=change["reason"],
        created_at=change["created_at"],
        forced=change["forced"],
        remaining_s=left,
        expires_at=None if ended is not None else expires,
    )
    if change["parameter"] is not None:
        view["parameter"], view["value"] = change["parameter"], change["value"]
    if ended is not None:
        view["ended"] = ended
    return view


def _ip_view(explained: Mapping[str, Any]) -> IpView:
    """An address without the evidence."""
    return cast(IpView, {key: explained[key] for key in IpView.__annotations__ if key in explained})


async def _until(look: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Look until it is so; False at the end of the time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while not await look():
        if loop.time() + POLL_S > end:
            return False
        await asyncio.sleep(POLL_S)
    return True
