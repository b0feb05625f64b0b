"""Tells systemd how this process is (sd_notify(3)), without libsystemd. Says nothing where nobody listens."""

from __future__ import annotations

import os
import socket
import time

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_told: dict[str, str] = {}


def take() -> None:
    """Take systemd's variables out of the environment: a child that inherits them would speak for us."""
    _told.update({name: os.environ.pop(name) for name in _VARIABLES if name in os.environ})


def notify(*states: str) -> bool:
    """Send `states` ("READY=1", "STATUS=..."). False when there is nobody to tell, or it could not be told."""
    address = _told.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1.0)
            # A leading @ is systemd's spelling of the abstract namespace's zero byte.
            channel.connect("\0" + address[1:] if address[0] == "@" else address)
            channel.send("\n".join(states).encode())
    except OSError:
        return False
    return True


def ready(status: str) -> bool:
    return notify("READY=1", f"STATUS={status}")


def reloading() -> bool:
    """Type=notify-reload needs the time at which the reload began; `ready` ends it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")


def stopping() -> bool:
    return notify("STOPPING=1")


def alive() -> bool:
    return notify("WATCHDOG=1")


def watchdog_s() -> float | None:
    """How often systemd wants to hear `alive`, in seconds; None when it does not watch this process."""
    watched = _told.get("WATCHDOG_PID")
    if watched and watched != str(os.getpid()):
        return None
    try:
        return int(_told["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
