"""What one load balancer shall run: the estate, changes, health and shares made into one value. Pure.

For each backend the first of these that applies decides, and its `reason` says so:

    a change drains it, or its own health port does      DRAINING
    its check fails, it is unchecked or ejected          DOWN
    otherwise                                            ACTIVE, share = rescaler * change * own word * slow start

A pool of which nothing would be active fails open: the set that served last is kept serving, and says so.
A drained backend is never part of that set: whoever drains everything gets a pool that answers nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from backstay.balance.model import (
    SHARE_CAP,
    SHARE_FLOOR,
    Backend,
    BackendState,
    Desired,
    DesiredPool,
    DesiredRoute,
    DesiredTls,
    Health,
    HttpService,
    Key,
    Share,
    TcpService,
)
from backstay.change.book import effect_on
from backstay.change.model import Change, ChangeKind
from backstay.estate.model import Estate, Pool, Service
from backstay.estate.select import members, services_of, tier_of

FAIL_OPEN = "fail open: every backend is down, the last set is kept serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known beside the estate. An absent key of a mapping means: nothing special."""

    changes: Sequence[Change] = ()  # in force now
    health: Mapping[Key, Health] = field(default_factory=dict)
    shares: Mapping[Key, Share] = field(default_factory=dict)
    ramps: Mapping[Key, float] = field(default_factory=dict)  # slow start, 0..1, where the engine has none
    last: Desired | None = None  # what runs now: who served last


def desired(estate: Estate, lb: str, view: View, tls: Mapping[str, DesiredTls]) -> Desired:
    """What load balancer `lb` shall run. Equal inputs give an equal value and `revision`.

    `tls`: name of a service -> its certificate as loaded (reading files is not done here).
    Raises ValueError when `lb` is in no tier, or a service with TLS lacks its entry in `tls`.
    """
    found = tier_of(estate, lb)
    if found is None:
        raise ValueError(f"{lb} is in no tier. Add it to the members of one under tiers, or run as another node.")
    tier_name, tier = found
    carried = services_of(estate, tier_name)
    services = tuple(_service(name, service, tls) for name, service in carried.items())
    wanted = {pool for service in services for pool in _pools_of(service)}
    pools = _Pools(estate, view)
    content = Desired(
        estate=estate.estate,
        lb=lb,
        engine=tier.engine,
        listen=("*",) if tier.listen == "all" else (str(estate.nodes[lb].address),),
        services=services,
        pools=tuple(pools.build(name, pool) for name, pool in estate.pools.items() if name in wanted),
        revision="",
    )
    return replace(content, revision=revision_of(content))


def revision_of(content: Desired) -> str:
    """SHA-256 over what an engine runs, 16 hex digits. A backend's reason is left out: words alter no engine."""
    plain: dict[str, Any] = asdict(content)
    plain.pop("revision")
    for pool in plain["pools"]:
        for backend in pool["backends"]:
            backend.pop("reason")
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), default=lambda model: model.model_dump(mode="json"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _service(name: str, service: Service, tls: Mapping[str, DesiredTls]) -> HttpService | TcpService:
    if service.tcp_port is not None and service.pool is not None:
        return TcpService(name=name, port=service.tcp_port, pool=service.pool)
    if service.tls is not None and name not in tls:
        raise ValueError(f"service {name} has TLS, and its certificate was not loaded. See services.{name}.tls.")
    return HttpService(
        name=name,
        hostnames=service.hostnames,
        http_port=service.http_port,
        https_port=service.https_port,
        tls=tls[name] if service.tls is not None else None,
        redirect_http=service.redirect_http and service.tls is not None,
        header_limit_kb=service.header_limit_kb,
        body_limit_mb=service.body_limit_mb,
        routes=tuple(
            DesiredRoute(path=route.path, pool=route.pool, websocket=route.websocket) for route in service.routes
        ),
    )


def _pools_of(service: HttpService | TcpService) -> tuple[str, ...]:
    if isinstance(service, TcpService):
        return (service.pool,)
    return tuple(route.pool for route in service.routes)


class _Pools:
    """Builds pools. Changes are looked up by node, so that 500 pools with 1,000 changes stay quick."""

    def __init__(self, estate: Estate, view: View) -> None:
        self.estate, self.view = estate, view
        self.changes: dict[str, list[Change]] = defaultdict(list)
        for change in view.changes:
            self.changes[change.node].append(change)
        self.last: Mapping[str, DesiredPool] = {pool.name: pool for pool in view.last.pools} if view.last else {}
        self.members: dict[str, tuple[str, ...]] = {}

    def build(self, name: str, pool: Pool) -> DesiredPool:
        if pool.cluster not in self.members:
            self.members[pool.cluster] = members(self.estate, pool.cluster)
        backends = tuple(self._backend(name, pool, node) for node in self.members[pool.cluster])
        return DesiredPool(
            name=name,
            protocol=pool.protocol,
            balance=pool.balance,
            backends=_fail_open(backends, self.last.get(name)),
            check=pool.check,
            slow_start_s=pool.slow_start_s,
            connect_timeout_s=pool.connect_timeout_s,
            response_timeout_s=pool.response_timeout_s,
            fastcgi=pool.fastcgi,
        )

    def _backend(self, pool_name: str, pool: Pool, node: str) -> Backend:
        key = (pool_name, node)
        changes = [change for change in self.changes.get(node, ()) if change.pool in (None, pool_name)]
        effect = effect_on(changes, pool_name, node)
        health = self.view.health.get(key)
        share, reason = self._share(key, changes, effect.factor, health)
        state = BackendState.ACTIVE
        if effect.draining:
            state, reason = BackendState.DRAINING, _words(changes, drains=True)
        elif health is not None and health.draining:
            state, reason = BackendState.DRAINING, health.reason or "its health port says drain"
        elif health is not None and not health.serving:
            state, reason = BackendState.DOWN, health.reason or str(health.state)
        address = str(self.estate.nodes[node].address)
        return Backend(name=node, address=address, port=pool.port, state=state, share=share, reason=reason)

    def _share(self, key: Key, changes: Sequence[Change], factor: float, health: Health | None) -> tuple[float, str]:
        given = self.view.shares.get(key, Share())
        ramp = self.view.ramps.get(key, 1.0)
        word = 1.0 if health is None else health.factor
        share = round(min(max(given.share * factor * word * ramp, SHARE_FLOOR), SHARE_CAP), 3)
        reasons = [given.reason] if given.share != 1.0 else []
        reasons += [_words(changes, drains=False)] if factor != 1.0 else []
        reasons += [health.reason] if health is not None and word != 1.0 else []
        reasons += [f"slow start at {ramp:.0%}"] if ramp < 1.0 else []
        return share, "; ".join(reason for reason in reasons if reason)


def _words(changes: Sequence[Change], *, drains: bool) -> str:
    """Who did it and why: "drain by alice: kernel"."""
    chosen = [change for change in changes if (change.kind is not ChangeKind.WEIGHT) == drains]
    return "; ".join(f"{change.kind} by {change.actor}: {change.reason}" for change in chosen)


def _fail_open(backends: tuple[Backend, ...], last: DesiredPool | None) -> tuple[Backend, ...]:
    """Keep the last set serving when all that is not drained is down.

    The last set is who was active in `last`; without one, or when all of it is drained by now, everyone not drained.
    """
    down = {backend.name for backend in backends if backend.state is BackendState.DOWN}
    if not down or any(backend.state is BackendState.ACTIVE for backend in backends):
        return backends
    served = {b.name for b in last.backends if b.state is BackendState.ACTIVE} if last else set()
    kept = (down & served) or down
    return tuple(
        replace(backend, state=BackendState.ACTIVE, reason=f"{FAIL_OPEN} ({backend.reason})")
        if backend.name in kept
        else backend
        for backend in backends
    )


def difference(old: Desired | None, new: Desired) -> list[str]:
    """What changes between `old` (None: nothing runs) and `new`, as sentences in the order of the configuration.

    Empty when the two run the same. Reasons are told where a state or share changed, not compared.
    """
    if old is None:
        return [f"{new.lb} starts {new.engine} with {_count(new.services, 'service')} and {_count(new.pools, 'pool')}"]
    lines = [
        f"{what} changes from {before} to {after}"
        for what, before, after in (
            ("the load balancer", old.lb, new.lb),
            ("the engine", old.engine, new.engine),
            ("listen", ", ".join(old.listen), ", ".join(new.listen)),
        )
        if before != after
    ]
    services = {service.name: service for service in old.services}
    for service in new.services:
        lines += _service_difference(services.pop(service.name, None), service)
    lines += [f"service {name} is removed" for name in services]
    pools = {pool.name: pool for pool in old.pools}
    for pool in new.pools:
        lines += _pool_difference(pools.pop(pool.name, None), pool)
    return lines + [f"pool {name} is removed" for name in pools]


def _service_difference(old: HttpService | TcpService | None, new: HttpService | TcpService) -> list[str]:
    where = f"service {new.name}"
    if old is None:
        return [f"{where} is added"]
    if type(old) is not type(new):
        return [f"{where} becomes {'TCP' if isinstance(new, TcpService) else 'HTTP'}"]
    before, after = asdict(old), asdict(new)
    lines = []
    if isinstance(old, HttpService) and isinstance(new, HttpService):
        if old.tls and new.tls and old.tls.fingerprint != new.tls.fingerprint:
            lines.append(f"{where}: another certificate or key ({old.tls.fingerprint} to {new.tls.fingerprint})")
            before["tls"].pop("fingerprint"), after["tls"].pop("fingerprint")
        elif (old.tls is None) != (new.tls is None):
            lines.append(f"{where}: TLS is {'added' if new.tls else 'removed'}")
            del before["tls"], after["tls"]
        routes = {route.path: route for route in old.routes}
        for route in new.routes:
            was = routes.pop(route.path, None)
            if was != route:
                socket = ", WebSocket" if route.websocket else ""
                lines.append(
                    f"{where}: route {route.path} {'goes' if was else 'is added,'} to pool {route.pool}{socket}"
                )
        lines += [f"{where}: route {path} is removed" for path in routes]
        del before["routes"], after["routes"]
    return lines + _fields(where, before, after)


def _pool_difference(old: DesiredPool | None, new: DesiredPool) -> list[str]:
    where = f"pool {new.name}"
    if old is None:
        return [f"{where} is added with {', '.join(backend.name for backend in new.backends) or 'no backend'}"]
    lines = _fields(where, _settings(old), _settings(new))
    backends = {backend.name: backend for backend in old.backends}
    for backend in new.backends:
        lines += _backend_difference(where, backends.pop(backend.name, None), backend)
    return lines + [f"{where}: {name} leaves" for name in backends]


def _settings(pool: DesiredPool) -> dict[str, Any]:
    return {
        "protocol": pool.protocol,
        "balance": pool.balance,
        "check": pool.check and pool.check.model_dump(mode="json"),
        "slow_start_s": pool.slow_start_s,
        "connect_timeout_s": pool.connect_timeout_s,
        "response_timeout_s": pool.response_timeout_s,
        "fastcgi": pool.fastcgi and pool.fastcgi.model_dump(mode="json"),
    }


def _backend_difference(where: str, old: Backend | None, new: Backend) -> list[str]:
    why = f" ({new.reason})" if new.reason else ""
    if old is None:
        return [f"{where}: {new.name} joins at {new.address}:{new.port}, {new.state}{why}"]
    lines = []
    if (old.address, old.port) != (new.address, new.port):
        lines.append(f"{where}: {new.name} moves from {old.address}:{old.port} to {new.address}:{new.port}")
    if old.state is not new.state:
        lines.append(f"{where}: {new.name} goes from {old.state} to {new.state}{why}")
    if old.share != new.share:
        lines.append(f"{where}: {new.name} goes from share {old.share:g} to {new.share:g}{why}")
    return lines


def _fields(where: str, before: Any, after: Any, path: str = "") -> list[str]:
    """Settings that differ, one sentence each; mappings are gone into."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines = []
        for key in [*before, *(key for key in after if key not in before)]:
            lines += _fields(where, before.get(key), after.get(key), f"{path}.{key}" if path else key)
        return lines
    if before == after:
        return []
    return [f"{where}: {path} changes from {_show(before)} to {_show(after)}"]


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _show(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_show(item) for item in value) or "none"
    return str(value)
