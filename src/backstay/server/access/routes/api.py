"""/api/v1: me, users, tokens and join tokens. Reading and altering; pages are pages.py and admin.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, NotRequired, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from backstay.change.wire import Line
from backstay.journal.wire import format_time
from backstay.server.access.depends import Admin, TellsSecret, TheAccess, TheSettings, Viewer, refuse
from backstay.server.access.model import AccessError, ApiToken, JoinToken, User
from backstay.server.access.registry import link_path
from backstay.server.access.shell import in_thread
from backstay.server.model import PrincipalKind, Role
from backstay.server.problem import Problem

T = TypeVar("T")

PAGE_LIMIT = 500
LIFE_LIMIT_S = 3660 * 86_400

router = APIRouter(prefix="/api/v1", tags=["access"])

NameText = Annotated[str, StringConstraints(min_length=1, max_length=64)]
PasswordText = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many at most.")]
After = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NewUser(_Body):
    name: NameText
    role: Role
    reason: Line


class AlteredUser(_Body):
    """What is absent stays."""

    role: Role | None = None
    enabled: bool | None = None
    reason: Line


class Reason(_Body):
    reason: Line


class NewToken(_Body):
    name: NameText
    role: Role = Role.VIEWER
    rooms: Annotated[list[NameText], Field(min_length=1, max_length=30)] | None = None
    """First words below /api/v1/; absent: all."""
    lasts_s: Annotated[float, Field(gt=0, le=LIFE_LIMIT_S, allow_inf_nan=False)] | None = None
    """Absent: until it is revoked."""
    machine: bool = False
    """Not yours but a machine's: it outlives you. For admins."""
    reason: Line


class NewJoin(_Body):
    lb: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    reason: Line


class MeView(TypedDict):
    name: str
    kind: str
    role: str | None
    rooms: list[str] | None


class UserView(TypedDict):
    name: str
    role: str
    enabled: bool
    has_password: bool
    issuer: str | None
    created_at: str
    last_login: str | None
    link: NotRequired[LinkView]  # of a user that was just made


class LinkView(TypedDict):
    url: str
    expires_at: str


class TokenView(TypedDict):
    id: str
    name: str
    role: str
    rooms: list[str] | None
    owner: str | None
    created_at: str
    expires_at: str | None
    last_used: str | None
    revoked_at: str | None
    secret: NotRequired[str]  # of a token that was just made; never again


class JoinView(TypedDict):
    id: str
    lb: str
    created_by: str
    created_at: str
    expires_at: str
    secret: NotRequired[str]


class UserPage(TypedDict):
    items: list[UserView]
    next: str | None


class TokenPage(TypedDict):
    items: list[TokenView]
    next: str | None


class JoinPage(TypedDict):
    items: list[JoinView]
    next: str | None


# --- who asks --------------------------------------------------------------------------------------------------------


@router.get("/me", summary="Who you are, and what you may.")
async def me(principal: Viewer) -> MeView:
    return MeView(
        name=principal.name,
        kind=principal.kind.value,
        role=None if principal.role is None else principal.role.value,
        rooms=None if principal.rooms is None else sorted(principal.rooms),
    )


# --- users -----------------------------------------------------------------------------------------------------------


@router.get("/users", summary="Users, by name.")
async def list_users(principal: Admin, access: TheAccess, limit: Limit = 100, after: After = None) -> UserPage:
    users = await in_thread(access.registry.people.users)
    rest = [user for user in users if after is None or user.name > after]
    items = [user_view(user) for user in rest[:limit]]
    return UserPage(items=items, next=items[-1]["name"] if len(rest) > limit else None)


@router.post(
    "/users",
    status_code=201,
    dependencies=[TellsSecret],
    summary="Add a user; the answer has a one-time link to set a password.",
)
async def add_user(principal: Admin, access: TheAccess, settings: TheSettings, body: NewUser) -> UserView:
    registry, who = access.registry, principal.name
    user = await attempt(lambda: registry.add_user(body.name, body.role, actor=who, reason=body.reason))
    secret, expires_at = await attempt(lambda: registry.make_link(user.name, actor=who, reason=body.reason))
    view = user_view(user)
    view["link"] = LinkView(url=settings.base_url + link_path(secret), expires_at=format_time(expires_at))
    return view


@router.patch("/users/{name}", summary="Alter a user's role, or disable them.")
async def alter_user(principal: Admin, access: TheAccess, name: NameText, body: AlteredUser) -> UserView:
    registry, who, reason = access.registry, principal.name, body.reason
    if body.role is not None:
        role = body.role
        await attempt(lambda: registry.set_role(name, role, actor=who, reason=reason))
    if body.enabled is not None:
        enabled = body.enabled
        await attempt(lambda: registry.set_enabled(name, enabled, actor=who, reason=reason))
    user = await in_thread(lambda: registry.people.user(name))
    if user is None:
        raise Problem(404, "unknown", f"There is no user {name[:64]}.")
    return user_view(user)


@router.post(
    "/users/{name}/link",
    status_code=201,
    dependencies=[TellsSecret],
    summary="A one-time link by which this user sets a password.",
)
async def make_link(
    principal: Admin, access: TheAccess, settings: TheSettings, name: NameText, body: Reason
) -> LinkView:
    made = await attempt(lambda: access.registry.make_link(name, actor=principal.name, reason=body.reason))
    return LinkView(url=settings.base_url + link_path(made[0]), expires_at=format_time(made[1]))


@router.post("/users/{name}/logout", status_code=204, summary="End all sessions of this user.")
async def end_sessions(principal: Admin, access: TheAccess, name: NameText, body: Reason) -> None:
    await attempt(lambda: access.registry.end_sessions(name, actor=principal.name, reason=body.reason))


# --- tokens ----------------------------------------------------------------------------------------------------------


@router.get("/tokens", summary="Your API tokens; an admin's: everybody's. Newest first.")
async def list_tokens(principal: Viewer, access: TheAccess, limit: Limit = 100, after: After = None) -> TokenPage:
    owner = None if principal.role is Role.ADMIN else principal.name
    tokens = await in_thread(lambda: access.registry.tokens.tokens(owner))
    rest = [token for token in tokens if after is None or token.id < after]
    items = [token_view(token) for token in rest[:limit]]
    return TokenPage(items=items, next=items[-1]["id"] if len(rest) > limit else None)


@router.post(
    "/tokens",
    status_code=201,
    dependencies=[TellsSecret],
    summary="Make an API token; the answer has its secret, once.",
)
async def create_token(request: Request, principal: Viewer, access: TheAccess, body: NewToken) -> TokenView:
    if principal.kind is not PrincipalKind.USER:
        detail = "A token makes no tokens. Log in, or use the command line on the server."
        raise await refuse(request, principal, Problem(403, "token", detail))
    if principal.role is None or not principal.role.covers(Role.ADMIN if body.machine else body.role):
        detail = f"{principal.name} may not make such a token: it would do more than its maker may."
        raise await refuse(request, principal, Problem(403, "role", detail))
    token, secret = await attempt(
        lambda: access.registry.create_token(
            body.name,
            body.role,
            actor=principal.name,
            reason=body.reason,
            owner=None if body.machine else principal.name,
            rooms=body.rooms,
            life=None if body.lasts_s is None else timedelta(seconds=body.lasts_s),
        )
    )
    view = token_view(token)
    view["secret"] = secret
    return view


@router.delete("/tokens/{token_id}", status_code=204, summary="Revoke a token: yours, or as an admin anybody's.")
async def revoke_token(principal: Viewer, access: TheAccess, token_id: NameText, reason: Line) -> None:
    owner = None if principal.role is Role.ADMIN else principal.name
    await attempt(lambda: access.registry.revoke_token(token_id, actor=principal.name, reason=reason, owner=owner))


# --- join tokens -----------------------------------------------------------------------------------------------------


@router.get("/join-tokens", summary="Join tokens that wait for their agent. Newest first.")
async def list_joins(principal: Admin, access: TheAccess, limit: Limit = 100, after: After = None) -> JoinPage:
    joins = await in_thread(lambda: access.registry.agents.joins(access.clock()))
    rest = [join for join in joins if after is None or join.id < after]
    items = [join_view(join) for join in rest[:limit]]
    return JoinPage(items=items, next=items[-1]["id"] if len(rest) > limit else None)


@router.post(
    "/join-tokens",
    status_code=201,
    dependencies=[TellsSecret],
    summary="Let the agent of one load balancer enrol, once.",
)
async def make_join(principal: Admin, access: TheAccess, body: NewJoin) -> JoinView:
    join, secret = await attempt(
        lambda: access.registry.make_join_token(body.lb, actor=principal.name, reason=body.reason)
    )
    view = join_view(join)
    view["secret"] = secret
    return view


# --- views -----------------------------------------------------------------------------------------------------------

_STATUS = {"unknown": 404, "taken": 409, "last_admin": 409}


async def attempt(work: Callable[[], T]) -> T:
    """In a thread; what cannot be is a Problem."""
    try:
        return await in_thread(work)
    except AccessError as error:
        raise Problem(_STATUS.get(error.code, 422), error.code, str(error)) from None


def user_view(user: User) -> UserView:
    return UserView(
        name=user.name,
        role=user.role.value,
        enabled=user.enabled,
        has_password=user.has_password,
        issuer=user.issuer,
        created_at=format_time(user.created_at),
        last_login=_time(user.last_login),
    )


def token_view(token: ApiToken) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        role=token.role.value,
        rooms=None if token.rooms is None else sorted(token.rooms),
        owner=token.owner,
        created_at=format_time(token.created_at),
        expires_at=_time(token.expires_at),
        last_used=_time(token.last_used),
        revoked_at=_time(token.revoked_at),
    )


def join_view(join: JoinToken) -> JoinView:
    return JoinView(
        id=join.id,
        lb=join.lb,
        created_by=join.created_by,
        created_at=format_time(join.created_at),
        expires_at=format_time(join.expires_at),
    )


def _time(time: Any) -> str | None:
    return None if time is None else format_time(time)
