"""People are told: PagerDuty, Alertmanager, a Slack-style webhook, e-mail.

    Page -> Post.put -> outbox (on disk, fsynced) -> a worker a channel -> channels/ -> delivered, or given up and said

Off the takeover's path: `put` returns once the page is on disk (or held in memory, when the disk takes nothing), and
everything else happens elsewhere. A page is kept until each channel has it or was given up, across restarts and a
kill -9; what is asked twice under one key is sent once. A channel that fails holds up no other.
"""

from __future__ import annotations

from backstay.notify.model import Page, Severity
from backstay.notify.outbox import Outbox, Put
from backstay.notify.ports import Notifier, SendFailed, SendRefused
from backstay.notify.schedule import Schedule
from backstay.notify.shell import Post

__all__ = ["Notifier", "Outbox", "Page", "Post", "Put", "Schedule", "SendFailed", "SendRefused", "Severity"]
