"""/api/v1/estate: what is declared. In force, its revisions; a new one: plan, then adopt."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field
from typing_extensions import TypedDict

from backstay.estate import EstateFaults
from backstay.journal.wire import format_time
from backstay.link.wire import ESTATE_LIMIT_CHARS, Digest
from backstay.server.access.answers import once_by_key
from backstay.server.access.depends import Admin, Operator, TheServer, Viewer
from backstay.server.api.common import Body, Key, Limit, Reason
from backstay.server.estates import EstatePlan, EstateStale
from backstay.server.model import EstateRevision
from backstay.server.problem import Problem

FAULTS_SHOWN = 20  # in one detail; a plan has them all
NUMBER_LIMIT = 2**31 - 1

router = APIRouter(prefix="/api/v1", tags=["estate"])

EstateText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=ESTATE_LIMIT_CHARS,
        description="The text of an estate file.",
        examples=["estate: small\nregions: {r: {zones: {z: {}}}}\nnodes: {web1: {zone: z, address: 10.0.0.1}}\n"],
    ),
]


class PlanBody(Body):
    """An estate to look at. Nothing is altered, so that it needs no reason."""

    estate: EstateText


class AdoptBody(Reason):
    estate: EstateText
    against: Digest | None = None
    """`against` of the plan that was agreed to. When another estate was adopted since, this one is refused (409)."""


class RevisionSummary(TypedDict):
    number: int
    sha256: str
    actor: str
    reason: str
    at: str


class RevisionView(RevisionSummary):
    text: str


class RevisionPage(TypedDict):
    items: list[RevisionSummary]  # newest first
    next: int | None


class Adopted(RevisionSummary):
    revision: int  # of what is desired: agents that follow it, or a later one, have the estate


@router.get("/estate", summary="The estate in force.")
async def show_estate(principal: Viewer, server: TheServer) -> RevisionView:
    adopted = server.snapshot().adopted
    if adopted is None:
        raise Problem(404, "no_estate", "This server has no estate yet. Adopt one: POST /api/v1/estate/adopt")
    return RevisionView(**_summary(adopted), text=adopted.text)


@router.get("/estate/revisions", summary="Estates that were adopted, newest first.")
async def list_revisions(
    principal: Viewer,
    server: TheServer,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=1, le=NUMBER_LIMIT, description="`next` of the page before.")] = None,
) -> RevisionPage:
    newest = server.snapshot().adopted
    total = newest.number if newest else 0
    # The store gives the newest ones: of a later page, those before it, too. An estate changes rarely.
    wanted = limit + 1 if after is None else max(0, total - after) + limit + 2
    found = await server.call(server.store.estates, wanted)
    rest = [one for one in found if after is None or one.number < after]
    items = [_summary(one) for one in rest[:limit]]
    return RevisionPage(items=items, next=items[-1]["number"] if len(rest) > limit else None)


@router.get("/estate/revisions/{number}", summary="One of them, with its text.")
async def show_revision(
    principal: Viewer, server: TheServer, number: Annotated[int, Path(ge=1, le=NUMBER_LIMIT)]
) -> RevisionView:
    newest = server.snapshot().adopted
    total = newest.number if newest else 0
    found = await server.call(server.store.estates, max(0, total - number) + 2) if number <= total + 1 else []
    revision = next((one for one in found if one.number == number), None)
    if revision is None:
        raise Problem(404, "unknown", f"There is no estate {number}; the newest is {total}.")
    return RevisionView(**_summary(revision), text=revision.text)


@router.post("/estate/plan", summary="What adopting a text would alter, or every fault of it. Alters nothing.")
async def plan_estate(principal: Operator, server: TheServer, key: Key, body: PlanBody) -> EstatePlan:
    return await server.plan_estate(body.estate)


@router.post("/estate/adopt", status_code=201, summary="Make a text the estate in force. Agents follow at once.")
@once_by_key
async def adopt_estate(principal: Admin, server: TheServer, key: Key, body: AdoptBody) -> Adopted:
    try:
        snapshot = await server.adopt(body.estate, body.against, principal, body.reason)
    except EstateFaults as faults:
        shown = "; ".join(str(fault) for fault in faults.faults[:FAULTS_SHOWN])
        raise Problem(422, "faulty", shown, figures={"faults": len(faults.faults)}) from None
    except EstateStale as error:
        raise Problem(409, "stale_estate", str(error)) from None
    assert snapshot.adopted is not None
    return Adopted(**_summary(snapshot.adopted), revision=snapshot.revision)


def _summary(one: EstateRevision) -> RevisionSummary:
    return RevisionSummary(
        number=one.number, sha256=one.sha256, actor=one.actor, reason=one.reason, at=format_time(one.at)
    )
