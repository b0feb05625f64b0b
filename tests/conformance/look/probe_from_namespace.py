"""Probes from within a network namespace of its own: `unshare --net python probe_from_namespace.py`.

Reads a JSON object from stdin ({"ping_group": true, "rules": ["nft command"], "targets": [{...}], "timeout_s": 1}) and
prints a JSON list of [outcome, detail] for each target; TARGET may have "times", and then is a list of them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from backstay.look.model import ProbeKind, Target
from backstay.look.prober import NetworkProber


def prepare(wanted: dict[str, Any]) -> None:
    with IPRoute() as routes:
        routes.link("set", index=routes.link_lookup(ifname="lo")[0], state="up")
        routes.route("add", dst="198.51.100.0/24", type="unreachable")
    if wanted["ping_group"]:
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")
    for rule in wanted["rules"]:
        subprocess.run(["nft", rule], check=True)


async def probe(wanted: dict[str, Any]) -> list[Any]:
    prober = NetworkProber()
    found = []
    for fields in wanted["targets"]:
        times = fields.pop("times", 1)
        target = Target(**{**fields, "kind": ProbeKind(fields["kind"])})
        seen = []
        while not seen or any("stood still" in one.detail for one in seen):  # a busy machine: once more
            seen = await asyncio.gather(*(prober.probe(target, timeout_s=wanted["timeout_s"]) for _ in range(times)))
        found.append([[one.outcome, one.detail] for one in seen])
    kinds = [echo.unprivileged for echo in prober._echoes.values()]
    await prober.close()
    return [found, kinds]


def main() -> None:
    wanted = json.load(sys.stdin)
    prepare(wanted)
    print(json.dumps(asyncio.run(probe(wanted))))


if __name__ == "__main__":
    main()
