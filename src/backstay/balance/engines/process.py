"""What engines share: a detached process that outlives the agent, and commands with a limit on everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backstay.balance.ports import EngineFailed

_OUTPUT_LIMIT_BYTES = 65_536
_OUTPUT_LOG_LIMIT_BYTES = 1_048_576
_SOON_S = 10.0  # for what the kernel does at once, on a machine under load
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# The process writes its own record before it becomes the engine, so there is no moment in which an engine runs and
# its record does not exist, wherever the agent is killed. `exec` keeps both pid and start time.
_LAUNCHER = (
    "cat /proc/$$/stat /proc/sys/kernel/random/boot_id > run/engine.stat.new"
    ' && mv run/engine.stat.new run/engine.stat && exec "$@"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    output: str  # stdout and stderr as they came, at most 64 kB


async def run(argv: Sequence[str], *, cwd: Path, timeout_s: float) -> Ran:
    """Run a command to its end. Raises EngineFailed when it cannot be started, or does not end in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise EngineFailed(f"{argv[0]}: {error.strerror}. Is the engine installed? See backstay doctor.") from error
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            output = b""
            while chunk := await process.stdout.read(_OUTPUT_LIMIT_BYTES):
                # Beyond the limit it is read, so that the command can end, and forgotten.
                output += chunk[: _OUTPUT_LIMIT_BYTES - len(output)]
            code = await process.wait()
    except TimeoutError:
        raise EngineFailed(f"{' '.join(argv)} did not end within {timeout_s:g} s; it was killed.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Ran(code=code, output=output.decode(errors="replace"))


async def until(condition: Callable[[], Awaitable[bool]], *, timeout_s: float, every_s: float = 0.02) -> bool:
    """Poll until `condition` holds; False when it does not by the deadline. Asked at least once."""
    deadline = time.monotonic() + timeout_s
    while True:
        if await condition():
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(every_s)
        every_s = min(every_s * 1.5, 0.25)


class EngineProcess:
    """The engine's first process, in a session of its own, with its record in `run/engine.stat`.

    The record holds pid, start time and boot id: a pid that the system gave to another process is not ours.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record = folder / "run" / "engine.stat"
        self._output = folder / "log" / "output.log"

    def pid(self) -> int | None:
        """The running engine's pid; None when it is not there (a zombie is not)."""
        recorded = self._recorded()
        if recorded is None:
            return None
        pid, start_ticks = recorded
        _reap(pid)
        now = _stat(pid)
        return pid if now is not None and now.start_ticks == start_ticks and now.state not in "ZX" else None

    async def start(self, argv: Sequence[str]) -> int:
        """Start the engine detached, its working directory the engine's folder; return its pid.

        Its outputs go to `log/output.log`.
        Raises EngineFailed when it cannot be started. That it listens is the caller's to verify.
        """
        if self._output.exists() and self._output.stat().st_size > _OUTPUT_LOG_LIMIT_BYTES:
            self._output.replace(self._output.with_name("output.log.1"))
        descriptor = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(  # noqa: ASYNC220 - returns at once: nothing is waited for
                ("/bin/sh", "-c", _LAUNCHER, "sh", *argv),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            raise EngineFailed(f"cannot start {argv[0]}: {error.strerror}.") from error
        finally:
            os.close(descriptor)
        child.returncode = 0  # not subprocess's to watch: it outlives us, and `pid()` reaps it when it is our child

        async def recorded() -> bool:
            _reap(child.pid)
            found = self._recorded()
            return (found is not None and found[0] == child.pid) or _stat(child.pid) is None

        await until(recorded, timeout_s=_SOON_S)
        return child.pid

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to the engine's first process; False when it is gone."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def children(self) -> tuple[int, ...]:
        """Pids of the first process's children (workers, old and new). Empty when it is not running."""
        pid = self.pid()
        if pid is None:
            return ()
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:  # a kernel without CONFIG_PROC_CHILDREN
            return tuple(child for child in _pids() if (stat := _stat(child)) is not None and stat.parent == pid)
        return tuple(int(child) for child in text.split())

    def orphans(self) -> tuple[int, ...]:
        """Processes of the recorded engine whose first process is gone: workers that still hold its sockets."""
        recorded = self._recorded()
        if recorded is None or self.pid() is not None:
            return ()
        here = str(self.folder.resolve())
        return tuple(
            pid
            for pid in _pids()
            # The folder guards against a session of the same number that is another's.
            if (stat := _stat(pid)) is not None
            and stat.session == recorded[0]
            and stat.state not in "ZX"
            and _cwd(pid) == here
        )

    async def stop(self, polite: signal.Signals, *, grace_s: float) -> None:
        """Ask politely, wait for at most `grace_s`, then kill the whole session. Harmless when nothing runs."""
        recorded = self._recorded()
        pid = self.pid()
        if pid is not None:
            self.send(polite)

            async def gone() -> bool:
                return self.pid() is None

            if not await until(gone, timeout_s=grace_s):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                await until(gone, timeout_s=_SOON_S)
        for orphan in self.orphans():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)

        async def all_gone() -> bool:
            return not self.orphans()

        await until(all_gone, timeout_s=_SOON_S)
        if recorded is not None:
            self._record.unlink(missing_ok=True)

    def output_tail(self, limit_bytes: int = 2000) -> str:
        """The end of what the engine wrote on its outputs."""
        return tail(self._output, limit_bytes)

    def _recorded(self) -> tuple[int, int] | None:
        """(pid, start ticks) of the record, when it is of this boot."""
        try:
            stat, boot_id = self._record.read_text().splitlines()
            if boot_id != _BOOT_ID.read_text().strip():
                return None
            parsed = _parse_stat(stat)
        except (OSError, ValueError, IndexError):
            return None
        return parsed.pid, parsed.start_ticks


def tail(path: Path, limit_bytes: int = 2000) -> str:
    """The last `limit_bytes` of a file as text; "" when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit_bytes))
            return file.read(limit_bytes).decode(errors="replace").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    state: str
    parent: int
    session: int
    start_ticks: int


def _parse_stat(text: str) -> _Stat:
    """A line of /proc/PID/stat (proc(5)); the name in parentheses may itself hold parentheses and spaces."""
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(int(text.split(" ", 1)[0]), fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def _stat(pid: int) -> _Stat | None:
    try:
        return _parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError, IndexError):
        return None


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _cwd(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _reap(pid: int) -> None:
    """Collect a dead child, so that it is no zombie. A pid that is no child of ours is left alone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
