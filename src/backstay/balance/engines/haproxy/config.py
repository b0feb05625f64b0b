"""HAProxy's configuration, rendered from `Desired`. Pure, and deterministic to the byte.

    haproxy.cfg              everything that is not named below
    hosts-PORT.map           hostname -> service; hosts-PORT.wild.map: ".example.com" for "*.example.com"
    routes-PORT.map          service/path -> pool:w:/path, the longest prefix wins ("w": WebSocket, "-": none)
    certs-PORT.list          one certificate a service, chosen by SNI, with its own TLS profile
    tls/FINGERPRINT.pem      chain, its key beside it: copied by generations.py, not rendered

Files are named relative to haproxy.cfg (`default-path config`) and the state file relative to the engine's working
directory, so that the same bytes are checked and run. Settings are those of HAProxy 2.6 and 2.8
(docs.haproxy.org/2.8/configuration.html); why we chose them is said beside each, and in docs/decisions/0040 to 0045.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from backstay.balance.engines.haproxy.pool import render_pool
from backstay.balance.engines.tls import PROFILES, certificate_path
from backstay.balance.model import Desired, DesiredTls, Files, HttpService, TcpService

CONFIG = "haproxy.cfg"
STATE_FILE = "run/servers.state"  # written before a reload: what the old worker knew of each server

_IDEMPOTENT = "GET HEAD OPTIONS TRACE PUT DELETE"  # RFC 9110, section 9.2.2
_BUFFER_FACTOR = 4  # headers up to this many limits are read and answered with 431; HAProxy answers 400 beyond
_HEADER_FIELDS_LIMIT = 1000
_URI_LOGGED_BYTES = 4096
_TUNNEL_S = 3600  # a WebSocket or TCP session in which nothing moves for this long ends
_LINGER_S = 8 * 3600  # after a reload old workers carry their WebSockets and TCP sessions for at most this long
_SHAPE = "description backstay"
_WEIGHT = re.compile(r"(?<= weight )\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What rendering must know of the machine."""

    ipv6: bool = True  # "*" means IPv6 too
    user: str | None = None  # who the workers run as; None: who started the engine
    group: str | None = None


def shape_of(files: Files) -> str:
    """A hash over the files but for weights: two configurations of one shape differ by runtime commands alone."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{_WEIGHT.sub('0', files[path])}\0".encode())
    return digest.hexdigest()[:16]


def shape_in(files: Files) -> str:
    """The shape that a rendered configuration tells of itself."""
    return files[CONFIG].partition(f"{_SHAPE} ")[2].split(maxsplit=1)[0]


def render(desired: Desired, host: Host) -> dict[str, str]:
    """Path -> content. The worker tells its shape in `show info` (`description`), so we know what runs."""
    http = _by_port(desired)
    files: dict[str, str] = {}
    frontends: list[str] = []
    for (port, secure), services in sorted(http.items()):
        frontends += _http_frontend(desired, host, port, services, secure=secure)
        files |= _maps(port, services)
        if secure:
            files[f"certs-{port}.list"] = _certificates(services)
    for service in desired.services:
        if isinstance(service, TcpService):
            frontends += _tcp_frontend(desired, host, service)
    hosts = _host_headers(desired)
    body = [
        *_defaults(),
        *frontends,
        *(line for pool in desired.pools for line in render_pool(pool, hosts.get(pool.name, pool.name))),
    ]
    shape = shape_of(files | {CONFIG: "\n".join(body)})
    return files | {CONFIG: "\n".join((*_global(desired, host, shape), *body, ""))}


def _global(desired: Desired, host: Host, shape: str) -> Iterator[str]:
    limit_kb = max((s.header_limit_kb for s in desired.services if isinstance(s, HttpService)), default=16)
    slowest_s = max((pool.response_timeout_s for pool in desired.pools), default=0.0)
    yield f"# {desired.estate}: HAProxy on {desired.lb}. Written by backstay; what you write here is overwritten."
    yield "global"
    yield "    default-path config"
    yield f"    {_SHAPE} {shape}"
    yield "    # Requests go to stdout (log/access.log), HAProxy's own words to stderr (log/output.log)."
    yield "    log stdout len 65535 format raw local0 info"
    if host.user is not None:
        yield f"    user {host.user}"
    if host.group is not None:
        yield f"    group {host.group}"
    yield f"    server-state-file {STATE_FILE}"
    yield "    # After a reload old workers end what they began; nothing keeps them for ever."
    yield f"    hard-stop-after {max(_LINGER_S, math.ceil(slowest_s) + 60)}s"
    yield "    mworker-max-reloads 32"
    yield f"    # {limit_kb} KB of headers pass. Larger ones are read too, so that they are answered (431), not cut."
    yield f"    tune.bufsize {limit_kb * 1024 * _BUFFER_FACTOR}"
    yield f"    tune.http.maxhdr {_HEADER_FIELDS_LIMIT * _BUFFER_FACTOR}"
    yield "    # Containers may allow a thousand million descriptors; HAProxy would reserve memory for each."
    yield "    fd-hard-limit 100000"
    yield "    # Many load balancers check one backend: their checks must not come in step."
    yield "    spread-checks 10"


def _defaults() -> Iterator[str]:
    yield from (
        "",
        "defaults http",
        "    mode http",
        "    timeout client 60s",
        "    timeout client-fin 10s",
        "    timeout http-request 10s",
        "    timeout http-keep-alive 75s",
        "    timeout queue 5s",
        f"    timeout tunnel {_TUNNEL_S}s",
        "    option dontlognull",
        "    # A reload closes no idle connection under a request on its way: each ends after its next answer.",
        "    # close-spread-time would override this, and lose requests (docs/decisions/0041).",
        "    option idle-close-on-response",
        "    # A connection to a backend is used once: reused, it can be closed by the backend just as the request",
        "    # goes out, and a POST could neither be answered nor repeated (docs/decisions/0042).",
        "    option http-server-close",
        "    # Nothing of the request was seen by the backend: try another one, whatever the method.",
        "    option redispatch 1",
        "    retries 2",
        "    load-server-state-from-file global",
        "",
        "defaults tcp",
        "    mode tcp",
        f"    timeout client {_TUNNEL_S}s",
        f"    timeout server {_TUNNEL_S}s",
        "    timeout queue 5s",
        "    timeout client-fin 30s",
        "    timeout server-fin 30s",
        "    option dontlognull",
        "    # A peer that vanished without a word is noticed.",
        "    option clitcpka",
        "    option srvtcpka",
        "    option redispatch 1",
        "    retries 2",
        "    load-server-state-from-file global",
    )


def _by_port(desired: Desired) -> dict[tuple[int, bool], list[HttpService]]:
    """(port, TLS) -> its services, in the order of the estate."""
    found: dict[tuple[int, bool], list[HttpService]] = defaultdict(list)
    for service in desired.services:
        if isinstance(service, HttpService):
            found[service.http_port, False].append(service)
            if service.tls is not None:
                found[service.https_port, True].append(service)
    return found


def _http_frontend(
    desired: Desired, host: Host, port: int, services: list[HttpService], *, secure: bool
) -> Iterator[str]:
    yield ""
    yield f"frontend {'https' if secure else 'http'}:{port} from http"
    yield from _binds(desired, host, port, _tls_options(port, services) if secure else "")
    yield from _log(_HTTP_LOG)
    if secure:
        yield f"    error-log-format {_object(_HANDSHAKE_LOG)}"
    yield f"    http-after-response set-header X-Backstay-LB {desired.lb}"
    yield "    http-after-response set-header X-Request-ID %[var(txn.id)]"
    yield "    # A request keeps the id that it came with, when it is one that can stand in every log."
    wellformed = "{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{8,128}$ }"
    yield f"    http-request set-var(txn.id) req.hdr(x-request-id) if {wellformed}"
    yield "    http-request set-var(txn.id) uuid() unless { var(txn.id) -m found }"
    yield "    http-request set-var(txn.uri) pathq"
    yield "    http-request set-var(txn.host) req.hdr(host),host_only,lower"
    yield f"    http-request set-var(txn.service) var(txn.host),map_str(hosts-{port}.map)"
    if any(hostname.startswith("*.") for service in services for hostname in service.hostnames):
        yield f"    http-request set-var(txn.service) var(txn.host),map_end(hosts-{port}.wild.map) unless {_KNOWN}"
    yield "    # A host that nobody configured never reaches a backend."
    nobody = _text("This load balancer does not serve this host name.")
    yield f"    http-request return status 421 {nobody} unless {_KNOWN}"
    for limit_kb, which in _grouped(services, lambda service: service.header_limit_kb):
        too_large = f"{{ req.hdrs,length gt {limit_kb * 1024} }}"
        yield f"    http-request return status 431 {_text('Request header fields too large.')} if {which}{too_large}"
    yield (
        f"    http-request return status 431 {_text('Too many request header fields.')}"
        f" if {{ req.hdr_cnt gt {_HEADER_FIELDS_LIMIT} }}"
    )
    for limit_mb, which in _grouped(services, lambda service: service.body_limit_mb):
        too_large = f"{{ req.hdr_val(content-length) gt {limit_mb * 1024 * 1024} }}"
        yield f"    http-request return status 413 {_text('Request body too large.')} if {which}{too_large}"
    yield from _tls_headers(services) if secure else _redirects(services)
    yield from _forwarding(desired, port, secure=secure)


def _redirects(services: list[HttpService]) -> Iterator[str]:
    """To HTTPS, with method and body kept (308); only hosts that we know, so nobody is sent elsewhere by us."""
    for target, which in _grouped(services, lambda s: s.https_port if s.redirect_http and s.tls else 0):
        if target:
            port = "" if target == 443 else f":{target}"
            location = f"https://%[var(txn.host)]{port}%[var(txn.uri)]"
            yield f"    http-request redirect location {location} code 308" + (f" if {which.rstrip()}" if which else "")


def _tls_headers(services: list[HttpService]) -> Iterator[str]:
    for age_s, which in _grouped(services, lambda service: service.tls.hsts_max_age_s if service.tls else 0):
        if age_s:
            known = which.rstrip() or _KNOWN
            yield f"    http-after-response set-header Strict-Transport-Security max-age={age_s} if {known}"


def _forwarding(desired: Desired, port: int, *, secure: bool) -> Iterator[str]:
    route = f"var(txn.service),concat(,txn.uri),map_beg(routes-{port}.map)"
    yield f"    http-request set-var(txn.found) {route}"
    yield f"    http-request return status 404 {_text('No route for this path.')} unless {{ var(txn.found) -m found }}"
    yield "    http-request set-var(txn.pool) var(txn.found),field(1,:)"
    yield "    http-request set-var(txn.route) var(txn.found),field(3,:,0)"
    yield "    http-request del-header Upgrade unless { var(txn.found),field(2,:) -m str w }"
    yield "    # httpoxy: FastCGI would make an environment variable of it."
    yield "    http-request del-header Proxy"
    yield f"    http-request set-header X-Backstay-LB {desired.lb}"
    yield "    http-request set-header X-Request-ID %[var(txn.id)]"
    yield "    # What a client itself says of this proves nothing: the edge writes it anew."
    yield "    http-request set-header X-Forwarded-For %[src]"
    yield f"    http-request set-header X-Forwarded-Proto {'https' if secure else 'http'}"
    yield "    http-request set-header X-Forwarded-Host %[req.hdr(host)]"
    yield f"    http-request set-header X-Forwarded-Port {port}"
    yield f"    http-request disable-l7-retry unless {{ method {_IDEMPOTENT} }}"
    yield "    use_backend %[var(txn.pool)]"


def _tcp_frontend(desired: Desired, host: Host, service: TcpService) -> Iterator[str]:
    yield ""
    yield f"frontend tcp:{service.port} from tcp"
    yield from _binds(desired, host, service.port, "")
    names = {"service": f'"{service.name}"', "pool": f'"{service.pool}"'}
    yield from _log({**_TCP_LOG, **names})
    yield "    tcp-request content set-var(txn.id) uuid()"
    yield f"    default_backend {service.pool}"


def _binds(desired: Desired, host: Host, port: int, options: str) -> Iterator[str]:
    for address in desired.listen:
        if address == "*":
            where = f":::{port} v4v6" if host.ipv6 else f"*:{port}"
        else:
            where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        yield f"    bind {where}{options}"


def _tls_options(port: int, services: list[HttpService]) -> str:
    """What HAProxy sets a port; what it sets a certificate is in `_certificates`."""
    ours = any(PROFILES[service.tls.profile].prefer_server_ciphers for service in services if service.tls)
    # strict-sni: a name that nobody configured gets no certificate of ours. No tickets: their keys defeat
    # forward secrecy unless they are rotated on all load balancers at once.
    return f" ssl crt-list certs-{port}.list strict-sni no-tls-tickets{'' if ours else ' prefer-client-ciphers'}"


def _certificates(services: list[HttpService]) -> str:
    return "".join(
        f"{certificate_path(service.tls.fingerprint)} [{_profile(service.tls)}] {' '.join(service.hostnames)}\n"
        for service in services
        if service.tls is not None
    )


def _profile(tls: DesiredTls) -> str:
    profile = PROFILES[tls.profile]
    oldest = profile.protocols[0] if "." in profile.protocols[0] else f"{profile.protocols[0]}.0"
    ciphers = f" ciphers {profile.ciphers}" if profile.ciphers else ""
    return f"alpn h2,http/1.1 ssl-min-ver {oldest} curves {profile.curves}{ciphers}"


def _maps(port: int, services: list[HttpService]) -> dict[str, str]:
    hosts = [(hostname, service.name) for service in services for hostname in service.hostnames]
    exact = [f"{hostname} {name}" for hostname, name in hosts if not hostname.startswith("*.")]
    # The first match counts: the longest suffix first.
    wild = sorted((entry for entry in hosts if entry[0].startswith("*.")), key=lambda entry: -len(entry[0]))
    routes = [
        f"{service.name}{route.path} {route.pool}:{'w' if route.websocket else '-'}:{route.path}"
        for service in services
        for route in service.routes
    ]
    files = {f"hosts-{port}.map": _lines(exact), f"routes-{port}.map": _lines(routes)}
    if wild:
        files[f"hosts-{port}.wild.map"] = _lines(f"{hostname[1:]} {name}" for hostname, name in wild)
    return files


def _host_headers(desired: Desired) -> dict[str, str]:
    """Pool -> the host that its checks ask for: applications refuse hosts that they do not know."""
    found: dict[str, str] = {}
    for service in desired.services:
        if isinstance(service, HttpService):
            plain = next((hostname for hostname in service.hostnames if not hostname.startswith("*.")), None)
            for route in service.routes:
                if plain is not None:
                    found.setdefault(route.pool, plain)
    return found


_KNOWN = "{ var(txn.service) -m found }"


def _grouped(services: list[HttpService], key: Callable[[HttpService], int]) -> Iterator[tuple[int, str]]:
    """(value, condition with a blank behind it) for each value that services have; no condition when all share it."""
    groups: dict[int, list[str]] = defaultdict(list)
    for service in services:
        groups[key(service)].append(service.name)
    for value, names in groups.items():
        yield value, "" if len(groups) == 1 else f"{{ var(txn.service) -m str {' '.join(names)} }} "


# The line of accesslog.py. `,json(utf8s)` escapes what clients wrote; `+Q` quotes, and makes "" of nothing.
_NO_LOG: Mapping[str, str] = {
    "v": "1",
    "engine": '"haproxy"',
    "time": "%[date(0,ms)]e-3",  # JSON knows exponents; HAProxy knows no decimal point
    "id": '""',
    "connection": "0",
    "service": '""',
    "route": '""',
    "pool": '""',
    "client": '"%ci"',
    "method": '""',
    "host": '""',
    "uri": '""',
    "protocol": '""',
    "tls": '""',
    "status": "0",
    "bytes": "0",
    "total": '"0"',
    "peers": '""',
    "statuses": '""',
    "connects": '""',
    "headers": '""',
    "times": '""',
    "retries": '"0"',
    "end": '""',
}
_HANDSHAKE_LOG = {**_NO_LOG, "protocol": '"TLS"', "end": "%{+Q}[fc_err_str,json(utf8s)]"}  # one that failed
_TCP_LOG = {
    **_NO_LOG,
    "id": "%{+Q}[var(txn.id)]",
    "protocol": '"TCP"',
    "status": "%[var(txn.status,502)]",
    "bytes": "%B",
    "total": '"%Tt"',
    "peers": '"%s"',
    "connects": '"%Tc"',
    "times": '"%Tt"',
    "retries": '"%rc"',
    "end": '"%ts"',
}
_HTTP_LOG = {
    **_TCP_LOG,
    "service": "%{+Q}[var(txn.service)]",
    "route": "%{+Q}[var(txn.route),json(utf8s)]",
    "pool": "%{+Q}[var(txn.pool)]",
    "method": "%{+Q}[capture.req.method,json(utf8s)]",
    "host": "%{+Q}[var(txn.host),json(utf8s)]",
    "uri": f"%{{+Q}}[var(txn.uri),bytes(0,{_URI_LOGGED_BYTES}),json(utf8s)]",
    "protocol": '"%HV"',
    "tls": '"%sslv"',
    "status": "%ST",
    "total": '"%Ta"',
    "statuses": '"%ST"',
    "headers": '"%Tr"',
    "times": '"%Ta"',
}


def _log(fields: Mapping[str, str]) -> Iterator[str]:
    yield "    log global"
    yield f"    log-format {_object(fields)}"


def _object(fields: Mapping[str, str]) -> str:
    return _quoted("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}")


def _quoted(text: str) -> str:
    """One word of the configuration, whatever it holds ('strong quotes'; none of our texts has an apostrophe)."""
    assert "'" not in text, "strong quotes cannot hold an apostrophe"
    return f"'{text}'"


def _text(message: str) -> str:
    return f"content-type text/plain string {_quoted(message)}"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
