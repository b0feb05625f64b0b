"""Reports as a real agent would send them, without an agent: what each load balancer desires is computed by the real
`balance.desired`, and shown with the health, the traffic and the proofs that a test asks for.

    report = report_for(estate, "lb1", revision=3, changes=[drain], down={"web3"})
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backstay.balance.desired import View, desired
from backstay.balance.model import BackendState, Desired, DesiredPool, DesiredTls, Health, HealthState, Key
from backstay.change import Change, ClockReading, change_json
from backstay.estate import Estate
from backstay.estate.select import members, services_of, tier_of
from backstay.link.wire import ChangeRefusal, OrderOutcome, Report

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def report_for(
    estate: Estate,
    lb: str,
    *,
    revision: int = 1,
    at: datetime = NOW,
    error: str = "",
    changes: Sequence[Change] = (),
    refusals: Sequence[ChangeRefusal] = (),
    orders: Sequence[OrderOutcome] = (),
    down: Collection[str] = (),
    in_flight: int = 3,
    warnings: Sequence[str] = (),
    owners: Mapping[str, str] | None = None,
    quarantined: Mapping[str, str] | None = None,
    estate_sha256: str = "0" * 64,
    every_s: float = 5.0,
) -> Report:
    """What `lb` would report.

    `changes`: in force there. `down`: nodes whose check fails. `owners`: global IP -> load balancer (default: its first
    candidate). `quarantined`: global IP -> since when, for this load balancer.
    """
    wanted = _desired(estate, lb, changes, down)
    pools = [_pool(pool, in_flight) for pool in wanted.pools]
    reading = ClockReading(wall=at, boot_id="synthetic", boottime_s=1_000.0)
    return Report(
        lb=lb,
        at=at,
        revision=revision,
        error=error,
        refusals=tuple(refusals),
        orders=tuple(orders),
        status=_status(wanted, estate, at, list(warnings), len(changes), pools, estate_sha256, revision),
        pools=pools,
        explains=[_explain(lb, pool, at, every_s) for pool in wanted.pools],
        changes=[change_json(change, reading) for change in changes],
        proofs=[_proof(lb, change, at) for change in changes if change.kind in ("drain", "maintenance")],
        ips=[
            _ip(estate, name, lb, (owners or {}).get(name, ip.candidates[0]), (quarantined or {}).get(name), at)
            for name, ip in estate.global_ips.items()
            if lb in ip.candidates
        ],
    )


def _desired(estate: Estate, lb: str, changes: Sequence[Change], down: Collection[str]) -> Desired:
    found = tier_of(estate, lb)
    assert found is not None, f"{lb} is in no tier"
    tls = {
        name: DesiredTls(
            certificate_file=f"/tls/{name}.crt",
            key_file=f"/tls/{name}.key",
            fingerprint="0" * 16,
            profile=service.tls.profile,
            hsts_max_age_s=0,
        )
        for name, service in services_of(estate, found[0]).items()
        if service.tls is not None
    }
    health: dict[Key, Health] = {}
    for name, pool in estate.pools.items():
        for node in members(estate, pool.cluster):
            state = HealthState.DOWN if node in down else HealthState.UP
            health[name, node] = Health(state=state)
    return desired(estate, lb, View(changes=changes, health=health), tls)


def _status(
    wanted: Desired,
    estate: Estate,
    at: datetime,
    warnings: list[str],
    changes: int,
    pools: list[dict[str, Any]],
    estate_sha256: str,
    revision: int,
) -> dict[str, Any]:
    found = tier_of(estate, wanted.lb)
    assert found is not None
    summaries = [{key: value for key, value in pool.items() if key not in ("balance", "members")} for pool in pools]
    version = "1.31.3" if wanted.engine == "nginx" else "2.8.26"
    return {
        "lb": wanted.lb,
        "tier": found[0],
        "estate": estate.estate,
        "estate_sha256": estate_sha256,
        "estate_source": "server",
        "engine": {
            "kind": wanted.engine.value,
            "version": version,
            "binary": f"/usr/sbin/{wanted.engine.value}",
            "origin": "system",
            "running": True,
            "missing": [],
            "client_connections": 42,
        },
        "revision": wanted.revision,
        "in_sync": True,
        "applied_at": at.isoformat(),
        "how": "reload" if wanted.engine == "nginx" else "runtime",
        "error": None,
        "warnings": warnings,
        "reloads": 2,
        "changes": changes,
        "events_waiting": 0,
        "pools": summaries,
        "agent": {"version": "0.1.0", "pid": 4711, "started_at": at.isoformat(), "resident_mb": 51.3},
        "server": {
            "url": "https://backstay.example.com:8443",
            "id": "synthetic-server",
            "connected": True,
            "since": at.isoformat(),
            "revision": revision,
            "error": None,
            "refusals": 0,
        },
    }


def _pool(pool: DesiredPool, in_flight: int) -> dict[str, Any]:
    backends = [
        {
            "backend": backend.name,
            "address": backend.address,
            "port": backend.port,
            "state": backend.state.value,
            "share": backend.share,
            "health": "down" if backend.state is BackendState.DOWN else "up",
            "in_flight": in_flight if backend.state is BackendState.ACTIVE else 0,
            "engine_state": {"active": "UP", "draining": "DRAIN", "down": "DOWN"}[backend.state.value],
            "reason": backend.reason,
        }
        for backend in pool.backends
    ]
    states = [backend.state for backend in pool.backends]
    return {
        "pool": pool.name,
        "protocol": pool.protocol.value,
        "backends": len(states),
        "active": states.count(BackendState.ACTIVE),
        "draining": states.count(BackendState.DRAINING),
        "down": states.count(BackendState.DOWN),
        "fail_open": False,
        "balance": pool.balance.value,
        "members": backends,
    }


def _explain(lb: str, pool: DesiredPool, at: datetime, every_s: float) -> dict[str, Any]:
    rows = [
        {
            "backend": backend.name,
            "share_before": backend.share,
            "share": backend.share,
            "signal_ms": round(24.0 + number, 1),
            "unloaded_ms": 20.0,
            "inflation": round(1.2 + number / 20, 2),
            "against_pool": 1.0,
            "band": 0.1,
            "error_rate": 0.0,
            "samples": 240,
            "confidence": 0.83,
            "reason": "within_band",
            "why": "within the noise: its share stays",
        }
        for number, backend in enumerate(pool.backends)
        if backend.state is BackendState.ACTIVE
    ]
    return {
        "pool": pool.name,
        "lb": lb,
        "every_s": every_s,
        "at": at.isoformat(),
        "frozen": None,
        "p95_ms": 61.0,
        "rows": rows,
    }


def _proof(lb: str, change: Change, at: datetime) -> dict[str, Any]:
    return {
        "change": change.id,
        "lb": lb,
        "node": change.node,
        "pool": change.pool,
        "started_at": change.created_at.isoformat(),
        "in_flight_at_start": 4,
        "in_flight": 0,
        "finished": 4,
        "cut": 0,
        "refused": 0,
        "started_after": 0,
        "idle": 2,
        "done": True,
        "done_at": at.isoformat(),
        "seen_at": at.isoformat(),
        "lost": 0,
        "detail": "4 in flight at the start, 4 finished, none cut, none refused",
    }


def _ip(estate: Estate, name: str, lb: str, owner: str, quarantined: str | None, at: datetime) -> dict[str, Any]:
    declared = estate.global_ips[name]
    state = "quarantined" if quarantined else "active" if owner == lb else "watching"
    strip = [[round(30 - 0.5 * n, 1), "answered"] for n in range(60)]
    probes = [
        {
            "kind": kind,
            "outcome": "answered",
            "ago_s": 0.4,
            "answered_ago_s": 0.4,
            "rtt_ms": round(0.4 + 0.2 * math.sin(n), 2),
            "detail": "",
            "strip": strip,
        }
        for n, kind in enumerate(("icmp", "http", "https"))
    ]
    others = [
        {
            "lb": other,
            "answers": True,
            "evidence": None,
            "quarantined": False,
            "took": False,
            "icmp_filtered": False,
            "silences": [],
            "probes": probes,
        }
        for other in declared.candidates
        if other != lb
    ]
    return {
        "ip": name,
        "lb": lb,
        "address": str(declared.address),
        "candidates": list(declared.candidates),
        "owner": owner,
        "owner_known": True,
        "owner_at": at.isoformat(),
        "owner_error": None,
        "moving": False,
        "state": state,
        "reason": "i_hold" if owner == lb else "quarantined" if quarantined else "holder_answers",
        "quarantined": quarantined,
        "took": False,
        "frozen_for_s": None,
        "verified": None,
        "on_disk": True,
        "candidates_seen": others,
        "own": probes,
        "gateway": probes[:1],
        "trace": [],
    }
