"""HAProxy: weights and drains by runtime commands, everything else by a reload (docs/balance.md, "HAProxy")."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from backstay.balance.engines.generations import Generations, certificates
from backstay.balance.engines.haproxy import state
from backstay.balance.engines.haproxy.config import CONFIG, STATE_FILE, Host, render, shape_in
from backstay.balance.engines.haproxy.output import OutputTail, keep_end
from backstay.balance.engines.haproxy.runtime import SOCKET, Runtime
from backstay.balance.engines.logtail import ROTATE_AT_BYTES
from backstay.balance.engines.machine import has_ipv6, worker_account
from backstay.balance.engines.process import EngineProcess, run, tail, until
from backstay.balance.engines.tls import certificate_path
from backstay.balance.model import (
    Applied,
    Capabilities,
    Desired,
    EngineStats,
    EngineVersion,
    Files,
    How,
    HttpService,
    Sample,
)
from backstay.balance.ports import ConfigRefused, EngineFailed
from backstay.estate.model import Protocol

ACCESS_LOG = "log/access.log"
OUTPUT_LOG = "log/output.log"
CHECK_TIMEOUT_S = 60.0
START_TIMEOUT_S = 15.0
RELOAD_TIMEOUT_S = 30.0
OLDEST = (2, 6, 0)  # default-path, `show servers state` with ports, retry by method
_STOP_TO_REPLACE_S = 5.0
_OUTPUT_LIMIT_BYTES = 1_048_576
_ACCOUNTS = ("haproxy", "www-data", "nobody")
# The access log is HAProxy's standard output. `exec` keeps the pid that was recorded.
_REDIRECT = f'exec "$@" >>{ACCESS_LOG}'
_ALERT = re.compile(r"^\[ALERT\]\s+\(\d+\) : (?:config : )?(.*(?:\n(?!\[).+)*)", re.MULTILINE)


class Haproxy:
    """One HAProxy in `folder`. Safe to make anew at any time: what it must know is on disk or asked of the engine."""

    def __init__(self, folder: Path, version: EngineVersion, *, rotate_at_bytes: int = ROTATE_AT_BYTES) -> None:
        self.garbage_lines = 0  # of the access log, since this object was made
        self._folder = folder
        self._version = version
        account = worker_account(_ACCOUNTS)
        self._host = Host(ipv6=has_ipv6(), user=account[0] if account else None, group=account[1] if account else None)
        self._generations = Generations(folder)
        self._process = EngineProcess(folder)
        self._runtime = Runtime(folder)
        self._lock = asyncio.Lock()
        self._log = OutputTail(folder / ACCESS_LOG, rotate_at_bytes=rotate_at_bytes)
        self._retried: dict[int, Mapping[state.Server, int]] = {}  # worker's pid -> what was told of it so far
        self._owed: Counter[state.Server] = Counter()

    def capabilities(self) -> Capabilities:
        return Capabilities(
            version=self._version,
            least_time=False,
            keepalive_min_timeout=True,  # by its own means: option idle-close-on-response
            runtime_changes=True,
            active_checks=True,
            slow_start=True,
            uwsgi=False,
            fastcgi=True,
            http2=True,
            tcp=True,
            missing=(
                "least_time: leastconn is used, and the rescaler brings time in by the weights",
                "uWSGI: pools of that protocol are refused",
            ),
        )

    def render(self, desired: Desired) -> Files:
        return render(desired, self._host)

    async def check(self, desired: Desired) -> None:
        async with self._lock:
            await self._check(self._stage(desired, self.render(desired)), desired)
            self._generations.prune()

    async def apply(self, desired: Desired) -> Applied:
        started = time.monotonic()
        async with self._lock:
            files = self.render(desired)
            identity = self._stage(desired, files)
            shape = shape_in(files)
            how, resets, detail = await self._bring_about(desired, identity, shape)
            self._generations.point("good", identity)
            self._generations.prune()
        took_s = time.monotonic() - started
        return Applied(revision=desired.revision, how=how, expected_resets=resets, took_s=took_s, detail=detail)

    async def observe(self) -> EngineStats:
        processes = await self._processes()
        if processes is None or processes.current is None:
            raise EngineFailed(f"HAProxy in {self._folder} is not running. Apply starts it.{self._said()}")
        current = await self._runtime.statistics(processes.current)
        old = []
        for pid in processes.old:
            with contextlib.suppress(EngineFailed):  # it ended since
                old.append(await self._runtime.statistics(pid))
        clients, backends = state.add_up(current, old)
        return EngineStats(time=datetime.now(UTC), running=True, client_connections=clients, backends=backends)

    async def samples(self) -> list[Sample]:
        lines = self._log.lines()
        keep_end(self._folder / OUTPUT_LOG, limit_bytes=_OUTPUT_LIMIT_BYTES)
        if not self._retried or self._owed or any('"retries":"0"' not in line for line in lines):
            await self._count_retries()
        samples, self._owed, garbage = state.read_samples(lines, self._owed)
        self.garbage_lines += garbage
        return samples

    async def running(self) -> bool:
        try:
            processes = await self._processes()
        except EngineFailed:
            return False
        return processes is not None and processes.current is not None

    async def stop(self, *, grace_s: float) -> None:
        async with self._lock:
            await self._process.stop(signal.SIGUSR1, grace_s=grace_s)

    # What apply is made of.

    def _stage(self, desired: Desired, files: Files) -> str:
        if self._version.version < OLDEST:
            raise ConfigRefused(f"{self._version.binary} is too old: HAProxy 2.6 or newer is needed.")
        for pool in desired.pools:
            if pool.protocol is Protocol.UWSGI:
                raise ConfigRefused(
                    f"pools.{pool.name}: HAProxy speaks no uWSGI. Use http or fastcgi, or nginx for this tier."
                )
        self._generations.prepare()
        return self._generations.stage(files, certificates(desired))

    async def _check(self, identity: str, desired: Desired) -> None:
        config = self._generations.path(identity) / CONFIG
        ran = await run((self._version.binary, "-c", "-f", str(config)), cwd=self._folder, timeout_s=CHECK_TIMEOUT_S)
        if ran.code == 0:
            return
        if identity not in (self._generations.id_of("current"), self._generations.id_of("good")):
            self._generations.prune()
        raise ConfigRefused(_complaint(ran.output, identity, desired))

    async def _bring_about(self, desired: Desired, identity: str, shape: str) -> tuple[How, int, str]:
        """Make the staged generation run: (how, expected resets, detail). On failure the one before stays."""
        processes = await self._processes()
        before = self._generations.id_of("good")
        if processes is None or processes.current is None:
            await self._check(identity, desired)
            await self._start(shape, identity, before)
            return How.START, 0, ""
        if not self._is_our_binary():
            await self._check(identity, desired)
            resets = (await self.observe()).client_connections
            await self._process.stop(signal.SIGUSR1, grace_s=_STOP_TO_REPLACE_S)
            await self._start(shape, identity, before)
            return How.START, resets, f"the running HAProxy was not {self._version.binary}; it was ended and replaced"
        if await self._runtime.shape(processes.current) != shape:
            await self._check(identity, desired)
            return How.RELOAD, 0, await self._reload(desired, identity, shape, processes)
        # The same shape was checked when it came; on disk first, so that a restart brings the same weights.
        unchanged = self._generations.id_of("current") == identity
        self._generations.point("current", identity)
        try:
            count = await self._command(desired, processes.current)
        except EngineFailed:
            if before is not None:
                self._generations.point("current", before)
            raise
        if unchanged and not count:
            return How.NOTHING, 0, ""
        return How.RUNTIME, 0, f"{count} runtime commands"

    async def _command(self, desired: Desired, pid: int) -> int:
        """Bring a worker to the desired weights; returns how many commands that took."""
        wanted = state.commands(desired, await self._runtime.servers(pid))
        await self._runtime.command(pid, wanted)
        return len(wanted)

    async def _reload(self, desired: Desired, identity: str, shape: str, before: state.Processes) -> str:
        """Reload, and return when only the new worker takes connections; the detail tells of those left behind."""
        assert before.current is not None
        good = self._generations.id_of("good")
        rows = await self._runtime.servers(before.current)
        self._write_state(state.carry_over(desired, rows))
        # A stopping worker takes no commands, and serves one more request of each connection that clients keep.
        drains = state.drains(desired, rows)
        await self._runtime.command(before.current, drains)
        self._generations.point("current", identity)
        log_size = self._output_size()
        said = await self._runtime.reload()
        refused = said.startswith("Success=0")
        after = before

        async def turned_or_refused() -> bool:
            nonlocal refused, after
            try:
                after = await self._runtime.processes()
                refused = refused or (after.reloads > before.reloads and after.failed > 0)
                if refused or after.current in (None, before.current):
                    return refused
                if await self._runtime.shape(after.current or 0) != shape:
                    return False
                return all([await self._runtime.is_leaving(pid) for pid in after.old])
            except EngineFailed:
                return self._process.pid() is None  # the master is just replacing itself

        turned = await until(turned_or_refused, timeout_s=RELOAD_TIMEOUT_S)
        self._write_state(state.EMPTY_STATE)
        if not turned or refused or self._process.pid() is None:
            if good is not None:
                self._generations.point("current", good)
            with contextlib.suppress(EngineFailed):
                await self._runtime.command(before.current, state.undo(drains, rows))
            raise EngineFailed(
                f"HAProxy did not take the new configuration; the one before runs on.{self._said(log_size)}"
            )
        return f"{len(after.old)} old workers finish what they have" if after.old else ""

    async def _start(self, shape: str, identity: str, before: str | None) -> None:
        async def launch(chosen: str) -> None:
            await self._launch(shape if chosen == identity else None)

        await self._generations.start(identity, before, launch)

    async def _launch(self, shape: str | None) -> None:
        """`shape`: what the worker must tell that it runs; None: whatever `current` is."""
        if self._process.pid() is not None:  # a master without a worker serves nobody
            await self._process.stop(signal.SIGTERM, grace_s=_STOP_TO_REPLACE_S)
        for orphan in self._process.orphans():
            # Workers whose master was killed still listen: they finish what they have, and make room.
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGUSR1)
        self._write_state(state.EMPTY_STATE)
        self._log.begin_anew()
        (self._folder / SOCKET).unlink(missing_ok=True)
        log_size = self._output_size()
        haproxy = (self._version.binary, "-W", "-S", f"unix@{SOCKET},mode,600", "-f", f"current/{CONFIG}")
        await self._process.start(("/bin/sh", "-c", _REDIRECT, "sh", *haproxy))

        async def up_or_gone() -> bool:
            if self._process.pid() is None:
                return True
            try:
                current = (await self._runtime.processes()).current
                return current is not None and shape in (None, await self._runtime.shape(current))
            except EngineFailed:
                return False

        if not await until(up_or_gone, timeout_s=START_TIMEOUT_S) or self._process.pid() is None:
            await self._process.stop(signal.SIGTERM, grace_s=_STOP_TO_REPLACE_S)
            raise EngineFailed(f"HAProxy did not start.{self._said(log_size)}")

    async def _processes(self) -> state.Processes | None:
        """None when HAProxy is not there. Raises EngineFailed when it is there and does not answer."""
        if self._process.pid() is None:
            return None
        try:
            return await self._runtime.processes()
        except EngineFailed:
            if self._process.pid() is None:  # it died just now
                return None
            raise

    async def _count_retries(self) -> None:
        """Add to what is owed the tries that failed since they were last counted."""
        try:
            processes = await self._processes()
        except EngineFailed:
            return
        if processes is None:
            return
        told: dict[int, Mapping[state.Server, int]] = {}
        for pid in (processes.current, *processes.old):
            if pid is None:
                continue
            with contextlib.suppress(EngineFailed):
                now = (await self._runtime.statistics(pid)).retried
                # The first count of all is where we came in; a worker that came later starts at zero.
                past = self._retried.get(pid, {}) if self._retried else now
                self._owed.update({server: count - past.get(server, 0) for server, count in now.items()})
                told[pid] = now
        self._owed = +self._owed
        self._retried = told

    def _is_our_binary(self) -> bool:
        try:
            path = str(Path(f"/proc/{self._process.pid()}/exe").readlink())
        except OSError:
            return True  # not ours to look into: leave it be
        # An upgrade in place is taken in with the next reload: the master starts itself anew.
        return Path(path.removesuffix(" (deleted)")) == Path(self._version.binary).resolve()

    def _write_state(self, text: str) -> None:
        path = self._folder / STATE_FILE
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(text)
        fresh.replace(path)

    def _output_size(self) -> int:
        try:
            return (self._folder / OUTPUT_LOG).stat().st_size
        except OSError:
            return 0

    def _said(self, since: int | None = None) -> str:
        """What HAProxy said, for the end of a message: its alerts since `since`, else the end of its output."""
        grown = self._output_size() - since if since is not None else 0
        text = tail(self._folder / OUTPUT_LOG, min(grown, 4000)) if grown > 0 else ""
        text = _alerts(text) or text or self._process.output_tail(500)
        return f" It said: {text}" if text else ""


def _alerts(output: str) -> str:
    """HAProxy's alerts in one line; some go on in lines that have no mark."""
    return " ".join(" ".join(_ALERT.findall(output)).split())


def _complaint(output: str, identity: str, desired: Desired) -> str:
    """HAProxy's own words, with the user's paths in place of the generation's."""
    text = _alerts(output) or output.strip() or "haproxy -c failed and said nothing."
    for service in desired.services:
        if isinstance(service, HttpService) and service.tls is not None:
            copy = certificate_path(service.tls.fingerprint)
            text = text.replace(f"{copy}.key", service.tls.key_file).replace(copy, service.tls.certificate_file)
    return f"HAProxy refuses the configuration of {desired.lb}: {text.replace(f'generations/{identity}/', '')}"
