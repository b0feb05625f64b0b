"""What loopback alone cannot show: silence, lost packets, errors of routers, ICMP with and without privileges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
RULES = [
    "add table inet lab",
    "add chain inet lab input { type filter hook input priority 0; }",
    "add rule inet lab input ip daddr 127.0.0.2 drop",
    "add rule inet lab input ip daddr 127.0.0.3 reject with icmp type host-unreachable",
    "add rule inet lab input ip daddr 127.0.0.4 icmp type echo-request numgen random mod 100 < 50 drop",
]


def namespace_fault() -> str:
    """Why no namespace can be had here; empty when it can."""
    for program in ("unshare", "nft"):
        if not shutil.which(program):
            return f"needs the program {program}"
    tried = subprocess.run([*UNSHARE, "nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"needs a network namespace with nftables: {tried.stderr.strip()}"


NO_NAMESPACE = namespace_fault()
pytestmark = pytest.mark.skipif(bool(NO_NAMESPACE), reason=NO_NAMESPACE)


def probe(*targets: dict[str, Any], ping_group: bool = False, timeout_s: float = 1.0) -> Any:
    """Observations of each target, and for each ICMP socket whether it was unprivileged."""
    wanted = {"targets": targets, "rules": RULES, "ping_group": ping_group, "timeout_s": timeout_s}
    done = subprocess.run(
        [*UNSHARE, sys.executable, str(Path(__file__).with_name("probe_from_namespace.py"))],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("ping_group", [False, True], ids=["raw", "unprivileged"])
def test_icmp_answers_silence_and_errors(ping_group: bool) -> None:
    found, unprivileged = probe(
        {"kind": "icmp", "address": "127.0.0.1"},
        {"kind": "icmp", "address": "::1"},
        {"kind": "icmp", "address": "127.0.0.2"},
        {"kind": "icmp", "address": "127.0.0.3"},
        {"kind": "icmp", "address": "198.51.100.1"},
        {"kind": "icmp", "address": "127.0.0.1", "source": "127.0.0.9"},
        ping_group=ping_group,
    )
    assert [seen[0] for seen in found] == [
        ["answered", ""],
        ["answered", ""],
        ["timed_out", "no answer within 1 s"],
        ["unreachable", "host unreachable, says 127.0.0.3"],
        ["unreachable", "no route to host"],
        ["answered", ""],
    ]
    assert unprivileged == [ping_group] * 3


def test_lost_packets_are_lost_probes_and_no_reply_is_taken_for_another() -> None:
    found, _ = probe({"kind": "icmp", "address": "127.0.0.4", "times": 400})
    counts = Counter(outcome for outcome, _ in found[0])
    assert set(counts) == {"answered", "timed_out"}
    assert 120 <= counts["answered"] <= 280  # half, beyond seven standard deviations


@pytest.mark.parametrize("kind", ["tcp", "http", "https"])
def test_silence_errors_and_missing_routes_of_connections(kind: str) -> None:
    found, _ = probe(
        {"kind": kind, "address": "127.0.0.2", "port": 80},
        {"kind": kind, "address": "127.0.0.3", "port": 80},
        {"kind": kind, "address": "198.51.100.1", "port": 80},
        {"kind": kind, "address": "203.0.113.1", "port": 80},
        {"kind": kind, "address": "127.0.0.1", "port": 80},
    )
    assert [seen[0] for seen in found] == [
        ["timed_out", "no answer within 1 s"],
        ["unreachable", "no route to host"],
        ["unreachable", "no route to host"],
        ["unreachable", "network unreachable"],
        ["refused", "connection refused"],
    ]


def test_without_any_privilege_icmp_is_not_sent_and_says_what_to_do() -> None:
    # An unmapped user namespace: no capability survives the exec, and nobody may ping in the new network namespace.
    code = """
import asyncio
from backstay.look.model import ProbeKind, Target
from backstay.look.prober import NetworkProber
async def main():
    seen = await NetworkProber().probe(Target(kind=ProbeKind.ICMP, address="127.0.0.1"), timeout_s=5)
    print(seen.outcome, seen.detail)
asyncio.run(main())
"""
    done = subprocess.run(
        ["unshare", "--user", "--net", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("not_sent ICMP is not permitted: set net.ipv4.ping_group_range"), done.stderr
