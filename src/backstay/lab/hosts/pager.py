"""The pager of a lab: takes PagerDuty's Events API v2 on the internet side, and keeps what came.

    python -m backstay.lab.hosts.pager LAB --control pager.sock

`{}` on the control socket asks for the incidents: one a dedup_key, with how often it was sent. `{"down": true}` makes
it answer 503 until `{"down": false}`.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from backstay.lab.hosts.outside import main_of, serve
from backstay.lab.plan.layout import PAGER_PORT
from backstay.lab.state import LabFolder

BODY_LIMIT_BYTES = 512 * 1024  # the vendor's own limit of an event
INCIDENTS_LIMIT = 1_000
TOLD_LIMIT = 20  # of the incidents, the newest are told: a control answer is one line


class Pager:
    def __init__(self) -> None:
        self.down = False
        self.incidents: dict[str, dict[str, Any]] = {}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.router.add_post("/v2/enqueue", self.enqueue)
        return app

    async def enqueue(self, request: web.Request) -> web.Response:
        """https://developer.pagerduty.com/docs/send-alert-event"""
        if self.down:
            return web.json_response({"status": "unavailable"}, status=503)
        try:
            event = json.loads(await request.text())
            fault = _fault(event)
        except ValueError:
            fault = "the body is no JSON"
        if fault:
            return web.json_response({"status": "invalid event", "message": fault, "errors": [fault]}, status=400)
        payload = event.get("payload") or {}
        key = str(event["dedup_key"])
        known = self.incidents.setdefault(key, {"sent": 0})
        known |= {
            "sent": known["sent"] + 1,
            "action": event["event_action"],
            "summary": payload.get("summary", ""),
            "source": payload.get("source", ""),
            "severity": payload.get("severity", ""),
            "component": payload.get("component", ""),
        }
        if len(self.incidents) > INCIDENTS_LIMIT:
            del self.incidents[next(iter(self.incidents))]
        accepted = {"status": "success", "message": "Event processed", "dedup_key": key}
        return web.json_response(accepted, status=202)

    def apply(self, message: dict[str, object]) -> dict[str, object]:
        if "down" in message:
            self.down = bool(message["down"])
        newest = list(self.incidents.items())[-TOLD_LIMIT:]
        return {"count": len(self.incidents), "incidents": [{"key": key} | one for key, one in newest]}


def _fault(event: Any) -> str:
    """What the vendor would refuse."""
    if not isinstance(event, dict) or not event.get("routing_key"):
        return "routing_key is missing"
    if event.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        return "event_action is none of trigger, acknowledge, resolve"
    if not event.get("dedup_key"):
        return "dedup_key is missing"
    payload = event.get("payload") or {}
    needed = ("summary", "source", "severity") if event["event_action"] == "trigger" else ()
    return next((f"payload.{name} is missing" for name in needed if not payload.get(name)), "")


async def run(folder: LabFolder, control: str) -> None:
    pager = Pager()
    await serve(pager.app(), folder, PAGER_PORT, control, pager.apply)


if __name__ == "__main__":
    main_of(__doc__, run)
