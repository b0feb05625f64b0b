"""HTTP as sources use it: one GET, within limits, and what went wrong in words. Redirects are not followed."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources.asked import NotAnswered
from backstay.audit.sources.settings import below, secret_of
from backstay.estate.model import Model, Secret

if TYPE_CHECKING:
    import aiohttp

PIECE_BYTES = 65_536
SAID_LIMIT = 300  # characters of somebody's error


class Basic(Model):
    """A user and a password (RFC 7617)."""

    user: str
    """Its name."""
    password: Secret
    """Its password."""


class Access(Model):
    """How to be let in by HTTP. Sources add their own keys."""

    bearer: Secret | None = None
    """A token (RFC 6750)."""
    basic: Basic | None = None
    """A user and a password, instead."""
    ca: str | None = None
    """PEM of the authority of an https server; absent: the machine's own."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.bearer is not None and self.basic is not None:
            raise ValueError("bearer and basic are two ways in: choose one")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Headers that let us in, and whom we trust."""

    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes

    def said(self) -> str:
        """The beginning of it, on one line, for an error."""
        return " ".join(self.body[: 4 * SAID_LIMIT].decode(errors="replace").split())[:SAID_LIMIT]


async def way_of(access: Access, around: Surroundings, kind: str, *, https: bool) -> Way:
    """Raises SourceError when a secret or the authority's file cannot be read."""
    headers = {}
    if access.bearer is not None:
        headers["Authorization"] = f"Bearer {await secret_of(access.bearer, around, kind)}"
    elif access.basic is not None:
        pair = f"{access.basic.user}:{await secret_of(access.basic.password, around, kind)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    tls = trusting(below(around, access.ca) if access.ca else None, kind) if https else None
    return Way(headers=headers, tls=tls)


def trusting(ca: Path | None, kind: str) -> ssl.SSLContext:
    """Raises SourceError when `ca` is no file of certificates."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise SourceError(f"source {kind}: ca: {ca}: {error}. It must be a PEM file of certificates.") from None


async def get(
    session: aiohttp.ClientSession,
    url: str,
    way: Way,
    *,
    timeout_s: float,
    limit_bytes: int,
    params: Mapping[str, str] | None = None,
    host: str | None = None,
) -> Answer:
    """GET `url`, the whole answer. `host`: the name that the server's certificate must have, where not the URL's.

    Raises NotAnswered: no whole answer in `timeout_s` and `limit_bytes`, or nobody there.
    """
    import aiohttp

    try:
        async with session.get(
            url,
            params=params,
            headers=way.headers,
            ssl=way.tls or True,
            server_hostname=host,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                body += piece
                if len(body) > limit_bytes:
                    what = f"{url} answers more than {limit_bytes} bytes"
                    raise NotAnswered(f"{what}: has a metric a label too many? Ask for less.")
            if 300 <= response.status < 400:
                raise NotAnswered(f"{url} redirects to {response.headers.get('Location', '?')[:200]}. Write that.")
            return Answer(status=response.status, body=bytes(body))
    except TimeoutError as error:
        raise NotAnswered(f"no answer from {url} within {timeout_s:g} s. Is it up, is it overloaded?") from error
    except aiohttp.ClientConnectorCertificateError as error:
        what = f"the certificate of {url} is not trusted ({error.certificate_error})"
        raise NotAnswered(f"{what}. Name its authority as ca.") from error
    except aiohttp.ClientPayloadError as error:
        raise NotAnswered(f"the answer of {url} was cut short. Does something between us close connections?") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause = getattr(error, "os_error", error)
        said = getattr(cause, "strerror", None) or str(error) or type(error).__name__
        raise NotAnswered(f"{url}: {said[:SAID_LIMIT]}. Does it listen there?") from error


def refusal(url: str, answer: Answer) -> str:
    """Why a status other than 200, in words, and what next."""
    match answer.status:
        case 401 | 403:
            return f"{url} does not let us in (HTTP {answer.status}). Give it bearer or basic, and see who may read it."
        case 404:
            return f"{url} is not there (HTTP 404). Is the path right?"
        case 429 | 503:
            return f"{url} is too busy (HTTP {answer.status}: {answer.said()}). Ask less often, or for less."
    return f"{url} answered HTTP {answer.status}: {answer.said()}. Look into its log."


def url_of(scheme: str, address: str, port: int, path: str) -> str:
    """`address` may be of IPv6."""
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}{path}"
