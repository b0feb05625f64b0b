"""Users, API tokens and agents, administered. Plain forms; the API does the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from backstay.server.access.depends import Admin, TheAccess, TheServer, TheSettings, Viewer, refuse
from backstay.server.access.model import AccessError
from backstay.server.access.registry import link_path
from backstay.server.access.routes.api import attempt
from backstay.server.access.routes.pages import SEE_OTHER, Text
from backstay.server.access.shell import Access, in_thread
from backstay.server.console.draw import draw
from backstay.server.console.rooms.common import PageNumber
from backstay.server.model import Principal, Role
from backstay.server.problem import Problem
from backstay.server.shell import Server
from backstay.server.views.scene.paging import page_of

router = APIRouter(include_in_schema=False)

JoinsPage = Annotated[int, Query(ge=1, le=1_000_000)]  # of the second table
RoleField = Annotated[Role, Form()]


# --- users -----------------------------------------------------------------------------------------------------------


@router.get("/admin/users")
async def users_page(request: Request, principal: Admin, access: TheAccess) -> Response:
    return await _users(request, access)


@router.post("/admin/users")
async def add_user(
    request: Request,
    principal: Admin,
    access: TheAccess,
    settings: TheSettings,
    name: Text,
    role: RoleField,
    reason: Text,
) -> Response:
    """The answer shows a link by which the new user sets a password, once."""
    registry, who = access.registry, principal.name
    try:
        user = await in_thread(lambda: registry.add_user(name, role, actor=who, reason=reason))
        secret, _ = await in_thread(lambda: registry.make_link(user.name, actor=who, reason=reason))
    except AccessError as error:
        return await _users(request, access, status=422, fault=str(error))
    return await _users(request, access, status=201, made=(user.name, settings.base_url + link_path(secret)))


@router.post("/admin/users/{name}/role")
async def set_role(principal: Admin, access: TheAccess, name: str, role: RoleField, reason: Text) -> Response:
    await attempt(lambda: access.registry.set_role(name, role, actor=principal.name, reason=reason))
    return RedirectResponse("/admin/users", SEE_OTHER)


@router.post("/admin/users/{name}/enabled")
async def set_enabled(
    principal: Admin, access: TheAccess, name: str, enabled: Annotated[bool, Form()], reason: Text
) -> Response:
    await attempt(lambda: access.registry.set_enabled(name, enabled, actor=principal.name, reason=reason))
    return RedirectResponse("/admin/users", SEE_OTHER)


@router.post("/admin/users/{name}/link")
async def make_link(
    request: Request, principal: Admin, access: TheAccess, settings: TheSettings, name: str, reason: Text
) -> Response:
    secret, _ = await attempt(lambda: access.registry.make_link(name, actor=principal.name, reason=reason))
    return await _users(request, access, status=201, made=(name, settings.base_url + link_path(secret)))


async def _users(
    request: Request, access: Access, *, status: int = 200, fault: str = "", made: tuple[str, str] | None = None
) -> Response:
    users = await in_thread(access.registry.people.users)
    return draw(request, "access/users.html", status=status, users=users, roles=list(Role), fault=fault, made=made)


# --- tokens ----------------------------------------------------------------------------------------------------------


@router.get("/tokens")
async def tokens_page(request: Request, principal: Viewer, access: TheAccess) -> Response:
    """One's own; an admin's: everybody's."""
    return await _tokens(request, principal, access)


@router.post("/tokens")
async def create_token(
    request: Request,
    principal: Viewer,
    access: TheAccess,
    name: Text,
    reason: Text,
    role: RoleField = Role.VIEWER,
    days: Annotated[int, Form(ge=1, le=3650)] = 90,
    rooms: Text = "",
) -> Response:
    """The secret is on the page that answers, and never again."""
    if principal.role is None or not principal.role.covers(role):
        detail = f"{principal.name} may not make a token of the role {role}: it would do more than its maker may."
        raise await refuse(request, principal, Problem(403, "role", detail))
    words = rooms.replace(",", " ").split()
    try:
        token, secret = await in_thread(
            lambda: access.registry.create_token(
                name,
                role,
                actor=principal.name,
                reason=reason,
                owner=principal.name,
                rooms=words or None,
                life=timedelta(days=days),
            )
        )
    except AccessError as error:
        return await _tokens(request, principal, access, status=422, fault=str(error))
    return await _tokens(request, principal, access, status=201, made=(token.name, secret))


@router.post("/tokens/{token_id}/revoke")
async def revoke_token(principal: Viewer, access: TheAccess, token_id: str, reason: Text) -> Response:
    owner = None if principal.role is Role.ADMIN else principal.name
    await attempt(lambda: access.registry.revoke_token(token_id, actor=principal.name, reason=reason, owner=owner))
    return RedirectResponse("/tokens", SEE_OTHER)


async def _tokens(
    request: Request,
    principal: Principal,
    access: Access,
    *,
    status: int = 200,
    fault: str = "",
    made: tuple[str, str] | None = None,
) -> Response:
    owner = None if principal.role is Role.ADMIN else principal.name
    tokens = await in_thread(lambda: access.registry.tokens.tokens(owner))
    roles = [role for role in Role if principal.role is not None and principal.role.covers(role)]
    return draw(request, "access/tokens.html", status=status, tokens=tokens, roles=roles, fault=fault, made=made)


# --- agents ----------------------------------------------------------------------------------------------------------


@router.get("/admin/agents")
async def agents_page(
    request: Request,
    principal: Admin,
    access: TheAccess,
    server: TheServer,
    number: PageNumber = 1,
    joins: JoinsPage = 1,
) -> Response:
    return await _agents(request, access, server, number=number, joins=joins)


@router.post("/admin/agents")
async def make_join(
    request: Request, principal: Admin, access: TheAccess, server: TheServer, lb: Text, reason: Text
) -> Response:
    """The answer shows the join token, once."""
    registry = access.registry
    try:
        _, secret = await in_thread(lambda: registry.make_join_token(lb, actor=principal.name, reason=reason))
    except AccessError as error:
        return await _agents(request, access, server, status=422, fault=str(error))
    return await _agents(request, access, server, status=201, made=(lb, secret))


@router.post("/admin/agents/{lb}/revoke")
async def revoke_agent(principal: Admin, access: TheAccess, lb: str, reason: Text, typed: Text) -> Response:
    if typed.strip() != lb:
        raise Problem(422, "typed", f"Type {lb[:63]} to confirm. Nothing was altered.")
    try:
        await access.revoke_agent(lb, principal, reason)
    except AccessError as error:
        raise Problem(404 if error.code == "unknown" else 422, error.code, str(error)) from None
    return RedirectResponse("/admin/agents", SEE_OTHER)


async def _agents(
    request: Request,
    access: Access,
    server: Server,
    *,
    number: int = 1,
    joins: int = 1,
    status: int = 200,
    fault: str = "",
    made: tuple[str, str] | None = None,
) -> Response:
    snapshot = server.snapshot()
    waiting = await in_thread(lambda: access.registry.agents.joins(access.clock()))
    declared = [] if snapshot.estate is None else [lb for tier in snapshot.estate.tiers.values() for lb in tier.members]
    enrolled = {lb for lb, agent in snapshot.agents.items() if agent.revoked_at is None}
    return draw(
        request,
        "access/agents.html",
        status=status,
        found=page_of(sorted(snapshot.agents.values(), key=lambda agent: agent.lb), number, "/admin/agents"),
        waiting=sorted(set(declared) - enrolled),
        joins=page_of(waiting, joins, "/admin/agents", parameter="joins"),
        fault=fault,
        made=made,
    )
