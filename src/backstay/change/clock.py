"""Reads the clocks that expiry needs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from backstay.change.model import ClockReading

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_clock() -> ClockReading:
    """Both clocks now. Where the kernel shows no boot id, it is empty, and expiry goes by the wall clock."""
    return ClockReading(wall=datetime.now(UTC), boot_id=_boot_id(), boottime_s=time.clock_gettime(time.CLOCK_BOOTTIME))


@cache
def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
