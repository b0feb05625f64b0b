"""HAProxy's backends: pools, their servers, checks and weights, rendered. Pure; a part of config.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backstay.balance.model import Backend, BackendState, DesiredPool
from backstay.estate.model import Balance, Check, Fastcgi, Protocol

LAST_RESORT = ":open"  # suffix of a backend's unchecked twin; no node's name has a colon
FULL_WEIGHT = 64  # of a full share: the cap of 3 shares stays below 256, the floor of 5% is still a weight of 3
WEIGHT_LIMIT = 256

_ALGORITHM: Mapping[Balance, str] = {
    Balance.LEAST_TIME: "leastconn",  # HAProxy has no least_time; the rescaler brings time in, by the weights
    Balance.LEAST_CONNECTIONS: "leastconn",
    Balance.ROUND_ROBIN: "roundrobin",
    Balance.SOURCE: "source",
}


def weight_of(backend: Backend) -> int:
    """HAProxy's weight of a backend: 0 takes no new requests, whether it is draining or down."""
    if backend.state is not BackendState.ACTIVE:
        return 0
    return min(max(round(backend.share * FULL_WEIGHT), 1), WEIGHT_LIMIT)


def render_pool(pool: DesiredPool, host_header: str) -> Iterator[str]:
    """The lines of one pool. `host_header`: what its checks ask for."""
    http = pool.protocol is not Protocol.TCP
    yield ""
    if pool.fastcgi is not None:
        yield from _fastcgi(pool.name, pool.fastcgi)
    yield f"backend {pool.name} from {'http' if http else 'tcp'}"
    yield f"    balance {_ALGORITHM[pool.balance]}"
    if pool.balance is Balance.SOURCE:
        yield "    hash-type consistent"
    yield f"    timeout connect {_ms(pool.connect_timeout_s)}"
    if http:
        yield f"    timeout server {_ms(pool.response_timeout_s)}"
        yield "    # What was sent is sent again only if it may be repeated (disable-l7-retry in the frontends)."
        yield "    retry-on conn-failure empty-response"
    else:
        yield "    tcp-response content set-var(txn.status) int(200)"  # for the access log: the backend answered
    if pool.fastcgi is not None:
        yield f"    use-fcgi-app {pool.name}"
    server = ""
    if pool.check is not None:
        yield from _check(pool, pool.check, host_header)
        # Errors only hasten the next check. Ejecting a backend whose check lies is decided by the agent, which
        # never ejects more than half of a pool; HAProxy's mark-down knows no such cap (docs/decisions/0043).
        layer = "layer7" if http else "layer4"
        yield f"    default-server observe {layer} error-limit 10 on-error fastinter"
        server += " check"
        yield "    # When every check fails, the pool fails open: the unchecked twins serve."
        yield "    option allbackups"
    if pool.slow_start_s:
        yield f"    default-server slowstart {_ms(pool.slow_start_s)}"
    protocol = " proto fcgi" if pool.protocol is Protocol.FASTCGI else ""
    for suffix in suffixes(pool):
        kind = " backup" if suffix else server
        for backend in pool.backends:
            address = f"[{backend.address}]" if ":" in backend.address else backend.address
            where = f"{address}:{backend.port}"
            yield f"    server {backend.name}{suffix} {where} weight {weight_of(backend)}{protocol}{kind}"


def _check(pool: DesiredPool, check: Check, host_header: str) -> Iterator[str]:
    """The health port (HAport), then a connect to the serving port: one without the other is not ready."""
    elsewhere = f" port {check.port}" if check.port is not None else ""
    fastcgi = pool.protocol is Protocol.FASTCGI
    yield f"    timeout check {_ms(check.timeout_s)}"
    # A FastCGI port answers no HTTP: without a health port of its own, a connect must do.
    if check.path is not None and (elsewhere or not fastcgi):
        yield "    option httpchk"
        yield f"    http-check connect{elsewhere or ' default'}{' proto h1' if fastcgi else ''}"
        yield f"    http-check send meth GET uri {check.path} ver HTTP/1.1 hdr Host {host_header}"
        yield "    http-check expect status 200-399"
        if elsewhere:
            yield "    http-check connect default"
    else:
        yield "    option tcp-check"
        yield f"    tcp-check connect{elsewhere or ' default'}"
        if elsewhere:
            yield "    tcp-check connect default"
    every, sooner = _ms(check.interval_s), _ms(check.interval_s / 2)
    # Between up and down the next check comes sooner: a new backend serves earlier, a dead one ends earlier.
    yield f"    default-server inter {every} fastinter {sooner} rise {check.rise} fall {check.fall}"


def _fastcgi(name: str, fastcgi: Fastcgi) -> Iterator[str]:
    yield f"fcgi-app {name}"
    yield f"    docroot {fastcgi.document_root}"
    yield f"    index {fastcgi.index}"
    yield "    path-info ^(/.+\\.php)(/.*)?$"
    yield "    no option keep-conn"
    yield ""


def suffixes(pool: DesiredPool) -> tuple[str, ...]:
    """What server names end in: with checks every backend has an unchecked twin, which serves when all are down."""
    return ("", LAST_RESORT) if pool.check is not None else ("",)


def _ms(seconds: float) -> str:
    return f"{max(round(seconds * 1000), 1)}ms"
