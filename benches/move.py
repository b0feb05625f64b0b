"""How many requests does a planned move of a global IP lose? `./run bench move`

A lab in network namespaces: real engines, agents and provider API, the address moved to and fro under an open-loop
witness (arrivals at a constant rate, whatever the service does; nine in ten requests over kept connections, one over a
new one; half of them POSTs, which nobody repeats). Backstay moves by `backstay ip move`, with `handover: true`. Its
peer is what people do by hand: they have the provider route the address to the other load balancer. Needs root, or
user namespaces, and the nft program.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from backstay.lab import build
from backstay.lab.fabric.pick import pick
from backstay.lab.hosts.control import tell
from backstay.lab.keeper.client import call
from backstay.lab.model import FabricKind, LabError
from backstay.lab.state import LabFolder
from backstay.lab.traffic import Figures, Traffic
from benches.harness import Bench

CASE = "move"
IP = "www"
OURS, BY_HAND = "Backstay, ip move", "by hand, the provider's API"
ESTATE = Path(__file__).with_name("move.yaml")
RATE_PER_S = 500.0
MOVE_EVERY_S = 5.0
REQUESTS, SHORT_REQUESTS = 110_000, 6_000
PEERS_PART = 4  # it gets a quarter of the requests: its figures are those of one move
PATIENCE_S = 20.0
COMMAND_TIMEOUT_S = 60.0

Move = Callable[[LabFolder, str], Awaitable[None]]


async def backstay(folder: LabFolder, *arguments: str) -> str:
    """Run a command on the lab, as a user does; what it says. Raises LabError when it fails."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTAY_")}
    own = {"BACKSTAY_ESTATE": str(folder.estate_file), "BACKSTAY_RUN_DIR": str(folder.run)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backstay.cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=kept | own,
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        said, _ = await process.communicate()
    if process.returncode:
        raise LabError(f"backstay {' '.join(arguments)} ended with {process.returncode}: {said.decode()}")
    return said.decode()


async def as_planned(folder: LabFolder, to: str) -> None:
    try:
        await backstay(folder, "ip", "move", IP, "--to", to, "--reason", "a bench", "--yes")
    except LabError as error:
        raise LabError(f"{error}\n{await backstay(folder, 'ip', 'history', IP)}") from error


async def by_hand(folder: LabFolder, to: str) -> None:
    """Nobody tells the load balancers; the provider does what it is told."""
    await tell(folder.control / "provider.sock", {"person": {"ip": IP, "to": to}})


async def holder(folder: LabFolder) -> str:
    return str((await call(folder, "status"))["owners"][IP])


async def pages(folder: LabFolder) -> int:
    return int((await tell(folder.control / "pager.sock", {}))["count"])


async def measure(bench: Bench, subject: str, move: Move, requests: int) -> Figures:
    """A lab of its own, so that no subject finds what another left."""
    rate = bench.args.rate
    with tempfile.TemporaryDirectory(prefix="bs-", dir="/tmp") as root:  # short: a socket's path
        lab = await build.up(build.Options(source=ESTATE, root=Path(root), fabric=pick(FabricKind.NAMESPACES).kind))
        try:
            ip = next(ip for ip in lab.layout.ips if ip.name == IP)
            # A loaded machine's pauses are not the subject: nobody takes over by itself meanwhile.
            await backstay(lab.folder, "ip", "freeze", IP, "--for", "1h", "--reason", "a bench")
            traffic = Traffic(lab.folder, ip, rate=rate)
            await traffic.start()
            took_ms: list[float] = []
            end_s = time.monotonic() + requests / rate
            while time.monotonic() < end_s:
                await asyncio.sleep(MOVE_EVERY_S)
                held_by = await holder(lab.folder)
                to = next(lb for lb in ip.candidates if lb != held_by)
                began_s = time.monotonic()
                await move(lab.folder, to)
                await routed(lab.folder, to)
                took_ms.append((time.monotonic() - began_s) * 1e3)
            seen = await traffic.stop()
            paged = await pages(lab.folder)
        finally:
            await lab.down()
    bench.record(
        CASE,
        subject,
        requests=seen.sent,
        moves=len(took_ms),
        lost=seen.failed,
        lost_a_move=seen.failed / len(took_ms),
        downtime_ms_a_move=1e3 * seen.downtime_s / len(took_ms),
        latency_ms_p50=seen.latency_ms_p50,
        latency_ms_p99=seen.latency_ms_p99,
        move_ms_p50=statistics.median(took_ms),
        pages=paged,
        witness_late_ms_max=seen.witness_late_ms_max,
    )
    return seen


async def routed(folder: LabFolder, to: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await holder(folder) != to:
            await asyncio.sleep(0.02)


async def moves(bench: Bench) -> None:
    """An address moved to and fro every five seconds, under a constant rate of requests over TLS."""
    requests = SHORT_REQUESTS if bench.short else REQUESTS
    seen = await measure(bench, OURS, as_planned, requests)
    await measure(bench, BY_HAND, by_hand, requests if bench.short else requests // PEERS_PART)
    bench.ratio(CASE, "lost_a_move", OURS, BY_HAND)
    least = SHORT_REQUESTS // 2 if bench.short else 100_000
    bench.check(
        CASE, f"{OURS}: 0 lost of at least {least:,}", met=seen.failed == 0 and seen.sent >= least,
        measured=f"{seen.failed} of {seen.sent:,}",
    )  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="requests a second (default %(default)g)")


if __name__ == "__main__":
    sys.exit(Bench("move", "requests lost by planned moves of a global IP", cases={CASE: moves}, options=options).run())
