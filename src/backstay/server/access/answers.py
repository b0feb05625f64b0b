"""Idempotency keys: a mutation of the API that is asked for again gets the answer of the first time.

`require_key` claims the key before the handler runs; `Answers`, a middleware, keeps what was answered. Only what was
carried out (2xx, 3xx) is kept: after a refusal or a failure the same key may be used again. An answer that tells a
secret is never kept (depends.TellsSecret). The header is that of draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backstay.server.access.store.gates import Differs, Kept, UnderWay
from backstay.server.model import Principal
from backstay.server.problem import Problem

if TYPE_CHECKING:
    from backstay.server.access.shell import Access

Handler = TypeVar("Handler", bound=Callable[..., Any])

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
ANSWER_LIMIT_BYTES = 64 * 1024  # a longer one (a plan's) is not kept; what is put answers in less

_ONCE = "carried_out_once_by_key"
_KEY = re.compile(r"[0-9A-Za-z_-]{8,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claim:
    """This request carries out what the key names."""

    access: Access
    principal: str
    key: str


class Replay(Exception):
    """It was answered before."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept.status)
        self.kept = kept


async def require_key(request: Request, principal: Principal) -> None:
    """Claim the request's key for this principal. Raises Problem, or Replay when it was answered before."""
    from backstay.server.access.shell import in_thread

    key = request.headers.get(HEADER, "")
    if not _KEY.fullmatch(key):
        detail = f"Send the header {HEADER}: 8 to 64 letters, digits, - and _, new for each thing that you ask for."
        raise Problem(400, "idempotency_key", detail)
    access: Access = request.app.state.access
    asked = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    asked.update(await request.body())
    gates, now = access.registry.gates, access.clock()
    claimed = await in_thread(lambda: gates.claim(principal.name, key, asked.hexdigest(), now))
    match claimed:
        case Kept():
            raise Replay(claimed)
        case Differs():
            raise Problem(422, "idempotency_key", f"The {HEADER} {key} was used for something else. Make another.")
        case UnderWay() if not getattr(request.scope.get("endpoint"), _ONCE, False):
            detail = "The same is being carried out at this moment. Ask again with the same key."
            raise Problem(409, "under_way", detail, headers={"Retry-After": "1"})
        case _:
            request.state.claim = Claim(access, principal.name, key)


def once_by_key(handler: Handler) -> Handler:
    """Mark a handler that carries out what a key names once by itself, as the id of what it stores.

    When a server dies in the midst of it, a repetition need not wait until the first one is given up.
    """
    setattr(handler, _ONCE, True)
    return handler


class Answers:
    """Middleware: holds back the answer of a claimed request until it is kept, so that no kept answer is ever lost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []
        state = scope.setdefault("state", {})

        async def hold(message: Message) -> None:
            if "claim" not in state:
                await send(message)
                return
            held.append(message)

        try:
            await self._app(scope, receive, hold)
        except Replay as replay:
            await _replay(replay.kept, send)
            return
        except Exception:  # not a cancellation: what it was about may still be under way in a thread
            if "claim" in state:
                await _release(state["claim"])
            raise
        if "claim" in state:
            await _settle(state["claim"], held, keep="tells_secret" not in state)
            for message in held:
                await send(message)


async def _settle(claim: Claim, held: list[Message], *, keep: bool) -> None:
    from backstay.server.access.shell import in_thread

    start = held[0] if held else {}
    body = b"".join(message.get("body", b"") for message in held[1:])
    if not keep or start.get("status", 500) >= 400 or len(body) > ANSWER_LIMIT_BYTES:
        await _release(claim)
        return
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    kept = Kept(status=start["status"], media_type=headers.get("content-type", "")[:100], body=body)
    await in_thread(lambda: claim.access.registry.gates.keep(claim.principal, claim.key, kept))


async def _release(claim: Claim) -> None:
    from backstay.server.access.shell import in_thread

    await in_thread(lambda: claim.access.registry.gates.release(claim.principal, claim.key))


async def _replay(kept: Kept, send: Send) -> None:
    headers = [(REPLAYED.lower().encode(), b"true"), (b"content-length", str(len(kept.body)).encode())]
    if kept.media_type:
        headers.append((b"content-type", kept.media_type.encode()))
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.body})
