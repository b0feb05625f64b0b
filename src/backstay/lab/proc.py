"""Processes as /proc tells of them: who lives, who belongs to a lab, and the sweep that leaves none behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LAB_VARIABLE = "BACKSTAY_LAB"  # in the environment of every process of a lab: the lab's id
PROC = Path("/proc")


def start_time_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (clock ticks since boot; proc(5)); None when there is no such process."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command name, in brackets, may hold spaces and brackets: fields start after the last one.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else int(rest[18])


def alive(pid: int, ticks: int) -> bool:
    """True when `pid` is still the process that started at `ticks`."""
    return start_time_ticks(pid) == ticks


def pids() -> Iterator[int]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def pids_in_folder(folder: Path) -> list[int]:
    """Processes that work in `folder` or below it. A daemon keeps the folder it was started in."""
    prefix = f"{folder}/"
    found = []
    for pid in pids():
        with suppress(OSError):
            cwd = str((PROC / str(pid) / "cwd").readlink()).removesuffix(" (deleted)")
            if f"{cwd}/".startswith(prefix):
                found.append(pid)
    return found


def pids_with_marker(lab_id: str) -> list[int]:
    """Processes that carry the lab's id in their environment."""
    marker = f"{LAB_VARIABLE}={lab_id}".encode()
    found = []
    for pid in pids():
        with suppress(OSError):
            if marker in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def pids_in_netns(inode: int) -> list[int]:
    """Processes whose network namespace has this inode."""
    found = []
    for pid in pids():
        with suppress(OSError):
            if (PROC / str(pid) / "ns" / "net").stat().st_ino == inode:
                found.append(pid)
    return found


def signal_all(targets: list[int], number: signal.Signals) -> None:
    for pid in targets:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def sweep(folder: Path, lab_id: str | None, *, deadline_s: float = 10.0) -> list[int]:
    """Kill every process of a lab, again until none is left; those that outlive the deadline are returned.

    By working folder and (when the id is known) by environment, so that it also finds daemons that left their parents,
    after kill -9 of whoever started them. Never the caller.
    """
    end = time.monotonic() + deadline_s
    while True:
        marked = pids_with_marker(lab_id) if lab_id else []
        found = sorted({*pids_in_folder(folder), *marked} - {os.getpid()})
        found = [pid for pid in found if start_time_ticks(pid) is not None]
        if not found or time.monotonic() > end:
            return found
        signal_all(found, signal.SIGKILL)
        time.sleep(0.02)
