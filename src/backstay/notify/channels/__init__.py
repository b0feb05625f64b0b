"""Channels: who is told, one a module. `configured` makes those that the estate declares.

    pagerduty      Events API v2, by the vendor's own library
    alertmanager   API v2 of Alertmanager, and of what is compatible with it
    slack          an incoming webhook of Slack, Mattermost, Rocket.Chat, Discord (/slack)
    smtp           e-mail

Secrets are looked up when a page is sent: one that is replaced is in force at once, and none is kept.
"""

from __future__ import annotations

from pathlib import Path

from backstay.estate.model import Notify
from backstay.notify.channels.alertmanager import AlertmanagerChannel
from backstay.notify.channels.pagerduty import PagerdutyChannel
from backstay.notify.channels.slack import SlackChannel
from backstay.notify.channels.smtp import SmtpChannel
from backstay.notify.ports import Notifier


def configured(notify: Notify, folder: Path) -> dict[str, Notifier]:
    """The channels of the estate by name, in its order. `folder`: the estate file's, for secrets in files."""
    found: dict[str, Notifier] = {}
    if notify.pagerduty is not None:
        found["pagerduty"] = PagerdutyChannel(notify.pagerduty, folder)
    if notify.alertmanager is not None:
        found["alertmanager"] = AlertmanagerChannel(notify.alertmanager, folder)
    if notify.slack is not None:
        found["slack"] = SlackChannel(notify.slack, folder)
    if notify.smtp is not None:
        found["smtp"] = SmtpChannel(notify.smtp)
    return found


__all__ = ["configured"]
