"""Speaks to a server's API: HTTPS, a token by reference, and what several load balancers ask for asked once."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

T = TypeVar("T")

API = "/api/v1"
ANSWER_LIMIT_BYTES = 16 * 2**20
TIMEOUT_S = 20.0
PAGE = 500
PAGES_LIMIT = 200
FRESH_S = 0.2  # an answer is that new
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ServerError(Exception):
    """A call of the server that did not do what was asked."""


class ServerUnreachable(ServerError):
    """No answer: what happened, and what next."""

    def __init__(self, what: str, next_step: str) -> None:
        super().__init__(f"{what}. {next_step}")
        self.what, self.next_step = what, next_step


class ServerSaid(ServerError):
    """The server answered with a problem."""

    def __init__(self, status: int, code: str, detail: str, figures: Mapping[str, Any]) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.figures = status, code, detail, figures


def part(name: str) -> str:
    """A name that somebody typed, as one part of a path."""
    return quote(name, safe="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAt:
    """How a server is reached."""

    url: str
    token: str
    ca: Path | None = None  # None: the system's authorities

    @property
    def fault(self) -> str:
        """Why nothing is sent there; "" when it may be."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            return f"--server {self.url[:80]}: write it as https://HOST or https://HOST:PORT."
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            return f"--server {self.url[:80]}: a token is not sent in the clear. Use https."
        return ""


class ServerClient:
    """One server. Every call ends by its timeout, and raises ServerError. For one event loop."""

    def __init__(self, at: ServerAt) -> None:
        self.url = at.url.rstrip("/")
        self._at = at
        self._session: aiohttp.ClientSession | None = None
        self._once: dict[str, asyncio.Future[Any]] = {}
        self._fresh: dict[str, tuple[float, asyncio.Future[Any]]] = {}

    async def __aenter__(self) -> ServerClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- asking -----------------------------------------------------------------------------------------------------

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: Mapping[str, Any], key: str) -> Any:
        """`key`: the same for a repetition."""
        return await self._call("POST", path, body=body, key=key)

    async def items(self, path: str, params: Mapping[str, str] | None = None) -> list[Any]:
        """All pages of a list."""
        found: list[Any] = []
        asked = {**(params or {}), "limit": str(PAGE)}
        for _ in range(PAGES_LIMIT):
            answer = await self.get(path, asked)
            found += answer["items"]
            if answer["next"] is None:
                break
            asked["after"] = str(answer["next"])
        return found

    async def once(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which is done once for all that ask by this name."""
        if name not in self._once:
            self._once[name] = asyncio.ensure_future(work())
        return cast(T, await asyncio.shield(self._once[name]))

    async def fresh(self, path: str) -> Any:
        """What is at `path`, asked once for all that ask within FRESH_S."""
        now = asyncio.get_running_loop().time()
        at, answer = self._fresh.get(path, (0.0, None))
        if answer is None or now - at > FRESH_S:
            answer = asyncio.ensure_future(self.get(path))
            self._fresh[path] = (now, answer)
        return await asyncio.shield(answer)

    def forget(self) -> None:
        """What was fresh is not: something was done since."""
        self._fresh.clear()

    # --- the wire ---------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            async with self._open().request(
                method,
                URL(self.url + API + path, encoded=True),
                json=body,
                params=params,
                headers=headers,
                allow_redirects=False,  # a token goes to nobody else
            ) as response:
                return await _read(response, self.url)
        except TimeoutError as error:
            raise ServerUnreachable(
                f"{self.url}: no answer within {TIMEOUT_S:g} s", "Is it up, is it overloaded?"
            ) from error
        except aiohttp.ClientConnectorCertificateError as error:
            what = f"{self.url}: its certificate is not trusted ({error.certificate_error})"
            raise ServerUnreachable(what, "Give its authority: --ca FILE, or BACKSTAY_CA.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServerUnreachable(
                f"{self.url}: {error or type(error).__name__}",
                "Does `backstay server run` run there? Without it: leave --server out.",
            ) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            try:
                tls = ssl.create_default_context(cafile=self._at.ca)
            except (OSError, ssl.SSLError) as error:
                raise ServerUnreachable(
                    f"--ca {self._at.ca}: {error}", "It must be a PEM file of certificates."
                ) from error
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls),
                headers={"Authorization": f"Bearer {self._at.token}"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, url: str) -> Any:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        raw += chunk
        if len(raw) > ANSWER_LIMIT_BYTES:
            raise ServerSaid(response.status, "", f"{url} answered more than {ANSWER_LIMIT_BYTES} bytes", {})
    try:
        answer = json.loads(raw) if raw else None
    except ValueError:
        answer = None
    if 200 <= response.status < 300 and (answer is not None or response.status == 204):
        return answer
    if not isinstance(answer, dict) or "detail" not in answer:
        what = f"{url} answered HTTP {response.status} and no problem: is it a Backstay server?"
        raise ServerSaid(response.status, "", what, {})
    raise ServerSaid(response.status, str(answer.get("code", "")), str(answer["detail"]), answer.get("figures") or {})
