"""/api/v1/agents: what agents ask of the server and tell it; what people see of them; revoking one.

An agent's own routes are below the name of its load balancer and take its credential alone. docs/link.md tells how they
are used. Join tokens are access's (/api/v1/join-tokens).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from backstay.change.wire import Line
from backstay.estate.select import load_balancers
from backstay.journal.wire import format_time
from backstay.link.fingerprint import fingerprint_of
from backstay.link.wire import WAIT_LIMIT_S, Delivered, Delivery, Enrol, Enrolled, Renewed, Report, Reported
from backstay.server.access.depends import (
    Admin,
    AgentOf,
    Anybody,
    TheAccess,
    TheServer,
    TheSettings,
    Viewer,
    address_of,
    refuse,
    who_now,
)
from backstay.server.access.model import AccessError
from backstay.server.access.shell import in_thread
from backstay.server.certificates import AuthorityFiles
from backstay.server.model import AgentRecord, Snapshot
from backstay.server.problem import Problem
from backstay.server.settings import Settings
from backstay.server.shell import AgentUnknown, Server

PAGE_LIMIT = 500

router = APIRouter(prefix="/api/v1", tags=["agents"])

Lb = Annotated[str, Path(max_length=63, description="The load balancer, as the estate names it.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many at most.")]
After = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]


class Revocation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    reason: Line


class AuthorityView(TypedDict):
    certificate: str  # PEM
    fingerprint: str  # "sha256:HEX"


class AgentSummary(TypedDict):
    lb: str
    enrolled_at: str
    revoked_at: str | None
    seen_at: str | None  # by the server's clock
    connected: bool
    revision: int | None  # that it followed last; None: it has not reported yet
    behind: int | None  # revisions
    in_sync: bool | None  # its engine runs what it desires
    error: str  # why it does not follow the newest revision
    refusals: int  # changes that are not in force there
    version: str | None


class AgentPage(TypedDict):
    items: list[AgentSummary]
    next: str | None


class AgentDetail(AgentSummary):
    report: dict[str, Any] | None  # the newest, as the agent told it


# --- for anybody -----------------------------------------------------------------------------------------------------


@router.get("/authority", summary="The authority that vouches for this server. Check its fingerprint by another way.")
async def authority(principal: Anybody, settings: TheSettings) -> AuthorityView:
    pem = await in_thread(lambda: _own_authority(settings))
    if pem is None:
        raise Problem(404, "no_authority", "This server has the operator's own certificates. Take their CA from them.")
    return AuthorityView(certificate=pem, fingerprint=fingerprint_of(pem))


@router.post("/agents/{lb}/enrol", status_code=201, summary="Spend a join token for an agent's own credential.")
async def enrol(
    principal: Anybody, request: Request, server: TheServer, access: TheAccess, lb: Lb, body: Enrol
) -> Enrolled:
    estate = server.snapshot().estate
    if body.lb != lb:
        raise Problem(422, "invalid", f"The path names {lb}, and the body {body.lb}.")
    if estate is None:
        raise Problem(409, "no_estate", "This server has no estate yet. Adopt one first: backstay apply --server")
    if lb not in load_balancers(estate):
        known = ", ".join(load_balancers(estate)[:20]) or "none"
        raise Problem(404, "unknown", f"{lb} is no load balancer of {estate.estate}. There are: {known}.")
    credential = await access.enrol(lb, body.join_token, address_of(request))
    if credential is None:
        detail = (
            f"This join token is not good for {lb}: spent, expired, or another's. Make one: backstay server join-token"
        )
        raise await refuse(request, None, Problem(403, "join_token", detail))
    await server.refresh()
    return Enrolled(server=server.snapshot().server, estate=estate.estate, lb=lb, credential=credential)


# --- for the agent itself --------------------------------------------------------------------------------------------


@router.get(
    "/agents/{lb}/desired",
    summary="What the server wants of this load balancer: a long poll.",
    responses={204: {"description": "Nothing else than what the agent has."}},
)
async def desired(
    request: Request,
    principal: AgentOf,
    server: TheServer,
    lb: Lb,
    after: Annotated[int, Query(ge=-1, description="The revision that is known; -1: none.")] = -1,
    have: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="The estate that is known.")] = None,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_LIMIT_S, allow_inf_nan=False)] = 0.0,
) -> Response:
    word = await server.desired_for(lb, have, after, wait_s)
    if word is not None and await who_now(request) is None:  # revoked while it waited here
        raise await refuse(request, principal, Problem(401, "token", f"The agent of {lb} was revoked."))
    return Response(status_code=204) if word is None else Response(word, media_type="application/json")


@router.post("/agents/{lb}/report", summary="How this load balancer stands. The newest replaces the one before it.")
async def report(principal: AgentOf, server: TheServer, lb: Lb, body: Report) -> Reported:
    try:
        return await server.report(lb, body)
    except AgentUnknown as error:
        raise Problem(403, "agent", str(error)) from None
    except ValueError as error:
        raise Problem(422, "invalid", str(error)) from None


@router.post("/agents/{lb}/events", summary="Events out of the agent's spool. Each is stored once.")
async def events(principal: AgentOf, server: TheServer, lb: Lb, body: Delivery) -> Delivered:
    return await server.deliver(lb, body.events)


@router.post(
    "/agents/{lb}/credential", summary="Another credential. The one before is good until this one is first used."
)
async def credential(principal: AgentOf, access: TheAccess, lb: Lb) -> Renewed:
    return Renewed(credential=await access.rotate(lb))


# --- for people ------------------------------------------------------------------------------------------------------


@router.get("/agents", summary="The agents, by load balancer.")
async def list_agents(principal: Viewer, server: TheServer, limit: Limit = 100, after: After = None) -> AgentPage:
    snapshot, now = server.snapshot(), server.now()
    rest = [agent for lb, agent in sorted(snapshot.agents.items()) if after is None or lb > after]
    items = [_summary(agent, snapshot, now) for agent in rest[:limit]]
    return AgentPage(items=items, next=items[-1]["lb"] if len(rest) > limit else None)


@router.get("/agents/{lb}", summary="One agent with its newest report.")
async def one_agent(principal: Viewer, server: TheServer, lb: Lb) -> AgentDetail:
    snapshot = server.snapshot()
    agent = _known(snapshot, lb)
    report = agent.report.model_dump(mode="json") if agent.report is not None else None
    return AgentDetail(**_summary(agent, snapshot, server.now()), report=report)


@router.post("/agents/{lb}/revoke", summary="Take its credential back: it goes on alone with what it was told last.")
async def revoke(principal: Admin, server: TheServer, access: TheAccess, lb: Lb, body: Revocation) -> AgentSummary:
    try:
        await access.revoke_agent(lb, principal, body.reason)
    except AccessError as error:
        raise Problem(404, error.code, str(error)) from None
    return await _summary_of(server, lb)


# --- views -----------------------------------------------------------------------------------------------------------


async def _summary_of(server: Server, lb: str) -> AgentSummary:
    await server.refresh()
    snapshot = server.snapshot()
    return _summary(_known(snapshot, lb), snapshot, server.now())


def _known(snapshot: Snapshot, lb: str) -> AgentRecord:
    agent = snapshot.agents.get(lb)
    if agent is None:
        known = ", ".join(sorted(snapshot.agents)[:20]) or "none"
        raise Problem(404, "unknown", f"No agent of {lb} is enrolled. There are: {known}.")
    return agent


def _summary(agent: AgentRecord, snapshot: Snapshot, now: datetime) -> AgentSummary:
    report = agent.report
    status = cast(dict[str, Any], report.status if report is not None else {})
    return AgentSummary(
        lb=agent.lb,
        enrolled_at=format_time(agent.enrolled_at),
        revoked_at=_time(agent.revoked_at),
        seen_at=_time(agent.seen_at),
        connected=agent.connected(now),
        revision=None if report is None else report.revision,
        behind=None if report is None else snapshot.revision - report.revision,
        in_sync=status.get("in_sync"),
        error="" if report is None else report.error,
        refusals=0 if report is None else len(report.refusals),
        version=(status.get("agent") or {}).get("version"),
    )


def _time(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)


def _own_authority(settings: Settings) -> str | None:
    """PEM of the authority that `backstay server init` made; None when the server's certificate is not of it."""
    files = AuthorityFiles(folder=settings.state_dir / "tls")
    if settings.tls is None or settings.tls.certificate.resolve() != files.certificate.resolve():
        return None
    try:
        return files.ca.read_text(encoding="ascii")
    except OSError:
        return None
