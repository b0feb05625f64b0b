"""nginx: every change is a new generation of files and a reload (docs/balance.md, "nginx")."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import resource
import signal
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from backstay.balance import accesslog
from backstay.balance.engines.binary import ask
from backstay.balance.engines.generations import Generations, certificates
from backstay.balance.engines.logtail import ROTATE_AT_BYTES, LogTail
from backstay.balance.engines.machine import has_ipv6, worker_account
from backstay.balance.engines.nginx import config as nginx_config
from backstay.balance.engines.nginx.build import Build, missing, modules_path, read_build
from backstay.balance.engines.nginx.traffic import Topology, backend_stats, client_connections, is_leaving
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

CHECK_TIMEOUT_S = 60.0
START_TIMEOUT_S = 15.0
RELOAD_TIMEOUT_S = 30.0
_ASK_TIMEOUT_S = 2.0
_STOP_TO_REPLACE_S = 5.0  # for an engine of another binary
_OLD_WORKERS_LIMIT = 64  # each reload leaves some behind while they carry WebSockets
_OPEN_FILES = 65_536
_NAMES_LIMIT = 20_000
_CUTS_LIMIT = 10_000
_TOPOLOGY = "topology.json"
# Without keepalive_min_timeout: 120 to 190 of ~180,000 POSTs over 20 reloads under 100 busy keep-alive clients
# (nginx 1.22, ./run bench drain), that is 155 / 20 / 100 a connection and reload.
_RESETS_PER_CONNECTION = 0.078
_SAID_LIMIT_BYTES = 4000
_STAMP = re.compile(r"^(?:nginx: |[0-9/]+ [0-9:]+ )*(\[\w+\])(?: [0-9#]+:)?(?: \*\d+)?")
_USERS = ("nginx", "www-data", "nobody")
_BROKE_OFF = re.compile(r'\*(\d+) .* while reading upstream,.* upstream: "[a-z]+://([^/"]+)')


class Nginx:
    """One nginx in `folder`. Safe to make anew at any time: all that it must know is on disk or asked of the engine."""

    def __init__(self, folder: Path, version: EngineVersion, *, rotate_at_bytes: int = ROTATE_AT_BYTES) -> None:
        self.garbage_lines = 0  # of the access log, since this object was made
        self._folder = folder
        self._version = version
        self._build = _build_of(version)
        self._generations = Generations(folder)
        self._process = EngineProcess(folder)
        self._lock = asyncio.Lock()
        self._topology = Topology.load(folder / "current" / _TOPOLOGY)
        self._names = dict(self._topology.names()) if self._topology else {}

        def log(name: str) -> LogTail:
            return LogTail(folder / name, reopen=self._reopen_logs, rotate_at_bytes=rotate_at_bytes)

        self._access_logs = (log(nginx_config.HTTP_LOG), log(nginx_config.TCP_LOG))
        self._error_log = log(nginx_config.ERROR_LOG)
        self._cuts: deque[accesslog.Cut] = deque(maxlen=_CUTS_LIMIT)

    def capabilities(self) -> Capabilities:
        build = self._build
        return Capabilities(
            version=self._version,
            least_time=build.least_time,
            keepalive_min_timeout=build.keepalive_min_timeout,
            runtime_changes=False,
            active_checks=False,
            slow_start=False,
            uwsgi=build.uwsgi,
            fastcgi=build.fastcgi,
            http2=build.http2,
            tcp=build.stream,
            missing=missing(build),
        )

    def render(self, desired: Desired) -> Files:
        return nginx_config.render(desired, self._build)

    async def check(self, desired: Desired) -> None:
        async with self._lock:
            try:
                await self._check(self._stage(desired), desired)
            finally:
                self._generations.prune()

    async def apply(self, desired: Desired) -> Applied:
        started = time.monotonic()
        async with self._lock:
            identity = self._stage(desired)
            pid = self._process.pid()
            if pid is not None and identity == self._generations.id_of("current") == await self._generation():
                how, resets, detail = How.NOTHING, 0, ""
            else:
                try:
                    await self._check(identity, desired)
                except ConfigRefused:
                    self._generations.prune()
                    raise
                how, resets, detail = await self._switch(identity, pid)
            self._generations.point("good", identity)
            self._generations.prune()
            self._know(Topology.of(desired))
        took_s = time.monotonic() - started
        return Applied(revision=desired.revision, how=how, expected_resets=resets, took_s=took_s, detail=detail)

    async def observe(self) -> EngineStats:
        if not await self.running():
            raise EngineFailed(f"nginx in {self._folder} is not running, or does not answer. Apply starts it.")
        topology = self._topology or Topology(listen=(), ports=(), peers=())
        try:
            return EngineStats(
                time=datetime.now(UTC),
                running=True,
                client_connections=client_connections(topology),
                backends=backend_stats(topology, self._process.children()),
            )
        except OSError as error:
            raise EngineFailed(
                f"socket diagnostics: {error.strerror}. The kernel module inet_diag is needed."
            ) from error

    async def samples(self) -> list[Sample]:
        for line in self._error_log.lines():
            if (match := _BROKE_OFF.search(line)) is not None:
                self._cuts.append((int(match.group(1)), match.group(2)))
        lines = [line for log in self._access_logs for line in log.lines()]
        parsed = accesslog.read(lines, self._names, self._cuts)
        self._cuts = deque(parsed.cuts_left, maxlen=_CUTS_LIMIT)
        self.garbage_lines += parsed.garbage
        return parsed.samples

    async def running(self) -> bool:
        return self._process.pid() is not None and await self._generation() is not None

    async def stop(self, *, grace_s: float) -> None:
        async with self._lock:
            await self._process.stop(signal.SIGQUIT, grace_s=grace_s)

    # What apply is made of.

    def _stage(self, desired: Desired) -> str:
        self._generations.prepare()
        self._refuse_what_the_binary_lacks(desired)
        temp = self._folder / "temp"
        temp.mkdir(mode=0o711, exist_ok=True)
        temp.chmod(0o711)  # nginx makes the folders in it, and gives them to its workers
        try:
            files = self.render(desired)
        except ValueError as error:
            raise ConfigRefused(f"{desired.estate}: {error}.") from error
        copies = certificates(desired) | {_TOPOLOGY: Topology.of(desired).dump()}
        return self._generations.stage(files, copies, nginx_config.generation_files)

    def _refuse_what_the_binary_lacks(self, desired: Desired) -> None:
        for service in desired.services:
            if isinstance(service, HttpService):
                if service.tls is not None and not self._build.tls:
                    raise ConfigRefused(f"services.{service.name}.tls: {self._version.binary} has no TLS.")
            elif not self._build.stream:
                raise ConfigRefused(
                    f"services.{service.name}: {self._version.binary} has no TCP (stream) module. "
                    "Install libnginx-mod-stream, or use HAProxy for this tier."
                )
        for pool in desired.pools:
            lacking = {"fastcgi": not self._build.fastcgi, "uwsgi": not self._build.uwsgi}
            if lacking.get(pool.protocol.value, False):
                raise ConfigRefused(f"pools.{pool.name}: {self._version.binary} has no {pool.protocol} module.")

    async def _check(self, identity: str, desired: Desired) -> None:
        config = self._generations.path(identity) / nginx_config.CONFIG
        ran = await run(
            (self._version.binary, "-t", "-q", "-p", "./", "-c", str(config)),
            cwd=self._folder,
            timeout_s=CHECK_TIMEOUT_S,
        )
        if ran.code == 0:
            return
        raise ConfigRefused(_complaint(ran.output, identity, desired))

    async def _switch(self, identity: str, pid: int | None) -> tuple[How, int, str]:
        """Make the checked generation run: (how, expected resets, detail). On failure the one before stays."""
        before = self._generations.id_of("good")
        if pid is not None and not self._is_our_binary(pid):
            resets = client_connections(self._topology) if self._topology else 0
            await self._process.stop(signal.SIGQUIT, grace_s=_STOP_TO_REPLACE_S)
            await self._generations.start(identity, before, self._launch)
            return How.START, resets, f"the running nginx was not {self._version.binary}; it was ended and replaced"
        if pid is None:
            await self._generations.start(identity, before, self._launch)
            return How.START, 0, ""
        self._generations.point("current", identity)
        resets = await self._expected_resets()
        detail = await self._reload(identity, before)
        return How.RELOAD, resets, detail

    async def _launch(self, identity: str) -> None:
        for orphan in self._process.orphans():
            # Workers whose master was killed still listen: they finish what they have, and make room.
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGQUIT)
        orphans = self._process.orphans()

        async def made_room() -> bool:
            return all(is_leaving(orphan) for orphan in orphans)

        await until(made_room, timeout_s=_STOP_TO_REPLACE_S)
        (self._folder / nginx_config.STATUS_SOCKET).unlink(missing_ok=True)
        log_size = self._error_log_size()
        config = f"current/{nginx_config.CONFIG}"
        await self._process.start((self._version.binary, "-p", "./", "-c", config))

        async def up_or_gone() -> bool:
            return self._process.pid() is None or await self._generation() == identity

        if not await until(up_or_gone, timeout_s=START_TIMEOUT_S) or self._process.pid() is None:
            await self._process.stop(signal.SIGTERM, grace_s=_STOP_TO_REPLACE_S)
            raise EngineFailed(f"nginx did not start.{self._said(log_size)}")

    async def _reload(self, identity: str, before: str | None) -> str:
        """Reload, and return when only new workers take connections; the detail tells of those left behind."""
        old = self._process.children()
        log_size = self._error_log_size()
        # What the master says; a worker's emergency is not about the configuration.
        emergency = f"[emerg] {self._process.pid()}#"
        self._process.send(signal.SIGHUP)

        async def turned() -> bool:
            return await self._generation() == identity and all(is_leaving(worker) for worker in old)

        def refused() -> bool:
            said = [line for line in self._error_log_since(log_size).splitlines() if emergency in line]
            # It tries to bind for 2.5 s before it gives up.
            return any("still could not bind" in line or "bind()" not in line for line in said)

        async def decided() -> bool:
            return await turned() or refused() or self._process.pid() is None

        if await until(decided, timeout_s=RELOAD_TIMEOUT_S) and await turned():
            left = [worker for worker in old if Path(f"/proc/{worker}").exists()]
            return f"{len(left)} old workers finish what they have" if left else ""
        if before is not None:
            self._generations.point("current", before)
        raise EngineFailed(f"nginx did not take the new configuration; the one before runs on.{self._said(log_size)}")

    async def _expected_resets(self) -> int:
        """Client connections that a reload now is expected to reset; also makes room among the old workers."""
        leaving = [worker for worker in self._process.children() if is_leaving(worker)]
        cut = 0
        for worker in sorted(leaving)[: max(0, len(leaving) - _OLD_WORKERS_LIMIT)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
                cut += 1  # at least one session held it
        if self._build.keepalive_min_timeout or self._topology is None:
            return cut
        try:
            connections = client_connections(self._topology)
        except OSError:
            return cut
        return cut + math.ceil(connections * _RESETS_PER_CONNECTION)

    async def _generation(self) -> str | None:
        """The generation that the workers run, as one of them says; None when none answers."""
        try:
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                return await _ask_generation(self._folder / nginx_config.STATUS_SOCKET)
        except (OSError, TimeoutError):
            return None

    def _is_our_binary(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/exe").readlink() == Path(self._version.binary).resolve()
        except OSError:
            return True  # not ours to look into: leave it be

    def _know(self, topology: Topology) -> None:
        """Remember names across generations: a request that began under the last one ends under this one."""
        self._topology = topology
        if len(self._names) > _NAMES_LIMIT:
            self._names.clear()
        self._names |= topology.names()

    def _reopen_logs(self) -> None:
        self._process.send(signal.SIGUSR1)

    def _error_log_size(self) -> int:
        try:
            return (self._folder / nginx_config.ERROR_LOG).stat().st_size
        except OSError:
            return 0

    def _error_log_since(self, size: int) -> str:
        grown = self._error_log_size() - size
        return tail(self._folder / nginx_config.ERROR_LOG, min(grown, _SAID_LIMIT_BYTES)) if grown > 0 else ""

    def _said(self, since: int) -> str:
        """What nginx said since its error log had that size, for the end of a message; each thing once."""
        text = self._error_log_since(since) or self._process.output_tail(_SAID_LIMIT_BYTES)
        once = dict.fromkeys(_STAMP.sub(r"\1", line) for line in text.splitlines() if line)
        return f" It said: {' '.join(once)}" if once else ""


async def _ask_generation(path: Path) -> str | None:
    # The path of a unix socket has at most 107 bytes, that of a state folder may have more: go by a descriptor.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    try:
        writer.write(b"GET /generation HTTP/1.0\r\n\r\n")
        answer = await reader.read(4096)
        while chunk := await reader.read(4096):
            answer = (answer + chunk)[:4096]
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode(errors="replace") if b" 200 " in head[:20] else None


def _complaint(output: str, identity: str, desired: Desired) -> str:
    """nginx's own words, with the user's paths in place of the generation's."""
    lines = [line.removeprefix("nginx: ") for line in output.splitlines() if "[emerg]" in line or "[alert]" in line]
    text = " ".join(lines) or output.strip() or "nginx -t failed and said nothing."
    for service in desired.services:
        if isinstance(service, HttpService) and service.tls is not None:
            copy = f"./generations/{identity}/{certificate_path(service.tls.fingerprint)}"
            text = text.replace(f"{copy}.key", service.tls.key_file).replace(copy, service.tls.certificate_file)
    return f"nginx refuses the configuration of {desired.lb}: {text}"


def _build_of(version: EngineVersion) -> Build:
    words = ask(version.binary, "-V")
    folder = Path(modules_path(words) or "/nonexistent")
    return read_build(
        version.version,
        words,
        modules=frozenset(str(file) for file in folder.glob("*.so")),
        user=_worker_user(),
        ipv6=has_ipv6(),
        open_files=_open_files(),
    )


def _open_files() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)


def _worker_user() -> str | None:
    """The words of the directive `user`; None when we are not root, and nginx ignores it."""
    account = worker_account(_USERS)
    if account is not None:
        return " ".join(account)
    # Root of a user namespace that maps nobody else: nginx's own default would be a user without a number.
    return "root root" if os.geteuid() == 0 else None
