"""The witness at work: open-loop traffic from the internet side to a global IP, and the figures that it kept."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from backstay.lab.fabric.base import python
from backstay.lab.keeper.client import call
from backstay.lab.model import WITNESS, LabError, LabIp
from backstay.lab.state import LabFolder
from backstay.lab.waiting import until

START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 40.0
TAIL_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the witness saw of one global IP (its summary, with these names)."""

    sent: int
    answered: int
    unanswered: int  # lost: no answer came
    wrong: int  # an answer to another request, or none that was HTTP
    bad_status: int  # an answer that is an error
    slow: int
    downtime_s: float  # the sum of the intervals in which requests failed
    longest_outage_s: float
    latency_ms_p50: float | None
    latency_ms_p99: float | None
    witness_late_ms_max: float  # its own lateness: not the service's

    @property
    def failed(self) -> int:
        return self.unanswered + self.wrong + self.bad_status


class Traffic:
    """A witness on one global IP, from `start` to `stop`."""

    def __init__(
        self,
        folder: LabFolder,
        ip: LabIp,
        *,
        rate: float,
        websockets: int = 0,
        timeout_s: float = 5.0,
        report_every_s: float = 1.0,
    ) -> None:
        """`timeout_s`: an answer that takes longer is none. `report_every_s`: between two lines of `latest`."""
        self.ip = ip
        self._timeout_s = timeout_s
        self._report_every_s = report_every_s
        self._folder = folder
        self._rate = rate
        self._websockets = websockets
        self._role = f"traffic-{ip.name}"
        self._report = folder.log / f"{self._role}.jsonl"

    async def start(self) -> None:
        """Return when requests are on their way. Raises LabError."""
        self._report.unlink(missing_ok=True)
        argv = python("-m", "backstay.look.traffic", *self._options())
        await call(self._folder, "spawn", host=WITNESS, role=self._role, argv=argv)
        log = self._folder.log / f"{WITNESS}-{self._role}.log"
        await until(partial(self._any, "start"), START_TIMEOUT_S, "the witness", log)

    async def stop(self) -> Figures:
        """End it, wait for what is in flight, and read the summary. Raises LabError."""
        await call(self._folder, "stop", host=WITNESS, role=self._role, timeout_s=END_TIMEOUT_S)
        for line in self.lines():
            if line["type"] == "summary":
                return Figures(**{field.name: line[field.name] for field in fields(Figures)})
        raise LabError(
            f"The witness left no summary in {self._report}: see {self._folder.log}/{WITNESS}-{self._role}.log."
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines of the report so far."""
        if self._report.exists():
            for line in self._report.read_text().splitlines():
                try:
                    yield json.loads(line)
                except ValueError:  # a line that is being written
                    return

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The last `count` lines that tell of an interval, oldest first; the report may be long."""
        with self._report.open("rb") as file:
            file.seek(max(0, self._report.stat().st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")[1:-1]  # the first may be cut, and the last is being written
        return [line for line in map(json.loads, lines) if line["type"] == "progress"][-count:]

    def _any(self, kind: str) -> bool:
        return any(line["type"] == kind for line in self.lines())

    def _options(self) -> list[str]:
        front = self.ip.front
        if front is None:
            raise LabError(f"No HTTP service is behind {self.ip.name}, so the witness has nothing to ask for.")
        source = self._folder.layout.host(WITNESS).address
        options = [f"--address={self.ip.address}", f"--port={front.port}", f"--host={front.hostname}"]
        options += [f"--source={source}", f"--rate={self._rate}", f"--report={self._report}"]
        options += [f"--timeout={self._timeout_s}", f"--report-every={self._report_every_s}"]
        if front.tls:
            options += ["--tls", f"--ca={self._folder.ca}"]
        if self._websockets and front.websocket_path:
            options += [f"--websockets={self._websockets}", f"--websocket-path={front.websocket_path}"]
        return options


async def watch(
    folder: LabFolder, ips: Sequence[LabIp], *, rate: float, duration_s: float | None
) -> dict[str, Figures]:
    """Traffic to `ips` for `duration_s`, or until Ctrl-C; the figures of each. Raises LabError."""
    witnesses = [Traffic(folder, ip, rate=rate) for ip in ips]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    started: list[Traffic] = []
    try:
        for witness in witnesses:
            await witness.start()
            started.append(witness)
        with suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await ended.wait()
    finally:
        figures = {witness.ip.name: await witness.stop() for witness in started}
    return figures
