"""What engines must know of the machine that they run on."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Sequence
from pathlib import Path


def has_ipv6() -> bool:
    """True when sockets of IPv6 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def worker_account(candidates: Sequence[str]) -> tuple[str, str] | None:
    """(user, group) that an engine's workers can drop to: the first of `candidates` that exists here.

    None when we are not root, when none exists, or when this user namespace does not map it (the lab without root:
    a process cannot become a user that has no number).
    """
    if os.geteuid() != 0:
        return None
    for name in candidates:
        try:
            user = pwd.getpwnam(name)
            group = grp.getgrgid(user.pw_gid)
        except KeyError:
            continue
        if _is_mapped("uid_map", user.pw_uid) and _is_mapped("gid_map", group.gr_gid):
            return user.pw_name, group.gr_name
    return None


def _is_mapped(table: str, number: int) -> bool:
    for line in Path(f"/proc/self/{table}").read_text().splitlines():
        inside, _, length = (int(word) for word in line.split())
        if inside <= number < inside + length:
            return True
    return False
