"""What went wrong, to whoever asked: RFC 9457 problem details under /api, a page elsewhere.

Handlers raise `Problem`; nobody builds an error's answer by hand. A detail says what, where and what next.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from structlog import get_logger

from backstay.journal.model import JournalError
from backstay.server.ports import StaleRevision, StoreError

MEDIA_TYPE = "application/problem+json"
FAULTS_LIMIT = 20  # of one bad body, in words

log = get_logger()


class Problem(Exception):
    """An answer that is an error.

    `status`: HTTP. `code`: a word for machines ("stale_estate"), stable; None: the status says all. `figures`: what the
    detail tells, as numbers. `headers`: of the answer ("Retry-After").
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        detail: str,
        *,
        figures: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.figures = dict(figures or {})
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """The members of RFC 9457, and `code` and `figures` where there are any (link.views.Problem)."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.code is not None:
            body["code"] = self.code
        if self.figures:
            body["figures"] = self.figures
        return body


def speaks_json(path: str) -> bool:
    """Do errors of this path go to a program?"""
    return path.startswith(("/api/", "/metrics", "/healthz"))


def route_of(scope: Mapping[str, Any]) -> str:
    """The route's own path, for logs and the journal: what a caller puts into an address may be a secret."""
    return str(getattr(scope.get("route"), "path", "?"))


def answer(request: Request, problem: Problem) -> Response:
    """The problem as who asked understands it."""
    path = request.url.path
    if speaks_json(path):
        return JSONResponse(problem.to_json(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return _to_login(request)
    from backstay.server.console.draw import draw

    words = HTTPStatus(problem.status).phrase
    response = draw(request, "access/problem.html", status=problem.status, problem=problem, words=words)
    response.headers.update(problem.headers)
    return response


def _to_login(request: Request) -> Response:
    """The login page, and back here afterwards. htmx follows no redirect by itself, so it is told."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"/login?next={quote(back, safe='')}" if request.method == "GET" and back != "/" else "/login"
    if request.headers.get("HX-Request") == "true":
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": "/login"})
    return RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER)


def install(app: FastAPI) -> None:
    """Let `app` answer every error as above. What nobody expected is the wall's (access/wall.py)."""

    def of_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(request, error)

    def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
        return answer(request, Problem(error.status_code, None, _sentence(request, error), headers=headers))

    def of_body(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, Problem(422, "invalid", _faults(error)))

    def of_store(request: Request, error: Exception) -> Response:
        log.error("the database did not answer", route=route_of(request.scope), error=str(error))
        return answer(request, Problem(503, "database", str(error), headers={"Retry-After": "5"}))

    def of_stale(request: Request, error: Exception) -> Response:
        return answer(request, Problem(409, "stale", str(error)))

    app.add_exception_handler(Problem, of_problem)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_body)
    app.add_exception_handler(StaleRevision, of_stale)
    app.add_exception_handler(StoreError, of_store)
    app.add_exception_handler(JournalError, of_store)


def _allowed(request: Request) -> str:
    """What the path takes: of all its routes, where the framework names the first one's alone (RFC 9110, 15.5.6)."""
    path = request.url.path
    found = [
        route.methods or ()
        for route in iter_route_contexts(request.app.routes)
        if route.path is not None and compile_path(route.path)[0].match(path)
    ]
    return ", ".join(sorted({method for methods in found for method in methods}))


def _sentence(request: Request, error: HTTPException) -> str:
    path = request.url.path[:200]
    match error.status_code:
        case 404:
            return f"There is nothing at {path}."
        case 405:
            return f"{path} takes no {request.method}."
        case _:
            return str(error.detail)


def _faults(error: RequestValidationError) -> str:
    """Every fault with its place; what was sent is not repeated, it may be a secret."""
    faults = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    more = len(faults) - FAULTS_LIMIT
    return "; ".join(faults[:FAULTS_LIMIT]) + (f"; and {more} more" if more > 0 else "")
