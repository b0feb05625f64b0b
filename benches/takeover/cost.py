"""What watching costs in health: packets on the wire, questions asked, CPU seconds.

Every packet of the pair is counted once, by the host that sends it (nftables, output hook): between the two, and to
the gateway and the provider's API; what those two answer is counted where it arrives. Users' traffic and the engine's
checks of its backends are not counted. CPU: of the processes that watch, with the scripts that they started (their
children's time), on both hosts.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from backstay.lab import proc
from backstay.lab.fabric.links import GATEWAY
from backstay.lab.model import WITNESS
from backstay.lab.plan.layout import PROVIDER_PORT
from benches.takeover.contenders import Contender

TABLE, ALL, ASKED = "backstay_bench", "bench_all", "bench_asked"  # nft has words of its own: "packets"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of both hosts of a pair together."""

    packets_per_s: float
    questions_per_s: float  # connections opened, pings and adverts sent to the other
    cpu_s_per_hour: float


async def measure(contenders: Sequence[Contender], for_s: float) -> dict[str, Cost]:
    """All of them at once, while nothing goes wrong."""
    for contender in contenders:
        await contender.rest()
        await _count(contender)
    before = {one.name: (await _counted(one), cpu_s(one)) for one in contenders}
    await asyncio.sleep(for_s)
    found = {}
    for one in contenders:
        (packets, questions), used_s = before[one.name]
        (packets_now, questions_now), used_now_s = await _counted(one), cpu_s(one)
        found[one.name] = Cost(
            packets_per_s=(packets_now - packets) / for_s,
            questions_per_s=(questions_now - questions) / for_s,
            cpu_s_per_hour=(used_now_s - used_s) / for_s * 3_600,
        )
    return found


async def _count(contender: Contender) -> None:
    range = contender.range
    for host, peer in _pair(contender):
        to, provider = f"ip daddr {range.address(peer)}", range.address(WITNESS)
        rules = [
            f"{to} counter name {ALL}",
            f"{to} tcp flags & (syn | ack) == syn counter name {ASKED}",
            f"{to} icmp type echo-request counter name {ASKED}",
            f"{to} ip protocol vrrp counter name {ASKED}",
            f"ip daddr {GATEWAY} counter name {ALL}",
            f"ip daddr {provider} tcp dport {PROVIDER_PORT} counter name {ALL}",
        ]
        back = [
            f"ip saddr {GATEWAY} counter name {ALL}",
            f"ip saddr {provider} tcp sport {PROVIDER_PORT} counter name {ALL}",
        ]
        lines = [f"add table inet {TABLE}"]
        lines += [f"add counter inet {TABLE} {name}" for name in (ALL, ASKED)]
        for hook, chain in (("output", rules), ("input", back)):
            lines.append(f"add chain inet {TABLE} {hook} {{ type filter hook {hook} priority 0; }}")
            lines += [f"add rule inet {TABLE} {hook} {rule}" for rule in chain]
        await range.run(host, "nft", "; ".join(lines))


async def _counted(contender: Contender) -> tuple[int, int]:
    """Packets and questions so far."""
    totals = {ALL: 0, ASKED: 0}
    for host, _ in _pair(contender):
        said = json.loads(await contender.range.run(host, "nft", "-j", "list", "counters"))
        for entry in said["nftables"]:
            if counter := entry.get("counter"):
                totals[counter["name"]] += counter["packets"]
    return totals[ALL], totals[ASKED]


def cpu_s(contender: Contender) -> float:
    """Of the processes that watch, and of those that they started and that ended."""
    ticks = 0
    for host, _ in _pair(contender):
        for pid in contender.pids(host):
            fields = (proc.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime (proc(5))
    return ticks / TICKS_PER_S


def _pair(contender: Contender) -> tuple[tuple[str, str], ...]:
    return (contender.active, contender.standby), (contender.standby, contender.active)
