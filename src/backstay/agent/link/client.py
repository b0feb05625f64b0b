"""Speaks to the server: HTTPS to whoever the pinned authority vouches for, with this load balancer's credential."""

from __future__ import annotations

import json
import ssl
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from backstay import __version__
from backstay.link.fingerprint import fingerprint_of, parse_fingerprint
from backstay.link.wire import Delivered, Delivery, Enrol, Enrolled, Renewed, Report, Reported

ANSWER_LIMIT_BYTES = 16 * 2**20
TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5.0
POLL_GRACE_S = 10.0  # over what the server was asked to wait
API = "/api/v1/agents"
AUTHORITY = "/api/v1/authority"

Model = TypeVar("Model", bound=BaseModel)


class LinkError(Exception):
    """A question to the server that was not answered as it should: what, where, what next."""


class Away(LinkError):
    """No answer, or "not now". The same question may do in a moment."""


class Untrusted(LinkError):
    """Whoever answers is not who was enrolled with: nothing was told to it."""


class NotLetIn(LinkError):
    """The server does not take this load balancer's credential (any more)."""


class Misunderstood(LinkError):
    """The answer makes no sense, or the server calls the question wrong."""


class ServerClient:
    """One server. Every call ends by its timeout, and raises LinkError."""

    def __init__(self, url: str, ca: str, lb: str, credential: str | None) -> None:
        """`ca`: PEM of the only authority that is trusted; `credential`: None before the enrolment.

        Raises Misunderstood for a URL or an authority that is none.
        """
        self._url = checked_url(url)
        self._lb = lb
        self._tls = trusting(ca)
        self.credential = credential
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = _session(self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()
        self._session = None

    async def enrol(self, join_token: str) -> Enrolled:
        body = Enrol(lb=self._lb, join_token=join_token, version=__version__)
        return _as(Enrolled, await self._ask("POST", "enrol", body))

    async def desired(self, *, after: int | None, have_sha256: str, wait_s: float) -> object:
        """What the server wants, as plain JSON values, once its revision is not `after`; None when `wait_s` passed.

        `after` None: now. `have_sha256`: the estate whose text need not be told ("": none).
        """
        query = {"wait_s": f"{wait_s:g}"}
        if after is not None:
            query["after"] = str(after)
        if have_sha256:
            query["have"] = have_sha256
        return await self._ask("GET", "desired", query=query, timeout_s=wait_s + POLL_GRACE_S)

    async def report(self, report: Report) -> Reported:
        return _as(Reported, await self._ask("POST", "report", report))

    async def deliver(self, delivery: Delivery) -> Delivered:
        return _as(Delivered, await self._ask("POST", "events", delivery))

    async def renew(self) -> Renewed:
        """Another credential; this one is good until that one is first used."""
        return _as(Renewed, await self._ask("POST", "credential"))

    async def _ask(
        self,
        method: str,
        what: str,
        body: BaseModel | None = None,
        *,
        query: dict[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> object:
        assert self._session is not None, "used as `async with client:`"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.credential is not None:
            headers["Authorization"] = f"Bearer {self.credential}"
        url = f"{self._url}{API}/{quote(self._lb)}/{what}"
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        data = body.model_dump_json().encode() if body is not None else None
        try:
            async with self._session.request(
                method, url, data=data, params=query, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return _answer(self._url, response.status, await _read(self._url, response))
        except aiohttp.ClientConnectorCertificateError as error:
            raise Untrusted(
                f"{self._url} has a certificate that the authority of the enrolment does not vouch for "
                f"({error.certificate_error}). Is it the right server? If its authority is new: backstay agent enrol"
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Away(f"{self._url} does not answer: {_words(error, timeout_s)}. The agent goes on alone.") from error


async def fetch_authority(url: str, fingerprint: str) -> str:
    """PEM of the authority that the server at `url` names, which must have this fingerprint ("sha256:HEX").

    Whoever answers is not known yet, so nothing is told to it, and what it says counts for nothing else (as kubeadm's
    discovery-token-ca-cert-hash). Raises LinkError.
    """
    try:
        wanted = parse_fingerprint(fingerprint)
    except ValueError as error:
        raise Misunderstood(str(error)) from None
    base = checked_url(url)
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        async with (
            _session(anybody) as session,
            session.get(f"{base}{AUTHORITY}", timeout=timeout, allow_redirects=False) as response,
        ):
            answer = _answer(base, response.status, await _read(base, response))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Away(f"{base} does not answer: {_words(error, TIMEOUT_S)}. Is the server up?") from error
    pem = answer.get("certificate") if isinstance(answer, dict) else None
    if not isinstance(pem, str):
        raise Misunderstood(f"{base} names no authority. Take its certificate from who runs it: --ca FILE")
    try:
        found = fingerprint_of(pem)
    except ValueError as error:
        raise Misunderstood(f"{base}: {error}") from None
    if found != wanted:
        raise Untrusted(
            f"{base} names the authority {found}, and not {wanted}. Either the fingerprint is of another server, or "
            "somebody stands between. Nothing was told to it."
        )
    return pem


def checked_url(url: str) -> str:
    """`url` without a closing slash. Raises Misunderstood for anything but https://HOST[:PORT]."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Misunderstood(f"{url[:200]}: write the server as https://HOST:PORT; a credential never goes unencrypted.")
    return url.rstrip("/")


def trusting(ca: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, for those alone whom the authority in `ca` (PEM) vouches for. Raises Misunderstood."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise Misunderstood(
            f"the authority's certificate cannot be used: {error}. Give a PEM file: --ca FILE"
        ) from None
    return context


def _session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """No proxy of the machine's, no cookies: the poll, a report, a delivery and one more at a time."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=4),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"backstay-agent/{__version__}", "Accept": "application/json"},
    )


async def _read(url: str, response: aiohttp.ClientResponse) -> object:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        raw += chunk
        if len(raw) > ANSWER_LIMIT_BYTES:
            raise Misunderstood(f"{url} answered more than {ANSWER_LIMIT_BYTES} bytes.")
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        if response.status >= 500:
            return None  # a proxy's page
        raise Misunderstood(f"{url} answered no JSON ({response.status}): is it a Backstay server?") from None


def _answer(url: str, status: int, plain: object) -> object:
    if status in (200, 201):
        return plain
    if status == 204:
        return None
    problem = plain if isinstance(plain, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")[:1_000]
    if status in (401, 403):
        raise NotLetIn(f"{url} does not let this load balancer in: {detail}")
    if status in (408, 425, 429) or status >= 500:
        raise Away(f"{url}: not now: {detail}")
    raise Misunderstood(f"{url} ({status}): {detail}")


def _as(model: type[Model], plain: object) -> Model:
    try:
        return TypeAdapter(model).validate_python(plain)
    except ValidationError as error:
        raise Misunderstood(f"the server's answer makes no sense: {error.error_count()} faults.") from None


def _words(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing within {timeout_s:g} s"
    return str(error) or type(error).__name__
