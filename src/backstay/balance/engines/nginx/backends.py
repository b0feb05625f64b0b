"""The part of an nginx.conf that leads to backends: upstreams, headers and parameters, routes; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from backstay.balance.engines.nginx.build import Build
from backstay.balance.engines.nginx.text import Page, endpoint, ms, quoted
from backstay.balance.model import BackendState, DesiredPool, DesiredRoute
from backstay.estate.model import Balance, Protocol

# Shorter than the shortest keep-alive of the usual application servers (gunicorn: 2 s), so that nginx closes an idle
# connection before the backend does: a POST on a connection that is just being closed is lost.
BACKEND_KEEPALIVE_MS = 1500

_PASS = {Protocol.HTTP: "proxy", Protocol.FASTCGI: "fastcgi", Protocol.UWSGI: "uwsgi"}
_FULL_WEIGHT = 100  # nginx takes whole numbers: a share of 1.0


def render_proxy_basics(page: Page, lb: str, build: Build) -> None:
    """What every request to a backend carries, whatever the protocol, and the limits of an answer."""
    with page.block("map $http_x_request_id $backstay_id"):
        page.say("default $request_id;", '"~^[A-Za-z0-9._-]{8,128}$" $http_x_request_id;')
    # $backstay_upgrade is set in the locations of WebSocket routes alone.
    with page.block("map $backstay_upgrade $backstay_connection"):
        page.say("default upgrade;", '"" "";')
    # A client's own X-Forwarded-For proves nothing: the edge writes it anew.
    headers = {
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$host",
        "X-Request-Id": "$backstay_id",
        "X-Backstay-LB": lb,
    }
    page.say(
        "",
        "proxy_http_version 1.1;",
        "proxy_set_header Host $host;",
        "proxy_set_header Upgrade $backstay_upgrade;",
        "proxy_set_header Connection $backstay_connection;",
    )
    page.say(*(f"proxy_set_header {name} {value};" for name, value in headers.items()))
    page.say(*_answer_limits("proxy"))
    if build.fastcgi:
        page.say("", "fastcgi_keep_conn on;", "fastcgi_split_path_info ^(.+?\\.php)(/.*)$;")
        page.say(*_cgi_params("fastcgi", headers), *_answer_limits("fastcgi"))
    if build.uwsgi:
        page.say("", *_cgi_params("uwsgi", headers), *_answer_limits("uwsgi"))


def _answer_limits(protocol: str) -> tuple[str, ...]:
    return (
        f"{protocol}_buffer_size 16k;",
        f"{protocol}_buffers 8 16k;",
        f"{protocol}_busy_buffers_size 32k;",
        f"{protocol}_max_temp_file_size 64m;",
        # A request that has been sent is tried again only when its method is idempotent: nginx's own rule.
        f"{protocol}_next_upstream error timeout;",
        f"{protocol}_next_upstream_tries 3;",
    )


def _cgi_params(protocol: str, headers: Mapping[str, str]) -> list[str]:
    """The parameters of RFC 3875 and of the usual application servers."""
    params = {
        "QUERY_STRING": "$query_string",
        "REQUEST_METHOD": "$request_method",
        "CONTENT_TYPE": "$content_type",
        "CONTENT_LENGTH": "$content_length",
        "REQUEST_URI": "$request_uri",
        "DOCUMENT_URI": "$document_uri",
        "DOCUMENT_ROOT": "$document_root",
        "SERVER_PROTOCOL": "$server_protocol",
        "REQUEST_SCHEME": "$scheme",
        "HTTPS": "$https if_not_empty",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "nginx",
        "REMOTE_ADDR": "$remote_addr",
        "REMOTE_PORT": "$remote_port",
        "SERVER_ADDR": "$server_addr",
        "SERVER_PORT": "$server_port",
        "SERVER_NAME": "$host",
    }
    if protocol == "fastcgi":
        params |= {
            "SCRIPT_NAME": "$fastcgi_script_name",
            "SCRIPT_FILENAME": "$document_root$fastcgi_script_name",
            "PATH_INFO": "$fastcgi_path_info",
            "REDIRECT_STATUS": "200",
        }
    else:
        params |= {"PATH_INFO": "$document_uri"}
    params |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    params["HTTP_PROXY"] = '""'  # httpoxy: a client's Proxy header must not become an environment variable
    return [f"{protocol}_param {name} {value};" for name, value in params.items()]


def render_upstream(page: Page, pool: DesiredPool, build: Build) -> None:
    with page.block(f"upstream {pool.name}"):
        page.say(f"zone {pool.name} {_zone_kb(pool)}k;")
        tcp = pool.protocol is Protocol.TCP
        match pool.balance:
            case Balance.LEAST_TIME if build.least_time and not tcp:
                page.say("least_time header;")
            case Balance.LEAST_TIME | Balance.LEAST_CONNECTIONS:
                page.say("least_conn;")
            case Balance.SOURCE:
                page.say("hash $remote_addr consistent;")
            case Balance.ROUND_ROBIN:
                pass  # nginx's default
        for backend in pool.backends:
            # max_fails=0: who is up is the agent's decision, which has a cap and a reason (docs/balance.md).
            line = f"server {endpoint(backend.address, backend.port)} weight={_weight(backend.share)} max_fails=0"
            if backend.state is not BackendState.ACTIVE:
                line += " down"
            # Not its reason: words must not cause a reload.
            page.say(f"{line};  # {backend.name}: {backend.state}")
        if pool.protocol in {Protocol.HTTP, Protocol.FASTCGI}:  # uWSGI and TCP keep no connection
            page.say("keepalive 32;", f"keepalive_timeout {BACKEND_KEEPALIVE_MS}ms;", "keepalive_requests 10000;")


def _zone_kb(pool: DesiredPool) -> int:
    """Shared memory for the peers: about 1 kB each, and their names; nginx wants 8 pages at least."""
    return max(64, 4 * math.ceil(len(pool.backends) / 2))


def _weight(share: float) -> int:
    return max(1, round(share * _FULL_WEIGHT))


def render_route(page: Page, route: DesiredRoute | None, pools: Mapping[str, DesiredPool]) -> None:
    if route is None:
        page.say('return 404 "No route for this path.\\n";')
        return
    pool = pools[route.pool]
    page.say(f"set $backstay_route {quoted(route.path)};", f"set $backstay_pool {pool.name};")
    if not pool.backends:
        page.say('return 503 "The pool has no backend.\\n";')
        return
    protocol = _PASS.get(pool.protocol)
    if protocol is None:
        raise ValueError(f"services: the route {route.path} leads to the pool {pool.name}, which is {pool.protocol}")
    if route.websocket:
        page.say("set $backstay_upgrade $http_upgrade;")
    if pool.fastcgi is not None:
        page.say(f"root {quoted(pool.fastcgi.document_root)};", f"fastcgi_index {pool.fastcgi.index};")
    # A WebSocket is quiet for as long as its users are: only an hour of silence ends it.
    silence_s = max(3600.0, pool.response_timeout_s) if route.websocket else pool.response_timeout_s
    page.say(
        f"{protocol}_pass {'http://' if protocol == 'proxy' else ''}{pool.name};",
        f"{protocol}_connect_timeout {ms(pool.connect_timeout_s)};",
        f"{protocol}_read_timeout {ms(silence_s)};",
        f"{protocol}_send_timeout {ms(pool.response_timeout_s)};",
        # Long enough for another backend after a connect that timed out; a slow answer is not asked for twice.
        f"{protocol}_next_upstream_timeout {ms(pool.connect_timeout_s * 1.5)};",
    )
