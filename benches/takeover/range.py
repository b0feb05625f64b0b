"""The lab of the bench: up, broken and healed; the provider made slow; a witness on each address all the time."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstay.lab import build
from backstay.lab.hosts.control import tell
from backstay.lab.keeper.client import call
from backstay.lab.model import FabricKind, LabError, LabIp, Layout
from backstay.lab.state import LabFolder
from backstay.lab.traffic import Traffic

ESTATE = Path(__file__).with_name("estate.yaml")
RATE = 50.0  # requests a second to each address: downtime is measured to 20 ms
TIMEOUT_S = 0.8  # a request that is not answered by then failed; a SYN that is sent again (after 1 s) saves none
REPORT_S = 0.1
WELL_FOR = 5  # intervals without a failed request: users are served again
SERVICE_MS = 2.0
POLL_S = 0.02
TAKEOVER_S = 30.0  # a takeover that takes longer did not come

Condition = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    downtime_s: float  # the witness's: users were not served
    broken_at: float  # Unix: the fault was in force
    moved_s: float  # after it: the address was routed to the heir


class Range:
    """`async with Range() as range`: the hosts are up, nothing runs on the load balancers yet."""

    folder: LabFolder
    layout: Layout

    async def __aenter__(self) -> Range:
        """Raises LabError where no namespaces are to be had."""
        self._root = Path(tempfile.mkdtemp(prefix="bs-", dir="/tmp"))
        self._open = AsyncExitStack()
        self._witnesses: dict[str, Traffic] = {}
        self._open.callback(shutil.rmtree, self._root, ignore_errors=True)
        options = build.Options(source=ESTATE, root=self._root, agents=False, service_ms=SERVICE_MS)
        try:
            lab = await build.up(options)
        except BaseException:
            await self._open.aclose()
            raise
        self._open.push_async_callback(lab.down)
        if lab.folder.record.fabric is FabricKind.LOOPBACK:
            await self._open.aclose()
            raise LabError(f"keepalived needs network namespaces, and there are none here: {lab.folder.record.why}.")
        self.folder, self.layout = lab.folder, lab.layout
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    # --- hosts

    def home(self, host: str) -> Path:
        return self.folder.hosts / host

    def address(self, host: str) -> str:
        return self.layout.host(host).address

    def ip(self, name: str) -> LabIp:
        return next(ip for ip in self.layout.ips if ip.name == name)

    async def spawn(self, host: str, role: str, argv: list[str], env: dict[str, str] | None = None) -> None:
        await call(self.folder, "spawn", host=host, role=role, argv=argv, env=env)

    async def stop(self, host: str, role: str) -> None:
        await call(self.folder, "stop", host=host, role=role)

    async def run(self, host: str, *argv: str) -> str:
        """What the program said. Raises LabError when it failed."""
        role = "means"
        log = self.folder.log / f"{host}-{role}.log"
        log.unlink(missing_ok=True)
        status = await call(self.folder, "run", host=host, role=role, argv=list(argv))
        said = log.read_text()
        if status != 0:
            raise LabError(f"{host}: {' '.join(argv)} ended with {status}: {said.strip()}")
        return said

    async def fault(self, kind: str, host: str) -> None:
        await call(self.folder, "fault", kind=kind, name=host)

    async def heal(self, host: str) -> None:
        await call(self.folder, "heal", name=host)

    # --- the provider

    async def answer_after(self, seconds: float) -> None:
        """Every answer of the provider's API takes so long, and a route is done when it comes."""
        await self._provider(faults={"answer_delay_s": seconds})

    async def owner(self, ip: str) -> str:
        return str((await call(self.folder, "status"))["owners"][ip])

    async def put(self, ip: str, host: str) -> None:
        """Move an address by hand."""
        await self._provider(person={"ip": ip, "to": host})
        await until(lambda: self._is(ip, host), 10.0, f"{ip} put on {host}")

    async def _is(self, ip: str, host: str) -> bool:
        return await self.owner(ip) == host

    async def _provider(self, **message: Any) -> None:
        await tell(self.folder.control / "provider.sock", message)

    # --- the witness

    async def watch(self, ip: str) -> None:
        """Send traffic to the address until the end."""
        made = Traffic(self.folder, self.ip(ip), rate=RATE, timeout_s=TIMEOUT_S, report_every_s=REPORT_S)
        await made.start()
        self._witnesses[ip] = made

    async def served(self, ip: str) -> bool:
        """No request failed lately, and none that may still fail is under way."""
        latest = self._witnesses[ip].latest(WELL_FOR)
        return len(latest) == WELL_FOR and not any(line["failed"] for line in latest)

    def downtime_s(self, ip: str) -> float:
        """The sum of the intervals in which requests failed, since the witness began."""
        return float(self._witnesses[ip].latest(1)[-1]["downtime_s"])

    async def takeover(self, ip: str, kind: str, host: str, heir: str) -> Takeover:
        """Break `host`, wait until `heir` has the address and users are served.

        Raises LabError when it does not come in TAKEOVER_S.
        """
        before_s = self.downtime_s(ip)
        await self.fault(kind, host)
        broken_at = time.time()
        await until(lambda: self._is(ip, heir), TAKEOVER_S, f"{ip} moving from {host} to {heir} after {kind}")
        moved_at = time.time()
        await asyncio.sleep(TIMEOUT_S + REPORT_S)  # what was sent to the dead has failed by then
        await until(lambda: self.served(ip), TAKEOVER_S, f"users of {ip} being served by {heir}")
        return Takeover(downtime_s=self.downtime_s(ip) - before_s, broken_at=broken_at, moved_s=moved_at - broken_at)


async def until(condition: Condition, timeout_s: float, what: str) -> None:
    """Raises LabError when it does not come."""
    end_s = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > end_s:
            raise LabError(f"{what} did not come within {timeout_s:g} s.")
        await asyncio.sleep(POLL_S)
