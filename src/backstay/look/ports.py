"""What other rooms need from look."""

from __future__ import annotations

from typing import Protocol

from backstay.look.model import Observation, Target


class Prober(Protocol):
    async def probe(self, target: Target, *, timeout_s: float) -> Observation:
        """Probe once. Never raises for anything the network or the target does; always returns by `timeout_s`."""
        ...

    async def close(self) -> None: ...
