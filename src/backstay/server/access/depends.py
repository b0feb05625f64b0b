"""Who asks, and may they? What every router writes beside its handlers.

    @router.get("/api/v1/changes")
    async def changes(principal: Viewer, server: TheServer) -> ...

`Viewer`, `Operator`, `Admin`: a person or a token of at least that role. `AgentOf`: the agent of the path's {lb}.
`Anybody`: public; None when nobody is known. A route without one of them fails tests/unit/server/test_routes.py.

They see to the rest as well: the CSRF token of what comes with a session's cookie, the rooms that a token is limited
to, the Idempotency-Key of the API's mutations, and the journal's line of every refusal.
"""

from __future__ import annotations

import hashlib
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from backstay.server.access.answers import Claim, require_key
from backstay.server.access.shell import Access
from backstay.server.access.tokens import CSRF_FIELD, CSRF_HEADER, csrf_of, same, session_secret
from backstay.server.model import Principal, PrincipalKind, Role
from backstay.server.problem import Problem, route_of
from backstay.server.settings import Settings
from backstay.server.shell import Server

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
API = "/api/v1/"
TOKEN_PATHS = (API, "/metrics")
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def _server(request: Request) -> Server:
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


def _settings(request: Request) -> Settings:
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


def _access(request: Request) -> Access:
    access = request.app.state.access
    assert isinstance(access, Access)
    return access


# FastAPI runs what is not async in a thread, for every request: a thousand agents would wait for their turns there.
async def _the_server(request: Request) -> Server:
    return _server(request)


async def _the_settings(request: Request) -> Settings:
    return _settings(request)


async def _the_access(request: Request) -> Access:
    return _access(request)


TheServer = Annotated[Server, Depends(_the_server)]
TheSettings = Annotated[Settings, Depends(_the_settings)]
TheAccess = Annotated[Access, Depends(_the_access)]


async def _asked_id(request: Request) -> str:
    """Of what is asked for: the same for a repetition, another for anybody else who uses the same key."""
    claim: Claim = request.state.claim
    return hashlib.sha256(f"{claim.principal}/{claim.key}".encode()).hexdigest()[:32]


async def _tells_secret(request: Request) -> None:
    request.state.tells_secret = True


TellsSecret = Depends(_tells_secret)  # its answer has a secret, told once: it is never kept for a repetition

AskedId = Annotated[str, Depends(_asked_id)]  # after Viewer, Operator or Admin, in a mutation below /api/v1/


async def who(request: Request) -> Principal | None:
    """Who asks; None: nobody that is known (anymore). A bearer stands above a cookie."""
    if not hasattr(request.state, "principal"):
        request.state.principal = await _find(request)
    found: Principal | None = request.state.principal
    return found


async def who_now(request: Request) -> Principal | None:
    """Asked anew, for what lasts longer than its request: a stream. It does not count as a use of the session."""
    return await _find(request, by_itself=True)


async def _find(request: Request, *, by_itself: bool = False) -> Principal | None:
    access = _access(request)
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await access.by_bearer(credentials.strip())
    secret = session_secret(request)
    if secret is None:
        return None
    return await access.by_session(secret, by_itself=by_itself or refreshes_itself(request))


def refreshes_itself(request: Request) -> bool:
    """Does an open page ask for its live part again? A tab that nobody looks at must not keep its session alive."""
    headers = request.headers
    return headers.get("HX-Request") == "true" and headers.get("HX-Source", "").endswith("#live")


class Require:
    """A person or a token of at least `role`."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Principal:
        principal = await who(request)
        if principal is None:
            raise await refuse(request, None, _unknown(request))
        if principal.role is None or not principal.role.covers(self.role):
            detail = f"{principal.name} may not: it needs the role {self.role}. An admin gives it: backstay user role"
            raise await refuse(request, principal, Problem(403, "role", detail))
        if principal.kind is PrincipalKind.TOKEN:
            await _check_rooms(request, principal)
        if request.method not in SAFE_METHODS:
            await check_origin(request)
            if principal.session is not None:
                await _check_csrf(request, principal)
            if request.url.path.startswith(API):
                await require_key(request, principal)
        return principal


class AgentOfPath:
    """The agent of the load balancer that the path names as {lb}."""

    async def __call__(self, request: Request) -> Principal:
        principal = await who(request)
        if principal is None:
            raise await refuse(request, None, _unknown(request))
        lb = request.path_params["lb"]
        if principal.kind is not PrincipalKind.AGENT or principal.lb != lb:
            detail = f"{principal.name} does not speak for {lb}: its own agent alone does. See backstay agent enrol"
            raise await refuse(request, principal, Problem(403, "agent", detail))
        return principal


class Public:
    """Nobody needs to be known. What alters something must not come from another site all the same."""

    async def __call__(self, request: Request) -> Principal | None:
        principal = await who(request)
        if request.method not in SAFE_METHODS:
            await check_origin(request)
        return principal


Viewer = Annotated[Principal, Depends(Require(Role.VIEWER))]
Operator = Annotated[Principal, Depends(Require(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(Require(Role.ADMIN))]
AgentOf = Annotated[Principal, Depends(AgentOfPath())]
Anybody = Annotated[Principal | None, Depends(Public())]


async def refuse(request: Request, principal: Principal | None, problem: Problem) -> Problem:
    """Journal that `principal` (None: nobody known) was refused; the problem to raise."""
    await _access(request).refused(
        who=principal.name if principal is not None else "nobody",
        what=f"{request.method} {route_of(request.scope)}",
        code=problem.code or str(problem.status),
        address=address_of(request),
    )
    return problem


def address_of(request: Request) -> str:
    """Where the request comes from: the peer, or what the nearest trusted proxy says."""
    return str(request.state.address)


def _unknown(request: Request) -> Problem:
    if "Authorization" in request.headers:
        detail = "This token is unknown, expired or revoked. Make another: backstay token create"
        return Problem(401, "token", detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    detail = "Log in, or send a token: Authorization: Bearer TOKEN. Make one: backstay token create"
    return Problem(401, "unknown", detail, headers={"WWW-Authenticate": "Bearer"})


async def _check_rooms(request: Request, principal: Principal) -> None:
    path = request.url.path
    if not path.startswith(TOKEN_PATHS):
        detail = f"A token is good below {API}, not for pages. Log in with a browser."
        raise await refuse(request, principal, Problem(403, "token", detail))
    room = path.removeprefix(API).strip("/").partition("/")[0]
    if principal.rooms is not None and room not in principal.rooms:
        detail = f"{principal.name} is good for {', '.join(sorted(principal.rooms))} alone, not for {room[:40]}."
        raise await refuse(request, principal, Problem(403, "room", detail))


async def check_origin(request: Request) -> None:
    """Refuse what another site makes a browser send (Fetch Metadata, and Origin where it is not sent).

    Programs send neither, and have no cookie that a site could abuse.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        same_origin = site in ("same-origin", "none")
    else:
        same_origin = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    if not same_origin:
        detail = "This came from another site. Open the page here, and try again."
        raise await refuse(request, request.state.principal, Problem(403, "origin", detail))


async def _check_csrf(request: Request, principal: Principal) -> None:
    """Of every mutation with a session's cookie: the token in the header (htmx) or in a hidden field (a plain form)."""
    given: object = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("Content-Type", "").startswith(FORM_TYPES):
        given = (await request.form()).get(CSRF_FIELD)
    secret = session_secret(request)
    if secret is None or not isinstance(given, str) or not same(given, csrf_of(secret)):
        detail = "This form is older than your login. Load the page again, and send it once more."
        raise await refuse(request, principal, Problem(403, "csrf", detail))
