"""PagerDuty's Events API v2, by the vendor's own library (https://developer.pagerduty.com/docs/events-api-v2-overview).

The takeover's id is the `dedup_key`: the same page sent twice is one incident. The library is large, and an agent pages
rarely: a page is sent by a process of its own, which ends with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backstay.apart import Child, ChildGone
from backstay.estate.model import Pagerduty
from backstay.notify import render
from backstay.notify.channels import http
from backstay.notify.model import Page
from backstay.notify.ports import SendFailed, SendRefused

DEDUP_KEY_LIMIT = 255
CHILD = "backstay.notify.channels.events_v2"


class PagerdutyChannel:
    def __init__(self, declared: Pagerduty, folder: Path) -> None:
        self._declared = declared
        self._folder = folder

    async def send(self, page: Page, *, timeout_s: float) -> str:
        key = await http.secret(self._declared.routing_key, self._folder)
        child = Child(CHILD, {"routing_key": key, "endpoint_url": self._declared.endpoint_url})
        try:
            told = await child.ask({"event": event_of(page), "timeout_s": timeout_s}, timeout_s=timeout_s)
        except ChildGone as gone:
            raise SendFailed(str(gone)) from gone
        finally:
            await child.close()
        if "failed" in told:
            kind = SendRefused if told["refused"] else SendFailed
            raise kind(told["failed"], retry_after_s=told["retry_after_s"])
        return ""


def event_of(page: Page) -> Mapping[str, Any]:
    """A page as the arguments of the library's `trigger`."""
    page = render.harmless(page)
    return {
        "summary": page.summary,
        "source": page.source,
        "dedup_key": page.key[:DEDUP_KEY_LIMIT],
        "severity": page.severity.value,
        "payload": {"timestamp": page.at.isoformat(), "component": page.subject},
        "custom_details": dict(render.details(page)),
    }
