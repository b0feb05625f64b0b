"""What balance needs from outside: an engine that carries the traffic."""

from __future__ import annotations

from typing import Protocol

from backstay.balance.model import Applied, Capabilities, Desired, EngineStats, Files, Sample


class ConfigRefused(Exception):
    """The engine's own check refused the files; the running configuration is untouched. Says what and where."""


class EngineFailed(Exception):
    """The engine did not start, answer or reload in time: what was tried, what it said, what next."""


class Engine(Protocol):
    """One engine on one load balancer, in a folder of its own. Found by the entry points `backstay.engines`;
    called as `factory(folder: Path, version: EngineVersion)`.

    The engine outlives the agent: a new agent finds the running one by its pid file and goes on with it.
    """

    def capabilities(self) -> Capabilities: ...

    def render(self, desired: Desired) -> Files:
        """Pure, and deterministic to the byte."""
        ...

    async def check(self, desired: Desired) -> None:
        """Have the binary check the rendered files in a scratch folder. Raises ConfigRefused."""
        ...

    async def apply(self, desired: Desired) -> Applied:
        """Make `desired` run: nothing, by runtime commands, by reload or by a start, whichever disturbs least.

        Checks first; swaps files atomically; verifies after. On ConfigRefused or EngineFailed the last good
        configuration runs on, on disk too.
        """
        ...

    async def observe(self) -> EngineStats:
        """Statistics by the engine's own means (and socket diagnostics). Raises EngineFailed when it is not up."""
        ...

    async def samples(self) -> list[Sample]:
        """Requests that ended since the last call, at most a bounded number; also rotates the access log."""
        ...

    async def running(self) -> bool:
        """True when the process is there and answers."""
        ...

    async def stop(self, *, grace_s: float) -> None:
        """Let requests in flight finish for at most `grace_s`, then end it."""
        ...
