"""Lets a planned move cut nobody off: the new holder passes on what belongs to connections of the old one.

A provider moves packets, not connections: those that were opened with the old holder reach the new one from then on,
which would reset them. With `global_ips.NAME.handover` both set a table of nftables of their own:

    new holder   what was not opened with it (it saw no SYN, and has no socket) is marked (DSCP), addressed to the old
                 holder's own address, and sent on
    old holder   what comes marked is for the global IP again, and so for its own sockets; it answers clients directly

A second move before the first is over is a second hop, with a mark of its own; there is no third, so nothing circles.
No state of the kernel's connection tracking is needed, and the tables are gone after HANDOVER_S. It is for networks
that let a load balancer send on packets of others (docs/decisions/0096).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

HANDOVER_S = 900.0  # what is still open then is cut
NFT_TIMEOUT_S = 2.0
FIRST_HOP, SECOND_HOP = "0x2d", "0x2f"  # DSCP of pools 3 and 2 (RFC 2474): nobody's standard
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class HandoverFailed(Exception):
    """What is missing: the move goes on, and what is in flight is cut."""


class Handover:
    """The tables of one address on this machine."""

    def __init__(self, ip: str, address: str, own: str) -> None:
        """`own`: this machine's own address."""
        self._table = f"backstay-{ip}"
        self._address = address
        self._own = own
        self._old: str | None = None  # whom connections are passed on to
        self._ending: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarded_before: str | None = None

    def expire(self) -> None:
        """Take away, in time, what an agent left that ended in between."""
        self._ending = asyncio.get_running_loop().call_later(HANDOVER_S, self._end_later)

    async def accept(self) -> None:
        """On the old holder: take back what the new one passes on. Raises HandoverFailed."""
        await self._set()

    async def forward(self, old: str) -> None:
        """On the new holder, before the address comes: pass on to `old`, an address. Raises HandoverFailed."""
        self._old = old
        await self._set()
        try:
            self._forwarded_before = FORWARDING.read_text(encoding="ascii").strip()
            if self._forwarded_before != "1":
                FORWARDING.write_text("1", encoding="ascii")
        except OSError as error:
            await self.end()
            raise HandoverFailed(f"{FORWARDING}: {error.strerror}") from error

    async def end(self) -> None:
        """Take the table away. Never raises; there may be none."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        with contextlib.suppress(HandoverFailed):
            await _nft(f"add table ip {self._table}", f"delete table ip {self._table}")
        if self._forwarded_before not in (None, "1"):
            with contextlib.suppress(OSError):
                FORWARDING.write_text(str(self._forwarded_before), encoding="ascii")
        self._forwarded_before = None
        self._old = None

    def _rules(self) -> list[str]:
        # `socket` finds no connection whose handshake is under way: those are known by their SYN.
        address, old, client = self._address, self._old, "ip saddr . tcp sport"
        marked = f"{{ {FIRST_HOP}, {SECOND_HOP} }}"
        rules = [f"ip daddr {self._own} ip dscp {marked} meta l4proto tcp ip daddr set {address}"]
        if old is not None:
            rules += [
                f"ip daddr {address} tcp flags & (syn | ack) == syn update @mine {{ {client} }} accept",
                f"ip daddr {address} {client} @mine accept",
                f"ip daddr {address} socket wildcard 0 accept",
                f"ip daddr {address} ip dscp {SECOND_HOP} accept",
                f"ip daddr {address} ip dscp {FIRST_HOP} meta l4proto tcp ip dscp set {SECOND_HOP} "
                f"ip daddr set {old} accept",
                f"ip daddr {address} meta l4proto tcp ip dscp set {FIRST_HOP} ip daddr set {old}",
            ]
        return [f"add rule ip {self._table} pre {rule}" for rule in rules]

    async def _set(self) -> None:
        table = self._table
        if ":" in self._address:
            raise HandoverFailed("connections to an IPv6 address are not handed over")
        # One transaction: what was there before is replaced in one step.
        await _nft(
            f"add table ip {table}",
            f"delete table ip {table}",
            f"add table ip {table}",
            f"add set ip {table} mine {{ type ipv4_addr . inet_service; flags dynamic,timeout; size 65535; "
            f"timeout {round(HANDOVER_S)}s; }}",
            f"add chain ip {table} pre {{ type filter hook prerouting priority -310; }}",
            *self._rules(),
        )
        if self._ending is not None:
            self._ending.cancel()
        self.expire()

    def _end_later(self) -> None:
        task = asyncio.create_task(self.end())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _nft(*lines: str) -> None:
    """Run one transaction. Raises HandoverFailed."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise HandoverFailed("the nft program is not installed (package nftables)")
    process = await asyncio.create_subprocess_exec(
        program,
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(NFT_TIMEOUT_S):
            _, said = await process.communicate(("\n".join(lines) + "\n").encode("ascii"))
    except TimeoutError:
        raise HandoverFailed(f"nft did not end within {NFT_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise HandoverFailed(f"nft: {said.decode('utf-8', 'replace').strip()[:300]}")
