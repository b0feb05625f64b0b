"""Login, logout, the first password, and one's own account. Plain forms: they work with JavaScript off."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from backstay.server.access import rules
from backstay.server.access.depends import Anybody, TheAccess, TheSettings, Viewer, address_of, refuse
from backstay.server.access.model import AccessError, User, Via
from backstay.server.access.oidc import PATH as OIDC_PATH
from backstay.server.access.oidc import OidcClient, OidcError
from backstay.server.access.routes.api import attempt
from backstay.server.access.shell import Access, LoggedIn, NotLoggedIn, in_thread
from backstay.server.access.store.gates import PASSAGE_LIFE, Passage
from backstay.server.access.tokens import Secret, digest, is_a, mint, same, session_cookie
from backstay.server.console.draw import draw
from backstay.server.model import Principal
from backstay.server.problem import Problem, route_of
from backstay.server.settings import Settings

BACK_LIMIT_CHARS = 2_000
SEE_OTHER = HTTPStatus.SEE_OTHER
WRONG = "This name and password do not belong together, or the user is disabled."

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=500)]
Password = Annotated[str, Form(max_length=rules.PASSWORD_LIMIT_CHARS)]


# --- login and logout ------------------------------------------------------------------------------------------------


@router.get("/login")
async def login_page(request: Request, principal: Anybody, settings: TheSettings, next: str = "/") -> Response:
    if principal is not None and principal.session is not None:
        return RedirectResponse(own_path(next), SEE_OTHER)
    return draw(request, "access/login.html", next=own_path(next), name="", fault="", oidc=settings.oidc)


@router.post("/login")
async def login(
    request: Request,
    principal: Anybody,
    access: TheAccess,
    settings: TheSettings,
    name: Text,
    password: Password,
    next: Text = "/",
) -> Response:
    address = address_of(request)
    found = await access.login(name, password, address)
    if isinstance(found, LoggedIn):
        if principal is not None:
            await access.logout(principal)
        return _begin(own_path(next), found, settings)
    await _refused_login(request, access, found)
    context = {"next": own_path(next), "name": name, "oidc": settings.oidc}
    if found.wait_s > 0:
        seconds = int(found.wait_s) + 1
        fault = f"Too many failed logins. Try again in {seconds} s."
        response = draw(request, "access/login.html", status=429, fault=fault, **context)
        response.headers["Retry-After"] = str(seconds)
        return response
    return draw(request, "access/login.html", status=401, fault=WRONG, **context)


@router.post("/logout")
async def logout(principal: Viewer, access: TheAccess, settings: TheSettings) -> Response:
    await access.logout(principal)
    response = RedirectResponse("/login", SEE_OTHER)
    response.delete_cookie(session_cookie(settings), path="/", secure=settings.secure, httponly=True, samesite="lax")
    return response


# --- OpenID Connect --------------------------------------------------------------------------------------------------


@router.get(OIDC_PATH)
async def oidc_login(  # the provider's page is one redirect away: `form-action` of the CSP lets no form go there
    request: Request, principal: Anybody, access: TheAccess, settings: TheSettings, next: str = "/"
) -> Response:
    client = _oidc(request)
    bucket = rules.address_bucket(address_of(request))
    wait_s = await in_thread(lambda: access.registry.gates.try_login({bucket: rules.ADDRESS}, access.clock()))
    if wait_s > 0:
        detail = f"Too many logins were begun here. Try again in {int(wait_s) + 1} s."
        raise Problem(429, "throttled", detail, headers={"Retry-After": str(int(wait_s) + 1)})
    try:
        begun = await client.begin(mint(Secret.STATE))
    except OidcError as error:
        raise Problem(502, "oidc", f"Nobody can log in by {client.label} now: {error}.") from error
    passage = Passage(nonce=begun.nonce, verifier=begun.verifier, back=own_path(next))
    await in_thread(lambda: access.registry.gates.put_passage(digest(begun.state), passage, access.clock()))
    response = RedirectResponse(begun.url, SEE_OTHER)
    response.set_cookie(
        _state_cookie(settings),
        begun.state,
        max_age=int(PASSAGE_LIFE.total_seconds()),
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",
    )
    return response


@router.get(f"{OIDC_PATH}/callback")
async def oidc_callback(
    request: Request,
    principal: Anybody,
    access: TheAccess,
    settings: TheSettings,
    state: Annotated[str, Query(max_length=200)] = "",
    code: str = "",
    iss: Annotated[str | None, Query(max_length=1_000)] = None,
    error: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    client = _oidc(request)
    try:
        passage = await _passage(request, access, settings, state)
        code = _code(code, error)
        claims = await client.finish(code, nonce=passage.nonce, verifier=passage.verifier, issuer=iss)
        user = client.user_of(claims, access.clock())
        event = access.registry.event(
            "user.added", f"user/{user.name}", user.name, f"first login by {client.label}", {"role": user.role.value}
        )
        known = await in_thread(lambda: access.registry.people.of_provider(user, [event]))
        _check_enabled(known)
    except (OidcError, AccessError) as refused:
        problem = Problem(403, "oidc", f"You are not logged in by {client.label}: {refused}.")
        raise await refuse(request, None, problem) from refused
    await in_thread(lambda: access.registry.gates.succeeded("", [rules.address_bucket(address_of(request))]))
    begun = await access.begin(replace(known, role=user.role), Via.OIDC, address_of(request))
    response = _begin(passage.back, begun, settings)
    response.delete_cookie(_state_cookie(settings), path="/", secure=settings.secure, httponly=True, samesite="lax")
    return response


async def _passage(request: Request, access: Access, settings: Settings, state: str) -> Passage:
    """What this browser began. Raises OidcError."""
    own = request.cookies.get(_state_cookie(settings), "")
    if not is_a(Secret.STATE, state) or not same(own, state):
        raise OidcError("this browser began no such login. Begin it anew")
    passage = await in_thread(lambda: access.registry.gates.take_passage(digest(state), access.clock()))
    if passage is None:
        raise OidcError("the login took too long, or was finished before. Begin it anew")
    return passage


def _code(code: str, error: str) -> str:
    if error or not code:
        raise OidcError(f"the provider answered {error or 'without a code'}")
    return code


def _check_enabled(user: User) -> None:
    if not user.enabled:
        raise OidcError(f"{user.name} is disabled here")


def _oidc(request: Request) -> OidcClient:
    client: OidcClient | None = request.app.state.oidc
    if client is None:
        raise Problem(404, None, "This server has no OpenID provider. Log in with a name and a password.")
    return client


def _state_cookie(settings: Settings) -> str:
    return session_cookie(settings) + "-login"


# --- the first password ----------------------------------------------------------------------------------------------


@router.get("/welcome/{secret}")
async def welcome_page(request: Request, principal: Anybody, access: TheAccess, secret: str) -> Response:
    """Looking does not use it up: mail programs and chats look at links, too."""
    link = await in_thread(lambda: access.registry.people.link(digest(secret), access.clock()))
    if link is None:
        raise await refuse(request, principal, _used_link())
    return draw(request, "access/welcome.html", user=link.user, role=link.role, fault="")


@router.post("/welcome/{secret}")
async def welcome(
    request: Request,
    principal: Anybody,
    access: TheAccess,
    settings: TheSettings,
    secret: str,
    password: Password,
    again: Password,
) -> Response:
    link = await in_thread(lambda: access.registry.people.link(digest(secret), access.clock()))
    if link is None:
        raise await refuse(request, principal, _used_link())
    try:
        _check_same(password, again)
        begun = await access.welcome(secret, password, address_of(request))
    except AccessError as error:
        return draw(request, "access/welcome.html", status=422, user=link.user, role=link.role, fault=str(error))
    if begun is None:
        raise await refuse(request, principal, _used_link())
    return _begin("/", begun, settings)


def _check_same(password: str, again: str) -> None:
    if password != again:
        raise AccessError("invalid", "The two are not the same. Type the new password once more.")


def _used_link() -> Problem:
    detail = "This link was used, or is too old. An admin makes another: backstay user link NAME"
    return Problem(410, "link", detail)


# --- one's own account -----------------------------------------------------------------------------------------------


@router.get("/account")
async def account_page(request: Request, principal: Viewer, access: TheAccess) -> Response:
    return await _account(request, principal, access)


@router.post("/account/password")
async def change_password(
    request: Request,
    principal: Viewer,
    access: TheAccess,
    settings: TheSettings,
    old: Password,
    password: Password,
    again: Password,
) -> Response:
    """All sessions of this user end, this one too; the browser gets a new one."""
    try:
        _check_same(password, again)
        found = await access.change_password(principal, old, password, address_of(request))
    except AccessError as error:
        return await _account(request, principal, access, status=422, fault=str(error))
    if isinstance(found, LoggedIn):
        return _begin("/account", found, settings)
    await _refused_login(request, access, found)
    if found.wait_s > 0:
        return await _account(
            request, principal, access, status=429, fault=f"Too many failures. Try again in {int(found.wait_s) + 1} s."
        )
    return await _account(request, principal, access, status=422, fault="The old password is another one.")


@router.post("/account/logout")
async def logout_everywhere(principal: Viewer, access: TheAccess) -> Response:
    reason = "logged out everywhere"
    await attempt(lambda: access.registry.end_sessions(principal.name, actor=principal.name, reason=reason))
    return RedirectResponse("/login", SEE_OTHER)


async def _account(
    request: Request, principal: Principal, access: Access, *, status: int = 200, fault: str = ""
) -> Response:
    people = access.registry.people
    user: User | None = await in_thread(lambda: people.user(principal.name))
    if user is None:
        raise Problem(404, "unknown", f"{principal.name} is no user of this server.")
    sessions = await in_thread(lambda: people.sessions(principal.name))
    return draw(request, "access/account.html", status=status, user=user, sessions=sessions, fault=fault)


# --- shared ----------------------------------------------------------------------------------------------------------


def own_path(path: str) -> str:
    """`path` when it is one of this server's; else its front page. An open redirect would lend our name to anybody."""
    local = path.startswith("/") and not path.startswith(("//", "/\\")) and len(path) <= BACK_LIMIT_CHARS
    return path if local and path.isprintable() and "\\" not in path else "/"


def _begin(path: str, begun: LoggedIn, settings: Settings) -> Response:
    response = RedirectResponse(path, SEE_OTHER)
    response.set_cookie(
        session_cookie(settings),
        begun.secret,
        max_age=int(settings.session_absolute_s),
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",  # a link from a chat or a page finds you logged in; what alters needs the CSRF token as well
    )
    return response


async def _refused_login(request: Request, access: Access, found: NotLoggedIn) -> None:
    await access.refused(
        who=found.user or "nobody",
        what=f"{request.method} {route_of(request.scope)}",
        code="throttled" if found.wait_s > 0 else "password",
        address=address_of(request),
    )
