"""A Slack-style incoming webhook: {"text": ..} (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/).

Only `text`, because that is what Mattermost, Rocket.Chat and Discord take as well. A webhook cannot fold two messages.
"""

from __future__ import annotations

from pathlib import Path

from backstay.estate.model import Webhook
from backstay.notify import render
from backstay.notify.channels import http
from backstay.notify.model import Page


class SlackChannel:
    def __init__(self, declared: Webhook, folder: Path) -> None:
        self._declared = declared
        self._folder = folder

    async def send(self, page: Page, *, timeout_s: float) -> str:
        url = await http.secret(self._declared.url, self._folder)
        await http.post(url, {"text": message(page)}, timeout_s=timeout_s)
        return ""


def message(page: Page) -> str:
    """The page as code, so that commands can be copied; what would be a mention or a link is only text."""
    safe = render.text(page).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("```", "'''")
    first, _, rest = safe.partition("\n\n")
    return f"*{first}*\n```{rest}```"
