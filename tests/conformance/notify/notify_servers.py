"""Real servers on loopback: Events v2, Alertmanager's API, a Slack webhook, and a mail server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP

from backstay.estate.model import FileSecret, Notify, Pagerduty, Smtp, Webhook
from backstay.lab.provider import Answer, Faults
from backstay.lab.provider.faults import middleware
from backstay.notify.channels import configured
from backstay.notify.ports import Notifier

KEY = "0123456789abcdef0123456789abcdef"


@dataclass(slots=True)
class Inbox:
    """What one channel's server got. `got`: what was taken, by the key under which the other side folds it."""

    faults: Faults = field(default_factory=Faults)
    asked: int = 0
    got: list[tuple[str, str]] = field(default_factory=list)  # (key, all of its text)


@dataclass(slots=True, kw_only=True)
class Rig:
    """A channel, declared as in an estate, and its server."""

    name: str
    inbox: Inbox
    notify: Notify
    folder: Path  # of the estate's secrets

    @property
    def faults(self) -> Faults:
        return self.inbox.faults

    def channel(self) -> Notifier:
        return configured(self.notify, self.folder)[self.name]


# --- HTTP -----------------------------------------------------------------------------------------------------------


def _pagerduty(inbox: Inbox) -> web.Application:
    async def enqueue(request: web.Request) -> web.Response:
        event = await request.json()
        if event["routing_key"] != KEY or event["event_action"] != "trigger":
            return web.json_response({"status": "invalid event", "message": "Event object is invalid"}, status=400)
        payload = event["payload"]
        assert payload["severity"] in ("critical", "error", "warning", "info")
        assert len(payload["summary"]) <= 1_024
        inbox.got.append((event["dedup_key"], json.dumps(payload, ensure_ascii=False)))
        return web.json_response({"status": "success", "dedup_key": event["dedup_key"]}, status=202)

    return _app(inbox, "/v2/enqueue", enqueue)


def _alertmanager(inbox: Inbox) -> web.Application:
    async def alerts(request: web.Request) -> web.Response:
        for alert in await request.json():
            assert all(isinstance(value, str) and value for value in alert["labels"].values())
            assert datetime.fromisoformat(alert["endsAt"]) > datetime.now(UTC)  # it fires
            inbox.got.append((json.dumps(alert["labels"], sort_keys=True), json.dumps(alert, ensure_ascii=False)))
        return web.Response()

    return _app(inbox, "/api/v2/alerts", alerts)


def _slack(inbox: Inbox) -> web.Application:
    async def hook(request: web.Request) -> web.Response:
        inbox.got.append(("", (await request.json())["text"]))
        return web.Response(text="ok")

    return _app(inbox, f"/services/{KEY}", hook)


def _app(inbox: Inbox, path: str, take: Any) -> web.Application:
    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        inbox.asked += 1
        return await handler(request)

    def error(status: int, words: str) -> web.Response:
        return web.json_response({"message": words}, status=status)

    app = web.Application(middlewares=[count, middleware(inbox.faults, lambda _: True, error)])
    app.router.add_post(path, take)
    return app


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def http_rig(name: str, folder: Path) -> AsyncIterator[Rig]:
    inbox = Inbox()
    made = {"pagerduty": _pagerduty, "alertmanager": _alertmanager, "slack": _slack}[name](inbox)
    async with _serving(made) as url:
        secret, held = f"{name}.secret", FileSecret(file=f"{name}.secret")
        if name == "pagerduty":
            (folder / secret).write_text(KEY + "\n")
            notify = Notify(pagerduty=Pagerduty(routing_key=held, endpoint_url=url))
        elif name == "alertmanager":
            (folder / secret).write_text(url + "\n")
            notify = Notify(alertmanager=Webhook(url=held))
        else:
            (folder / secret).write_text(f"{url}/services/{KEY}\n")
            notify = Notify(slack=Webhook(url=held))
        yield Rig(name=name, inbox=inbox, notify=notify, folder=folder)
        inbox.faults.heal()


# --- mail -----------------------------------------------------------------------------------------------------------


class _Mailbox:
    """aiosmtpd's handler: the same faults, in SMTP's words."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.refused: set[str] = set()

    async def handle_MAIL(self, server: SMTP, _session: Any, envelope: Any, address: str, options: list[str]) -> str:
        self._inbox.asked += 1
        match self._inbox.faults.take(writes=True):
            case Answer.DENIED | Answer.ERROR:
                return "550 5.7.1 relaying denied"
            case Answer.RATE_LIMITED:
                return "450 4.7.1 too much mail from you"
            case Answer.DOWN:
                return "421 4.3.2 shutting down"
            case Answer.NONSENSE:
                return "<html>Down for maintenance</html>"
            case Answer.CUT:
                server.transport.abort()
                return "250 half"
            case Answer.HANG:
                await self._inbox.faults.hang()
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address in self.refused:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self._inbox.got.append((mail["Message-ID"], f"{mail['Subject']}\n{mail.get_content()}"))
        return "250 OK"


@asynccontextmanager
async def smtp_rig(folder: Path, refused: tuple[str, ...] = ()) -> AsyncIterator[Rig]:
    inbox = Inbox()
    mailbox = _Mailbox(inbox)
    mailbox.refused.update(refused)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailbox, hostname="mail.example"), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    recipients = ("ops@example.com", "night@example.com")
    notify = Notify(smtp=Smtp(host="127.0.0.1", port=port, sender="backstay@example.com", recipients=recipients))
    try:
        yield Rig(name="smtp", inbox=inbox, notify=notify, folder=folder)
    finally:
        inbox.faults.heal()
        server.close()


def rig_of(name: str, folder: Path) -> Any:
    return smtp_rig(folder) if name == "smtp" else http_rig(name, folder)
