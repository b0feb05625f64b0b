"""What the channels that speak HTTP share: secrets, one POST, and what an answer's status means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from backstay.estate.model import Secret
from backstay.estate.secrets import SecretUnavailable, resolve
from backstay.notify.ports import SendFailed, SendRefused
from backstay.notify.render import one_line

ANSWER_LIMIT_BYTES = 4 * 1024
SAID_LIMIT = 200
AGAIN = (408, 425, 429)  # of the 4xx, those that ask for another try (RFC 9110, RFC 8470, RFC 6585)


async def secret(reference: Secret, folder: Path) -> str:
    """The secret. Raises SendRefused when it cannot be had."""
    try:
        return await resolve(reference, folder)
    except SecretUnavailable as error:
        raise SendRefused(str(error)) from error


async def post(url: str, body: Any, *, timeout_s: float) -> str:
    """POST `body` as JSON; what was answered, when it was taken. Raises SendFailed.

    No message names `url`: it is a secret.
    """
    import aiohttp

    try:
        limits = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=limits, trust_env=True) as session,
            session.post(url, json=body, allow_redirects=False) as answer,
        ):
            raw = b""
            while len(raw) < ANSWER_LIMIT_BYTES and (more := await answer.content.read(ANSWER_LIMIT_BYTES)):
                raw += more  # to its end: a connection that is cut is no answer
            page_for_people = answer.content_type == "text/html"
            status, headers = answer.status, answer.headers
    except TimeoutError as error:
        raise SendFailed(f"no answer in {timeout_s:g} s") from error
    except aiohttp.InvalidURL as error:
        raise SendRefused("the URL is none. Check the secret.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise SendFailed(f"not reached: {type(error).__name__}") from error
    said = raw.decode(errors="replace")
    check(status, said, headers.get("Retry-After"))
    if page_for_people:
        raise SendFailed(f"a page for people came back, so nobody took it: {short(said)}")
    return said


def check(status: int, said: str, retry_after: str | None) -> None:
    """Raises SendFailed or SendRefused unless `status` is a 2xx."""
    if 200 <= status < 300:
        return
    words = f"HTTP {status}: {short(said)}"
    if status in AGAIN or status >= 500:
        raise SendFailed(words, retry_after_s=_seconds(retry_after))
    raise SendRefused(words)


def short(said: str) -> str:
    return one_line(said, SAID_LIMIT)


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float((retry_after or "").strip())
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
