"""When a change is over. Pure: the clock is read elsewhere (`clock.py`).

A drain of 30 minutes lasts 30 minutes of real time, whatever happens to the wall clock meanwhile: NTP steps it,
a virtual machine is resumed, somebody types `date -s`. CLOCK_BOOTTIME counts on through all that (and through
suspend), but starts anew with each boot; so it rules within one boot, and the wall clock across boots.
"""

from __future__ import annotations

from datetime import timedelta

from backstay.change.durations import check_duration
from backstay.change.model import ClockReading, Deadline


def deadline_at(reading: ClockReading, duration_s: float) -> Deadline:
    """The deadline `duration_s` seconds after `reading`, by both clocks. Raises ChangeInvalid for a bad duration."""
    check_duration(duration_s)
    return Deadline(
        wall=reading.wall + timedelta(seconds=duration_s),
        boot_id=reading.boot_id,
        boottime_s=reading.boottime_s + duration_s,
    )


def remaining_s(deadline: Deadline, reading: ClockReading) -> float:
    """Seconds until `deadline`; negative once it is past."""
    if _same_boot(deadline, reading):
        return deadline.boottime_s - reading.boottime_s
    return (deadline.wall - reading.wall).total_seconds()


def is_due(deadline: Deadline | None, reading: ClockReading) -> bool:
    """Is it over? A change without a deadline never is."""
    return deadline is not None and remaining_s(deadline, reading) <= 0


def _same_boot(deadline: Deadline, reading: ClockReading) -> bool:
    # An empty id means that the kernel gave none (a container without /proc): then no two moments share a boot.
    return bool(reading.boot_id) and deadline.boot_id == reading.boot_id
