"""The audit's kind `tier` over real agents and engines: whose requests, errors and latency, whoever restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from agent_rig import Rig, free_port, rig_of, until

from agent_certificates import Authority
from backstay.audit.model import SeriesKind
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources import tier
from backstay.estate import load_file
from backstay.estate.model import EngineKind

ASKED = 40  # of each load balancer


def source_of(rig: Rig, sockets: str = "run") -> tier.TierIndicators:
    loaded = load_file(rig.estate_file)
    state = rig.folder / "audit"
    state.mkdir(exist_ok=True)
    around = Surroundings(
        addresses={name: str(node.address) for name, node in loaded.estate.nodes.items()},
        base=loaded.folder,
        clock=lambda: datetime.now(UTC),
        estate=loaded.estate,
        state=state,
    )
    return tier.indicators({"sockets": sockets}, around)


async def read(source: tier.TierIndicators, *nodes: str) -> dict[str, dict[str, float]]:
    """Indicator -> node -> value."""
    now = datetime.now(UTC)
    series = await source.read(nodes, start=now - timedelta(minutes=1), end=now, step_s=60.0, timeout_s=30.0)
    found: dict[str, dict[str, float]] = {}
    for one in series:
        assert (one.kind is SeriesKind.COUNTER) == one.indicator.endswith("_total")
        found.setdefault(one.indicator, {})[one.node] = float(one.values[0])
    return found


async def reads(source: tier.TierIndicators, expected: Counter[str], rig: Rig) -> dict[str, dict[str, float]]:
    """Until the totals are `expected`; access logs are read twice a second."""

    async def there() -> Any:
        found = await read(source)
        return found if found[tier.WORK] == {node: float(expected[node]) for node in rig.webs} else None

    found: dict[str, dict[str, float]] = await until(there, f"{dict(expected)} requests", explain=rig.log)
    return found


async def test_requests_errors_and_latency_of_each_backend(rig: Rig) -> None:
    """With each engine."""
    await rig.start()
    rig.webs["web2"].delay_s = 0.2
    rig.webs["web3"].status = 500
    source = source_of(rig)
    asked = await _ask(rig)
    found = await reads(source, asked, rig)
    assert sum(found[tier.WORK].values()) == ASKED
    assert found["request_errors_total"] == {"web1": 0.0, "web2": 0.0, "web3": float(asked["web3"])}
    assert found["response_seconds_total"]["web2"] >= 0.2 * asked["web2"]
    assert found["response_seconds_total"]["web1"] > 0.0
    assert set(found["requests_in_flight"]) == set(rig.webs)
    assert source.problems == ()


async def test_every_request_counts_once_over_all_load_balancers_whoever_restarts() -> None:
    rig = rig_of(EngineKind.NGINX, ("lb1", "lb2"))
    try:
        rig.write()
        await asyncio.gather(rig.start_webs(), *(rig.start(lb) for lb in rig.lbs))
        source = source_of(rig)
        asked = await _ask(rig)
        found = await reads(source, asked, rig)
        assert sum(found[tier.WORK].values()) == 2 * ASKED

        await rig.kill("lb1")  # its counts begin anew; the totals go on
        gone = await read(source)
        assert gone[tier.WORK] == found[tier.WORK]
        assert source.problems[0].startswith("lb1: ")
        await rig.start("lb1")
        again = source_of(rig)  # cron: another process, and the same state
        asked += await _ask(rig)
        await reads(again, asked, rig)

        await rig.kill("lb1")
        await rig.kill("lb2")
        with pytest.raises(SourceError, match="tier: lb2: "):
            await read(source)
    finally:
        await rig.close()


async def _ask(rig: Rig) -> Counter[str]:
    """Who answered: the test's own count."""
    before = Counter({web.name: web.served for web in rig.webs.values()})
    await asyncio.gather(*(rig.get(lb=lb) for lb in rig.lbs for _ in range(ASKED)))
    return Counter({web.name: web.served for web in rig.webs.values()}) - before


@pytest.mark.parametrize("kind", [EngineKind.NGINX], ids=str)
async def test_from_elsewhere_the_agents_are_asked_by_https_and_token(rig: Rig) -> None:
    authority = Authority(rig.folder)
    authority.pair(rig.folder / "agents.crt", rig.folder / "agents.key", "lb1")
    (rig.folder / "token").write_text("a-long-random-value\n")
    rig.estate["agents"] = {
        "port": free_port(rig.addresses["lb1"]),
        "token": {"file": "token"},
        "certificate": "agents.crt",
        "key": {"file": "agents.key"},
        "ca": "ca.crt",
    }
    rig.write()
    await rig.start()
    found = await read(source_of(rig, sockets="no-sockets-here"), "web1", "nobody")
    assert found[tier.WORK] == {"web1": 0.0}
    (rig.folder / "token").write_text("another-value\n")
    with pytest.raises(SourceError, match=r"tier: lb1: https://.* does not let us in \(HTTP 401\)"):
        await read(source_of(rig, sockets="no-sockets-here"))


@pytest.mark.parametrize("kind", [EngineKind.NGINX], ids=str)
async def test_without_a_way_to_an_agent_it_says_what_to_do(rig: Rig) -> None:
    with pytest.raises(SourceError, match=r"lb1: no agent's socket .* names no agents\.token\. Give it"):
        await read(source_of(rig, sockets="no-sockets-here"))
