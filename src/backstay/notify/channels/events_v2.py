"""One event by PagerDuty's own library: what runs in the child of the pagerduty channel (backstay/apart.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from backstay import apart
from backstay.blocking import in_thread
from backstay.notify.channels import http
from backstay.notify.ports import SendFailed, SendRefused


def _begun(begin: Mapping[str, Any]) -> apart.Answer:
    """`begin`: `routing_key`, and `endpoint_url` or None."""

    async def answer(question: Mapping[str, Any]) -> Mapping[str, Any]:
        timeout_s = question["timeout_s"]
        try:
            await in_thread(lambda: _trigger(begin, question["event"], timeout_s), timeout_s=timeout_s)
        except SendFailed as error:
            refused = isinstance(error, SendRefused)
            return {"failed": str(error), "refused": refused, "retry_after_s": error.retry_after_s}
        except TimeoutError:
            return {"failed": f"no answer in {timeout_s:g} s", "refused": False, "retry_after_s": None}
        return {}

    return answer


def _trigger(begin: Mapping[str, Any], event: Mapping[str, Any], timeout_s: float) -> None:
    """One request. Raises SendFailed."""
    try:
        import pagerduty
    except ImportError as error:
        raise SendRefused("the pagerduty library is not installed. Install backstay[pagerduty].") from error
    with pagerduty.EventsApiV2Client(begin["routing_key"]) as client:
        client.timeout = timeout_s  # type: ignore[assignment]
        _once(client)
        if begin["endpoint_url"] is not None:
            # The library takes https only. What the estate says is what its writer wants: a relay of their own.
            client._url = begin["endpoint_url"].rstrip("/")
        try:
            client.trigger(**event)
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


if __name__ == "__main__":
    asyncio.run(apart.serve(_begun))
