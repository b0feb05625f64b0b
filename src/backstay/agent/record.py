"""The agent's pen: what it does goes to its journal (the spool) and its log, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from backstay.journal.mint import new_id
from backstay.journal.model import Event, JournalError
from backstay.journal.spool import Spool

log = structlog.get_logger()


class Recorder:
    """Writes events. A disk that takes none is said and survived: the spool holds them in memory until it does."""

    def __init__(self, spool: Spool, lb: str) -> None:
        self.spool = spool
        self.fault = ""  # why events are not durable; "" when they are
        self._actor = f"agent/{lb}"

    def __call__(
        self,
        kind: str,
        subject: str,
        reason: str,
        *,
        data: Mapping[str, Any] | None = None,
        actor: str | None = None,
        cause: str | None = None,
    ) -> str:
        """Record what happened, or is about to; its id, the `cause` of what follows. Never raises for a bad disk."""
        event = Event(
            id=new_id(),
            time=datetime.now(UTC),
            kind=kind,
            subject=subject,
            actor=actor or self._actor,
            reason=reason[:1_000],
            data=data or {},
            cause=cause,
        )
        log.info(kind, subject=subject, reason=event.reason, actor=event.actor, id=event.id)
        try:
            self.spool.append(event)
        except JournalError as error:
            self._say(str(error))
        else:
            self._say("")
        return event.id

    def flush(self) -> None:
        """Write what is held in memory, now that there may be room."""
        held = self.spool.flush()
        self._say(self.fault if held else "")

    def _say(self, fault: str) -> None:
        if fault and not self.fault:
            log.error("events are not durable", fault=fault)
        elif self.fault and not fault:
            log.info("events are durable again")
        self.fault = fault
