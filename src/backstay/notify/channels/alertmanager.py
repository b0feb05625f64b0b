"""Alertmanager's API v2, which its look-alikes speak as well (https://prometheus.io/docs/alerting/latest/alerts_api/).

A page is an alert of its own: the takeover's id is one of its labels. Alertmanager closes an alert by itself at
`endsAt`; the default of five minutes would tell people that all is well while it is not.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from backstay.estate.model import Webhook
from backstay.notify import render
from backstay.notify.channels import http
from backstay.notify.model import Page

PATH = "/api/v2/alerts"
FIRES_FOR = timedelta(hours=48)  # longer than a page is tried for: one that arrives late still fires


class AlertmanagerChannel:
    """`url`: of the Alertmanager, with or without the path of its API."""

    def __init__(self, declared: Webhook, folder: Path) -> None:
        self._declared = declared
        self._folder = folder

    async def send(self, page: Page, *, timeout_s: float) -> str:
        url = (await http.secret(self._declared.url, self._folder)).rstrip("/")
        await http.post(url if url.endswith(PATH) else url + PATH, [alert(page)], timeout_s=timeout_s)
        return ""


def alert(page: Page) -> dict[str, Any]:
    page = render.harmless(page)
    return {
        "labels": {
            "alertname": "Backstay",
            "severity": page.severity.value,
            "subject": page.subject,
            "instance": page.source,
            "id": page.key,
        },
        "annotations": {"summary": page.summary, "description": render.text(page)},
        "startsAt": page.at.isoformat(),
        "endsAt": (page.at + FIRES_FOR).isoformat(),
    }
