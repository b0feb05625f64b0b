"""PagerDuty's Events API v2, by the vendor's own library (https://developer.pagerduty.com/docs/events-api-v2-overview).

The takeover's id is the `dedup_key`: the same page sent twice is one incident.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backstay.blocking import in_thread
from backstay.estate.model import Pagerduty
from backstay.notify import render
from backstay.notify.channels import http
from backstay.notify.model import Page
from backstay.notify.ports import SendFailed, SendRefused

DEDUP_KEY_LIMIT = 255


class PagerdutyChannel:
    def __init__(self, declared: Pagerduty, folder: Path) -> None:
        self._declared = declared
        self._folder = folder

    async def send(self, page: Page, *, timeout_s: float) -> str:
        page = render.harmless(page)
        key = await http.secret(self._declared.routing_key, self._folder)
        try:
            await in_thread(lambda: self._trigger(page, key, timeout_s), timeout_s=timeout_s)
        except TimeoutError as error:
            raise SendFailed(f"no answer in {timeout_s:g} s {error}".rstrip()) from error
        return ""

    def _trigger(self, page: Page, routing_key: str, timeout_s: float) -> None:
        """One request, in a thread."""
        try:
            import pagerduty
        except ImportError as error:
            raise SendRefused("the pagerduty library is not installed. Install backstay[pagerduty].") from error
        with pagerduty.EventsApiV2Client(routing_key) as client:
            client.timeout = timeout_s  # type: ignore[assignment]
            _once(client)
            if self._declared.endpoint_url is not None:
                # The library takes https only. What the estate says is what its writer wants: a relay of their own.
                client._url = self._declared.endpoint_url.rstrip("/")
            try:
                client.trigger(
                    summary=page.summary,
                    source=page.source,
                    dedup_key=page.key[:DEDUP_KEY_LIMIT],
                    severity=page.severity.value,
                    payload={"timestamp": page.at.isoformat(), "component": page.subject},
                    custom_details=dict(render.details(page)),
                )
            except pagerduty.Error as error:
                raise _told(error) from error
            except (ValueError, TypeError, KeyError, AttributeError) as error:  # trips over an odd body
                raise SendFailed(f"the answer makes no sense: {http.short(str(error))}") from error


def _once(client: Any) -> None:
    """No tries of the library's own: it sleeps between them, for a rate limit without end. The outbox tries again."""
    client.max_network_attempts = 0
    client.max_http_attempts = -1
    client.retry = {429: 1}


def _told(error: Any) -> SendFailed:
    answer = error.response
    if answer is None:
        return SendFailed(f"not reached: {http.short(str(error.__cause__ or error))}")
    try:
        http.check(answer.status_code, answer.text, answer.headers.get("Retry-After"))
    except SendFailed as failed:
        return failed
    return SendFailed(f"the answer makes no sense: {http.short(answer.text)}")
