"""The OpenAPI document: FastAPI's, with what holds of all routes: who may, keys of mutations, problems.

A route says who may by its dependency (access/depends.py); what follows from that is written here once, so that the
document cannot say something else.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from backstay.server.access.answers import HEADER, REPLAYED
from backstay.server.access.depends import SAFE_METHODS, AgentOfPath, Public, Require
from backstay.server.problem import MEDIA_TYPE

TITLE = "Backstay"
SUMMARY = "What a team desires of its load-balancer tier, what is so, and what happened."
DESCRIPTION = """
Times are ISO 8601 in UTC, durations in seconds. Lists are pages: `next` of one is `after` of the next; null: the last.
Mutations take a `reason`, and the header `Idempotency-Key`: sent again with the same body they are carried out once and
answered alike (`Idempotency-Replayed: true`). Every error is a problem (RFC 9457) with a `code` for machines.
"""
TAGS = {
    "balance": "Pools, backends and nodes, as the load balancers report them.",
    "failover": "Global IPs: who holds them and why; move, rearm, freeze.",
    "changes": "What is temporary: drain, weight, maintenance, parameter; undo.",
    "estate": "What is declared: in force, its revisions, plan and adopt.",
    "audit": "Who differs among nodes that ought to be alike, and which fact explains it; fixes.",
    "journal": "What happened, who did it, why, and what came of it.",
    "outside": "What Puppet and Ansible read.",
    "runs": "Run now: Puppet on chosen nodes, over SSH.",
    "stream": "What happens, as it happens.",
    "agents": "What agents ask of the server and tell it; what people see of them.",
    "access": "Users, tokens, join tokens.",
    "health": "For whoever watches this server.",
}
BEARER, SESSION = "token", "session"
_SECURITY: list[dict[str, list[str]]] = [{BEARER: []}, {SESSION: []}]
_PROBLEM = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What, where, what next."},
        "code": {"type": "string", "description": "For machines, stable; absent: the status says all."},
        "figures": {"type": "object", "description": "What the detail tells, as numbers."},
    },
    "required": ["type", "title", "status", "detail"],
}
_PROBLEMS = {
    400: "The request's head does not do: no Idempotency-Key.",
    401: "Nobody that is known.",
    403: "Known, and may not.",
    404: "There is no such thing here.",
    409: "Not now: a guard refuses it, or somebody was quicker. `code` says which.",
    422: "What was asked for makes no sense; nothing was done. The detail names every fault.",
    503: "The database is away, or too many ask. Try again after `Retry-After`.",
}
_ANY = "Another problem: too long, too slow, another host's name (docs/security.md)."


def install(app: FastAPI) -> None:
    """Let `app` publish this document; it is made once, when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document_of(app)
        return app.openapi_schema

    # As FastAPI's manual extends it.
    app.openapi = document  # type: ignore[method-assign]


def document_of(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=TITLE,
        version=app.version,
        summary=SUMMARY,
        description=DESCRIPTION.strip(),
        routes=app.routes,
        tags=[{"name": name, "description": words} for name, words in TAGS.items()],
    )
    parts = found.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours are problems
        schemas.pop(unused, None)
    parts["securitySchemes"] = {
        BEARER: {"type": "http", "scheme": "bearer", "description": "An API token (bst_), or an agent's credential."},
        SESSION: {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-backstay",
            "description": "A browser's session. Mutations carry its CSRF token in X-CSRF-Token, too.",
        },
    }
    for route in iter_route_contexts(app.routes):
        declared = route.original_route
        if isinstance(declared, APIRoute) and declared.include_in_schema:
            for method in declared.methods or ():
                operation = found["paths"][declared.path_format][method.lower()]
                operation["operationId"] = declared.name
                _complete(operation, route, method)
    return found


def _complete(operation: dict[str, Any], route: RouteContext, method: str) -> None:
    calls = [one.call for one in route.dependant.dependencies]
    guard = next(call for call in calls if isinstance(call, Require | AgentOfPath | Public))
    mutates = method not in SAFE_METHODS
    keyed = mutates and isinstance(guard, Require)
    if isinstance(guard, Public):
        operation["security"] = []
    else:
        operation["security"] = _SECURITY if isinstance(guard, Require) else [{BEARER: []}]
        who = f"Role: {guard.role.value}." if isinstance(guard, Require) else "The agent of {lb} alone."
        operation["description"] = f"{operation.get('description', '')}\n\n{who}".strip()
    if keyed:
        _add_key(operation)
    _add_problems(operation, guarded=not isinstance(guard, Public), mutates=mutates)


def _add_key(operation: dict[str, Any]) -> None:
    parameters = operation.setdefault("parameters", [])
    if not any(one["name"] == HEADER for one in parameters):
        parameters.append(
            {
                "name": HEADER,
                "in": "header",
                "required": True,
                "description": "New for each thing that you ask for.",
                "schema": {"type": "string", "pattern": "^[0-9A-Za-z_-]{8,64}$"},
            }
        )
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            response.setdefault("headers", {})[REPLAYED] = {
                "description": "It was carried out before; this is the answer of then.",
                "schema": {"type": "string", "enum": ["true"]},
            }


def _add_problems(operation: dict[str, Any], *, guarded: bool, mutates: bool) -> None:
    statuses = {404, 422, 503}  # without an estate, there is nothing to list either
    if guarded:
        statuses |= {401, 403}
    if mutates:
        statuses |= {400, 409}
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own
    for status in sorted(statuses):
        responses.setdefault(str(status), _problem(_PROBLEMS[status]))
    responses["default"] = _problem(_ANY)


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
