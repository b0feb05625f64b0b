"""A TCP probe: does the port accept?"""

from __future__ import annotations

import asyncio
import socket

from backstay.look.model import Outcome, Target
from backstay.look.probes.verdict import Verdict


async def probe_tcp(target: Target) -> Verdict:
    """Connect to the target and close. Raises OSError (see `verdict.of_error`); the caller bounds the time."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.setblocking(False)
        if target.source:
            connection.bind((target.source, 0))
        await asyncio.get_running_loop().sock_connect(connection, (target.address, target.port))
        # On one machine, an ephemeral port that nobody listens on can connect to itself (TCP simultaneous open).
        if connection.getsockname() == connection.getpeername():
            return Verdict(outcome=Outcome.REFUSED, detail="connected to itself: nothing listens")
    return Verdict(outcome=Outcome.ANSWERED)
