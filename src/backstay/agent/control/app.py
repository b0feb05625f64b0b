"""The sites of the control API: a unix socket for this machine, HTTPS with a token for others.

Every answer that is an error is RFC 9457 problem details, also for what aiohttp refuses by itself (404, 405, 413);
a fault of ours is logged, and never shown as a traceback.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

BODY_LIMIT_BYTES = 8 * 2**20  # an estate of 2,000 nodes and 500 pools is a tenth of it
ANSWER_TIMEOUT_S = 120.0  # reading the body included
CONNECTIONS_LIMIT = 128  # a site
UNAUTHORIZED_DELAY_S = 0.2  # guessing a token costs the guesser time

Body = TypeVar("Body", bound=BaseModel)

log = structlog.get_logger()


class Trouble(Exception):
    """An answer that is an error, with what the client shall know."""

    def __init__(self, status: int, detail: str, *, code: str = "", figures: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code, self.figures = status, detail, code, figures


def problem(
    status: int, detail: str, *, code: str = "", figures: Mapping[str, Any] | None = None, headers: Any = None
) -> web.Response:
    """RFC 9457 problem details."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if code:
        body |= {"code": code, "figures": dict(figures or {})}
    return web.Response(
        status=status, body=json.dumps(body).encode(), content_type="application/problem+json", headers=headers
    )


@web.middleware
async def errors_as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: whatever goes wrong below becomes an answer."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await handler(request)
    except Trouble as trouble:
        return problem(trouble.status, trouble.detail, code=trouble.code, figures=trouble.figures)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, _words(request, error), headers=allow)
    except TimeoutError:
        return problem(503, f"no answer within {ANSWER_TIMEOUT_S:g} s. Look at the agent's log, then ask again.")
    except Exception:  # a fault of ours: it is logged, the client hears that it was
        log.exception("a request failed", method=request.method, path=request.path)
        return problem(500, "the agent failed to answer this; its log says why.")


def _words(request: web.Request, error: web.HTTPException) -> str:
    if error.status == 404:
        return f"{request.path} is no route of this API. Routes: docs/agent.md."
    if error.status == 405:
        return f"{request.path} takes {error.headers.get('Allow', 'another method')}, not {request.method}."
    if error.status == 413:
        return f"a body has at most {BODY_LIMIT_BYTES} bytes."
    return error.text or error.reason


def authorize(token: str) -> Middleware:
    """Asks every request for the bearer token; compares in constant time (RFC 6750)."""
    wanted = hmac.digest(b"backstay", token.encode(), "sha256")

    @web.middleware
    async def layer(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Digests are of one length, so the comparison tells nothing of the token's.
        sent = hmac.digest(b"backstay", given.strip().encode("utf-8", "surrogateescape"), "sha256")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, wanted):
            await asyncio.sleep(UNAUTHORIZED_DELAY_S)
            return problem(
                401,
                "this needs the token of agents.token: Authorization: Bearer TOKEN.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return await handler(request)

    return layer


def application(routes: list[web.RouteDef], *, token: str | None) -> web.Application:
    """The API; with `token`, every request must carry it."""
    layers: list[Middleware] = [errors_as_problems]
    if token is not None:
        layers.append(authorize(token))
    app = web.Application(middlewares=layers, client_max_size=BODY_LIMIT_BYTES)
    app.add_routes(routes)
    return app


async def read_json(request: web.Request) -> Any:
    """The body as JSON values. Raises Trouble (422) for anything else."""
    raw = await request.read()
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Trouble(422, f"the body is no JSON: {error}" if raw else "a JSON body is missing.") from None


async def parse(request: web.Request, model: type[Body]) -> Body:
    """The body as a `model`. Raises Trouble (422) with every fault, at most ten."""
    try:
        return model.model_validate(await read_json(request))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:10]
        words = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg']}" for fault in faults)
        raise Trouble(422, words) from None


def answer(view: Any) -> web.Response:
    """JSON values as the answer."""
    return web.Response(body=json.dumps(view).encode(), content_type="application/json")


class Site:
    """One listening socket with its application."""

    def __init__(self, where: str, app: web.Application, listener: socket.socket, tls: TlsFiles | None = None) -> None:
        self.where = where
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, keepalive_timeout=75.0)
        self._listener = listener
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, sock=self._listener, ssl=self._tls.context if self._tls else None
        )
        log.info("control API listens", at=self.where)

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        return server() if len(server.connections) < CONNECTIONS_LIMIT else _TooMany()

    def refresh(self) -> None:
        """Take a renewed certificate into use."""
        if self._tls is not None:
            self._tls.refresh()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


class _TooMany(asyncio.Protocol):
    """Turns a connection away that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def unix_listener(path: Path) -> socket.socket:
    """A listening unix socket at `path`, mode 0600; a stale one is replaced. Raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Bound under another name and renamed: never a moment with wider rights, or without a socket.
    scratch = path.with_name(f".{os.getpid()}")
    try:
        scratch.unlink(missing_ok=True)
        listener.bind(str(scratch))
        scratch.chmod(0o600)
        listener.listen(CONNECTIONS_LIMIT)
        scratch.rename(path)
    except OSError:
        listener.close()
        scratch.unlink(missing_ok=True)
        raise
    return listener


class TlsFiles:
    """The certificate of a site, read again when its files were renewed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """TLS 1.2 and newer. Raises OSError (ssl.SSLError is one) for files that do not hold."""
        self._files = (certificate, key)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._stamp = self._read()

    def refresh(self) -> None:
        """Use renewed files for connections from now on; a pair that does not hold is left for the one in use."""
        try:
            if self._stamped() != self._stamp:
                self._stamp = self._read()
                log.info("the control API's certificate was renewed", certificate=str(self._files[0]))
        except OSError as error:
            log.warning("the control API's renewed certificate does not hold", error=str(error))

    def _read(self) -> tuple[int, ...]:
        stamp = self._stamped()
        self.context.load_cert_chain(*self._files, password=lambda: b"")
        return stamp

    def _stamped(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._files)
