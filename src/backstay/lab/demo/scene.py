"""What chapters play on: a lab that is up, its agents, witnesses on its global IPs, the commands, and narration."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from backstay.agent.client import AgentClient, AgentError
from backstay.lab.build import Lab
from backstay.lab.demo.verdict import Claim, Row
from backstay.lab.keeper.client import call
from backstay.lab.model import LabError, LabIp
from backstay.lab.traffic import Figures, Traffic
from backstay.link.views import BackendView

COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How fast the demo goes."""

    rate: float = 100.0  # requests a second to each global IP
    watch_s: float = 5.0  # how long a steady state is watched
    patience_s: float = 60.0  # how long something that must come is waited for


@dataclass(slots=True)
class Watch:
    """The witnesses of one chapter. `proofs` is filled in by the chapter, a global IP each."""

    proofs: dict[str, tuple[bool, str]] = field(default_factory=dict)

    def prove(self, ip: str, held: bool, text: str) -> None:
        """Add to what is proven of `ip`; one thing that does not hold and the chapter fails."""
        before, said = self.proofs.get(ip, (True, ""))
        self.proofs[ip] = (before and held, f"{said}; {text}" if said else text)


class Scene:
    def __init__(self, lab: Lab, tempo: Tempo, say: Callable[[str], None]) -> None:
        self.lab = lab
        self.tempo = tempo
        self.say = say
        self.rows: list[Row] = []
        self.claims: list[Claim] = []
        self.agents: dict[str, AgentClient] = {}
        self.engines: dict[str, str] = {}  # load balancer -> "nginx 1.31.3"
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Scene:
        for lb in self.lab.layout.load_balancers:
            client = AgentClient(lb, socket=self.lab.folder.run / f"{lb}.sock")
            self.agents[lb] = await self._open.enter_async_context(client)
            engine = (await client.status())["engine"]
            self.engines[lb] = f"{engine['kind']} {engine['version']}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    # --- the lab

    @property
    def ips(self) -> Sequence[LabIp]:
        return [ip for ip in self.lab.layout.ips if ip.front]

    async def holder(self, ip: str) -> str:
        """The load balancer that the address is routed to."""
        return str((await call(self.lab.folder, "status"))["owners"][ip])

    async def fault(self, kind: str, name: str, amount: float | None = None) -> None:
        shown = "" if amount is None else f" --amount {amount:g}"
        self.say(f"$ backstay lab fault {kind} {name}{shown}")
        await call(self.lab.folder, "fault", kind=kind, name=name, amount=amount)

    async def heal(self, name: str) -> None:
        self.say(f"$ backstay lab fault heal {name}")
        await call(self.lab.folder, "heal", name=name)

    # --- what users see

    @asynccontextmanager
    async def watched(
        self, chapter: str, *, websockets: int = 0, losses_allowed: Mapping[str, int] | None = None
    ) -> AsyncIterator[Watch]:
        """Traffic to every global IP while the chapter plays; a row of figures for each when it is over.

        `websockets` are kept open for the whole chapter: a drain would wait for them.
        `losses_allowed`: global IP -> requests that this chapter's fault may cost there.
        """
        tempo = self.tempo
        witnesses = [Traffic(self.lab.folder, ip, rate=tempo.rate, websockets=websockets) for ip in self.ips]
        watch = Watch()
        for witness in witnesses:
            await witness.start()
        try:
            yield watch
        finally:
            figures = await asyncio.gather(*(witness.stop() for witness in witnesses))
        for witness, seen in zip(witnesses, figures, strict=True):
            allowed = (losses_allowed or {}).get(witness.ip.name, 0)
            self.rows.append(await self._row(chapter, witness.ip.name, seen, watch, allowed))

    async def _row(self, chapter: str, ip: str, seen: Figures, watch: Watch, losses_allowed: int) -> Row:
        proven, proof = watch.proofs.get(ip, (False, "nothing was proven"))
        row = Row(
            chapter=chapter,
            engine=self.engines[await self.holder(ip)],
            via=ip,
            requests=seen.sent,
            lost=seen.unanswered,
            wrong=seen.wrong,
            errors=seen.bad_status,
            downtime_s=seen.downtime_s,
            latency_ms_p99=seen.latency_ms_p99,
            proof=proof,
            proven=proven,
            losses_allowed=losses_allowed,
        )
        mark = "ok" if row.passed else "FAILED"
        self.say(
            f"  {row.engine} ({ip}): {row.requests} requests, {row.lost} lost, {row.wrong} wrong, {row.errors} errors, "
            f"{row.downtime_s * 1000:.0f} ms down; {row.proof}: {mark}"
        )
        return row

    # --- what agents say

    async def member(self, lb: str, pool: str, node: str) -> BackendView:
        """What `lb` says of `node` in `pool` now. Raises LabError when it does not answer or does not know it."""
        try:
            view = await self.agents[lb].pool(pool)
        except AgentError as error:
            raise LabError(str(error)) from error
        for member in view["members"]:
            if member["backend"] == node:
                return member
        raise LabError(f"{lb} knows no {node} in pool {pool}.")

    async def eventually(self, condition: Callable[[], Awaitable[bool]]) -> float | None:
        """Poll until `condition` holds: seconds that it took, or None when the demo's patience ended first."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not await condition():
            if loop.time() - started > self.tempo.patience_s:
                return None
            await asyncio.sleep(POLL_S)
        return loop.time() - started

    async def every_lb_says(self, pool: str, node: str, *states: str) -> float | None:
        """Seconds until `node` is in one of `states` on every load balancer; None when that never came."""

        async def agreed() -> bool:
            members = await asyncio.gather(*(self.member(lb, pool, node) for lb in self.agents))
            return all(member["state"] in states for member in members)

        return await self.eventually(agreed)

    # --- commands, as a user runs them

    async def backstay(self, *arguments: str) -> Any:
        """Run a command on this lab; what it printed as JSON. Raises LabError when it fails."""
        self.say(f"$ backstay {' '.join(_quoted(argument) for argument in arguments)}")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTAY_")}
        own = {"BACKSTAY_ESTATE": str(self.lab.folder.estate_file), "BACKSTAY_RUN_DIR": str(self.lab.folder.run)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backstay.cli.main", *arguments, "--output", "json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=kept | own,
        )
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise LabError(f"backstay {arguments[0]} took longer than {COMMAND_TIMEOUT_S:g} s.") from None
        if process.returncode != 0:
            said = err.decode(errors="replace").strip() or out.decode(errors="replace").strip()
            raise LabError(f"backstay {arguments[0]} ended with {process.returncode}: {said}")
        return json.loads(out) if out.strip() else None


def _quoted(argument: str) -> str:
    return f'"{argument}"' if " " in argument else argument
