"""Desired configuration -> nginx.conf; pure, deterministic to the byte.

Every directive is in nginx 1.22 unless `Build` says that the binary is newer. Paths are relative: nginx is started in
the engine's folder with `-p ./`, and certificates and includes are looked up beside the configuration file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from backstay.balance.engines.nginx.backends import render_proxy_basics, render_route, render_upstream
from backstay.balance.engines.nginx.build import Build
from backstay.balance.engines.nginx.text import Page, endpoint, ms, quoted
from backstay.balance.engines.tls import PROFILES, Profile, certificate_path
from backstay.balance.model import (
    Desired,
    DesiredPool,
    DesiredRoute,
    DesiredTls,
    Files,
    HttpService,
    TcpService,
)
from backstay.estate.model import Protocol

CONFIG = "nginx.conf"
GENERATION = "generation.conf"
STATUS_SOCKET = "run/status.sock"
HTTP_LOG = "log/access.log"
TCP_LOG = "log/tcp.log"
ERROR_LOG = "log/error.log"
SHUTDOWN_TIMEOUT_H = 8

_READ_FACTOR = 4  # headers up to this many limits are read, so that they are answered and the connection goes on
_TOO_LARGE = '"Request header fields too large.\\n"'
_TOO_LARGE_TO_READ = "error_page 494 = @header_limit;  # more than is read: nginx's own number"


def render(desired: Desired, build: Build) -> Files:
    """The file `nginx.conf`. Raises ValueError for a value that cannot stand in one (the estate allows none)."""
    page = Page()
    _render_main(page, desired, build)
    with page.block("http"):
        limits_kb = sorted({service.header_limit_kb for service in _http_services(desired)})
        _render_http_basics(page, build, limits_kb)
        _render_header_limits(page, limits_kb)
        _render_log(page)
        render_proxy_basics(page, desired.lb, build)
        _render_status_server(page)
        for pool in desired.pools:
            if pool.protocol is not Protocol.TCP and pool.backends:
                render_upstream(page, pool, build)
        _render_default_server(page, desired, build)
        pools = {pool.name: pool for pool in desired.pools}
        for service in _http_services(desired):
            _render_service(page, service, pools, desired, build)
    if any(isinstance(service, TcpService) for service in desired.services):
        with page.block("stream"):
            _render_stream(page, desired, build)
    return {CONFIG: page.text()}


def _render_main(page: Page, desired: Desired, build: Build) -> None:
    page.say(
        f"# {desired.lb} of the estate {desired.estate}. Rendered by Backstay and replaced as a whole: do not edit.",
        "",
    )
    if build.stream_module is not None and any(isinstance(service, TcpService) for service in desired.services):
        page.say(f"load_module {quoted(build.stream_module)};")
    if build.user is not None:
        page.say(f"user {build.user};")
    page.say(
        "daemon off;  # the agent starts it detached",
        "worker_processes auto;",
        "# A reload leaves workers behind that carry their WebSockets and TCP sessions to the end.",
        f"worker_shutdown_timeout {SHUTDOWN_TIMEOUT_H}h;",
        f"worker_rlimit_nofile {build.open_files};",
        "pid run/nginx.pid;",
        f"error_log {ERROR_LOG} error;",
    )
    with page.block("events"):
        page.say(f"worker_connections {min(16_384, build.open_files)};")


def _render_http_basics(page: Page, build: Build, limits_kb: list[int]) -> None:
    page.say(
        "default_type text/plain;",
        "server_tokens off;",
        "server_names_hash_bucket_size 512;",
        "server_names_hash_max_size 8192;",
        "variables_hash_max_size 4096;",
        "uninitialized_variable_warn off;  # requests that end before a route was chosen are logged too",
        "",
        "client_header_timeout 15s;",
        "client_body_timeout 60s;",
        "send_timeout 60s;",
        "keepalive_timeout 75s;",
        "keepalive_requests 10000;",
    )
    if build.keepalive_min_timeout:
        page.say("keepalive_min_timeout 3s;  # a reload closes no idle connection under its client's next request")
    page.say(
        "lingering_close always;  # a refused upload still reads its answer",
        "# Read more than is allowed, so that it can be answered: see the servers.",
        f"large_client_header_buffers 2 {_READ_FACTOR * max(limits_kb, default=16)}k;",
        "",
        "client_body_temp_path temp/body;",
        "proxy_temp_path temp/proxy;",
    )
    for name, present in (("fastcgi", build.fastcgi), ("uwsgi", build.uwsgi), ("scgi", build.scgi)):
        if present:
            page.say(f"{name}_temp_path temp/{name};")


def _render_header_limits(page: Page, limits_kb: list[int]) -> None:
    """A variable for each limit: is the request header longer?

    When a route is chosen `$request_length` is the length of request line and header; over HTTP/2 it is that of the
    compressed header, so that up to a third more passes there. The limit has 1 kB on top for the request line, and
    is rounded up to whole thousands of bytes, which a regular expression can still tell.
    """
    for limit_kb in limits_kb:
        thousands = math.ceil((limit_kb + 1) * 1.024)
        with page.block(f"map $request_length $backstay_over_{limit_kb}k"):
            page.say("default 0;", f'"~^{_at_least(thousands)}[0-9][0-9][0-9]$" 1;')


def _at_least(number: int) -> str:
    """A regular expression for the decimal numbers from `number` on; 1 <= number <= 98."""
    tens, ones = divmod(number, 10)
    if tens == 0:
        return f"([{ones}-9]|[1-9][0-9]+)"
    return f"({tens}[{ones}-9]|[{tens + 1}-9][0-9]|[1-9][0-9][0-9]+)"


def _render_log(page: Page) -> None:
    page.say(
        "",
        "# The shape of backstay.balance.accesslog.",
        "log_format backstay escape=json",
        """    '{"v":1,"engine":"nginx","time":$msec,"id":"$backstay_id","connection":$connection,'""",
        """    '"service":"$backstay_service","route":"$backstay_route","pool":"$backstay_pool",'""",
        """    '"client":"$remote_addr","method":"$request_method","host":"$host","uri":"$request_uri",'""",
        """    '"protocol":"$server_protocol","tls":"$ssl_protocol","status":"$status","bytes":$bytes_sent,'""",
        """    '"total":"$request_time","peers":"$upstream_addr","statuses":"$upstream_status",'""",
        """    '"connects":"$upstream_connect_time","headers":"$upstream_header_time",'""",
        """    '"times":"$upstream_response_time","end":"$request_completion"}';""",
        f"access_log {HTTP_LOG} backstay buffer=32k flush=250ms;",
    )


def _render_status_server(page: Page) -> None:
    page.say("", "# For the agent alone: which generation these workers run.")
    with page.block("server"):
        page.say(f"listen unix:{STATUS_SOCKET};", "access_log off;", "keepalive_timeout 0;", f"include {GENERATION};")
        # nginx wants each variable to be set somewhere; where it counts, they are set on the way to a backend.
        page.say(*(f'set $backstay_{name} "";' for name in ("service", "route", "pool", "upgrade")))


def generation_files(identity: str) -> Files:
    """The file that tells a running worker's generation."""
    return {GENERATION: f'location = /generation {{ return 200 "{identity}"; }}\n'}


def _render_default_server(page: Page, desired: Desired, build: Build) -> None:
    """Every host name that is not configured ends here, on every port: never at a backend."""
    services = _http_services(desired)
    plain, secure = _ports(services)
    if not plain and not secure:
        return
    page.say("", "# Any other host name: no backend, and no certificate of ours.")
    with page.block("server"):
        for port in plain:
            page.say(*_listens(desired, build, port, "default_server"))
        for port in secure:
            page.say(*_listens(desired, build, port, "default_server ssl"))
        page.say("server_name _;")
        if secure:
            _render_tls_profile(page, _loosest(services))
            _render_http2(page, build)
            page.say("ssl_reject_handshake on;")
        page.say(_TOO_LARGE_TO_READ, f"add_header X-Backstay-LB {desired.lb} always;")
        with page.block("location /"):
            page.say('return 421 "This load balancer does not serve this host name.\\n";')
        _render_header_limit_answer(page)


def _loosest(services: tuple[HttpService, ...]) -> Profile:
    """nginx 1.22 takes the protocols of a port from its default server, before it knows the name; 1.31 does not."""
    profiles = [PROFILES[service.tls.profile] for service in services if service.tls is not None]
    return max(profiles, key=lambda profile: len(profile.protocols))


def _render_service(
    page: Page, service: HttpService, pools: Mapping[str, DesiredPool], desired: Desired, build: Build
) -> None:
    if service.tls is not None and service.redirect_http:
        _render_redirect(page, service, desired, build)
    page.say("")
    with page.block("server"):
        if service.tls is None or not service.redirect_http:
            page.say(*_listens(desired, build, service.http_port, ""))
        if service.tls is not None:
            page.say(*_listens(desired, build, service.https_port, "ssl"))
        page.say(f"server_name {' '.join(service.hostnames)};", f"set $backstay_service {service.name};")
        page.say(
            _TOO_LARGE_TO_READ,
            f"if ($backstay_over_{service.header_limit_kb}k) {{ return 431 {_TOO_LARGE}; }}",
            f"client_max_body_size {service.body_limit_mb}m;",
        )
        if service.tls is not None:
            _render_tls(page, service.tls)
            _render_http2(page, build)
        _render_answer_headers(page, service, desired.lb, build)
        for path, route in _locations(service.routes):
            with page.block(f"location {path}"):
                render_route(page, route, pools)
        _render_header_limit_answer(page)


def _render_redirect(page: Page, service: HttpService, desired: Desired, build: Build) -> None:
    port = "" if service.https_port == 443 else f":{service.https_port}"
    page.say("")
    with page.block("server"):
        page.say(*_listens(desired, build, service.http_port, ""))
        page.say(f"server_name {' '.join(service.hostnames)};", f"set $backstay_service {service.name};")
        page.say(_TOO_LARGE_TO_READ, f"add_header X-Backstay-LB {desired.lb} always;")
        with page.block("location /"):
            page.say(f"return 308 https://$host{port}$request_uri;")
        _render_header_limit_answer(page)


def _render_tls(page: Page, tls: DesiredTls) -> None:
    path = certificate_path(tls.fingerprint)
    page.say(f"ssl_certificate {path};", f"ssl_certificate_key {path}.key;")
    _render_tls_profile(page, PROFILES[tls.profile])
    page.say(
        "ssl_session_cache shared:tls:10m;",
        "ssl_session_timeout 1d;",
        "ssl_session_tickets off;  # their key would outlive forward secrecy",
        "ssl_stapling on;  # nginx leaves it out where the certificate names no OCSP responder",
    )


def _render_tls_profile(page: Page, profile: Profile) -> None:
    page.say(f"ssl_protocols {' '.join(profile.protocols)};")
    if profile.ciphers:
        page.say(f"ssl_ciphers {profile.ciphers};")
    page.say(
        f"ssl_prefer_server_ciphers {'on' if profile.prefer_server_ciphers else 'off'};",
        f"ssl_ecdh_curve {profile.curves};",
    )


def _render_http2(page: Page, build: Build) -> None:
    if build.http2 and build.http2_directive:
        page.say("http2 on;")


def _render_answer_headers(page: Page, service: HttpService, lb: str, build: Build) -> None:
    hidden = ["X-Backstay-LB", "X-Request-Id"]
    page.say(f"add_header X-Backstay-LB {lb} always;", "add_header X-Request-Id $backstay_id always;")
    if service.tls is not None and service.tls.hsts_max_age_s > 0:
        hidden.append("Strict-Transport-Security")
        # RFC 6797 7.2: not over plain HTTP; an empty value adds no header.
        page.say(f'set $backstay_hsts "max-age={service.tls.hsts_max_age_s}";')
        page.say('if ($scheme = http) { set $backstay_hsts ""; }')
        page.say("add_header Strict-Transport-Security $backstay_hsts always;")
    protocols = ["proxy"] + ["fastcgi"] * build.fastcgi + ["uwsgi"] * build.uwsgi
    # What we say ourselves is said once.
    page.say(*(f"{protocol}_hide_header {name};" for protocol in protocols for name in hidden))


def _render_header_limit_answer(page: Page) -> None:
    with page.block("location @header_limit"):
        page.say(f"return 431 {_TOO_LARGE};")


def _locations(routes: tuple[DesiredRoute, ...]) -> list[tuple[str, DesiredRoute | None]]:
    """nginx locations for `routes`: (match, route); None answers 404.

    nginx answers `/a` with a redirect of its own where there is a location `/a/` only; HAProxy does not. An exact
    location for `/a` keeps both alike: it takes the route that it would have without `/a/`.
    """
    by_path = {route.path: route for route in routes}
    found: dict[str, DesiredRoute | None] = {}
    for path in sorted({"/", *by_path}):
        found[quoted(path)] = by_path.get(path)
        bare = path.rstrip("/")
        if path.endswith("/") and bare and bare not in by_path:
            shorter = [other for other in by_path if bare.startswith(other)]
            found[f"= {quoted(bare)}"] = by_path[max(shorter, key=len)] if shorter else None
    return list(found.items())


def _render_stream(page: Page, desired: Desired, build: Build) -> None:
    page.say(
        "log_format backstay escape=json",
        """    '{"v":1,"engine":"nginx","time":$msec,"id":"$pid-$connection","connection":$connection,'""",
        """    '"service":"$backstay_service","route":"","pool":"$backstay_pool",'""",
        """    '"client":"$remote_addr","method":"","host":"","uri":"","protocol":"$protocol","tls":"",'""",
        """    '"status":"$status","bytes":$bytes_sent,"total":"$session_time",'""",
        """    '"peers":"$upstream_addr","statuses":"",'""",
        """    '"connects":"$upstream_connect_time","headers":"$upstream_first_byte_time",'""",
        """    '"times":"$upstream_session_time","end":"OK"}';""",
        f"access_log {TCP_LOG} backstay buffer=32k flush=250ms;",
        "proxy_next_upstream_tries 3;",
        "proxy_socket_keepalive on;",
    )
    pools = {pool.name: pool for pool in desired.pools}
    services = [service for service in desired.services if isinstance(service, TcpService)]
    for name in dict.fromkeys(service.pool for service in services):
        if pools[name].backends:
            render_upstream(page, pools[name], build)
    for service in services:
        pool = pools[service.pool]
        with page.block("server"):
            page.say(*_listens(desired, build, service.port, ""))
            page.say(f"set $backstay_service {service.name};", f"set $backstay_pool {pool.name};")
            if not pool.backends:
                page.say('return "";  # the pool has no backend')
                continue
            page.say(
                f"proxy_pass {pool.name};",
                f"proxy_connect_timeout {ms(pool.connect_timeout_s)};",
                f"proxy_timeout {ms(pool.response_timeout_s)};",
                f"proxy_next_upstream_timeout {ms(pool.connect_timeout_s * 1.5)};",
            )


def _http_services(desired: Desired) -> tuple[HttpService, ...]:
    return tuple(service for service in desired.services if isinstance(service, HttpService))


def _ports(services: tuple[HttpService, ...]) -> tuple[list[int], list[int]]:
    """Ports of plain HTTP and of TLS, each once, ascending."""
    plain = {service.http_port for service in services}
    secure = {service.https_port for service in services if service.tls is not None}
    return sorted(plain), sorted(secure)


def _listens(desired: Desired, build: Build, port: int, words: str) -> list[str]:
    addresses = list(desired.listen)
    if "*" in addresses:
        addresses = ["*", "::"] if build.ipv6 else ["*"]
    if "ssl" in words and build.http2 and not build.http2_directive:
        words += " http2"
    return [f"listen {' '.join(filter(None, (endpoint(address, port), words)))};" for address in addresses]
