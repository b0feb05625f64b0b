"""What telling people needs from outside: channels, and somebody who writes down what became of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from backstay.notify.model import Page


class SendFailed(Exception):
    """The channel did not take the page, or did not say so: what was said. It is worth another try."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SendRefused(SendFailed):
    """The channel will not take it as things are: a wrong key, a wrong address. A person is needed."""


class Notifier(Protocol):
    """A channel. Every call ends by `timeout_s`, raises SendFailed and nothing else, and may be cancelled."""

    async def send(self, page: Page, *, timeout_s: float) -> str:
        """Return once the other side has taken `page`, with what there is to say about it ("" for nothing).

        The same page may be sent twice, when the answer to the first was lost: where the channel can fold the two by
        `page.key`, it does.
        """
        ...


class Record(Protocol):
    """The journal's pen, as the agent has it."""

    def __call__(
        self,
        kind: str,
        subject: str,
        reason: str,
        *,
        data: Mapping[str, Any] | None = None,
        cause: str | None = None,
    ) -> object: ...
