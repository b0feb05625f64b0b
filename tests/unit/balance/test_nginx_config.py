"""nginx.conf from `Desired`: what older binaries lack is rendered another way; nothing breaks out of its place."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.balance.engines.nginx.build import Build, missing, read_build
from backstay.balance.engines.nginx.config import CONFIG, render
from backstay.balance.engines.nginx.text import quoted
from backstay.balance.model import (
    Backend,
    BackendState,
    Desired,
    DesiredPool,
    DesiredRoute,
    DesiredTls,
    HttpService,
    TcpService,
)
from backstay.estate.model import Balance, EngineKind, Fastcgi, Protocol, TlsProfile

NEW = Build(version=(1, 31, 3), user="www-data www-data")
OLD = Build(version=(1, 22, 1), stream_module="/usr/lib/nginx/modules/ngx_stream_module.so", ipv6=False)
WEB = DesiredPool(
    name="web",
    protocol=Protocol.HTTP,
    balance=Balance.LEAST_TIME,
    backends=(
        Backend(name="web1", address="10.0.0.1", port=8000),
        Backend(name="web2", address="fd00::2", port=8000, state=BackendState.DRAINING, reason="kernel\n; oops"),
        Backend(name="web3", address="10.0.0.3", port=8000, share=0.05),
    ),
    check=None,
    slow_start_s=0,
    connect_timeout_s=2,
    response_timeout_s=60,
)
TLS = DesiredTls(
    certificate_file="/etc/app.crt",
    key_file="/etc/app.key",
    fingerprint="abcd",
    profile=TlsProfile.INTERMEDIATE,
    hsts_max_age_s=63_072_000,
)
APP = HttpService(
    name="app",
    hostnames=("app.example.com", "*.example.org"),
    http_port=80,
    https_port=443,
    tls=TLS,
    redirect_http=True,
    header_limit_kb=16,
    body_limit_mb=100,
    routes=(
        DesiredRoute(path="/", pool="web", websocket=False),
        DesiredRoute(path="/live/", pool="web", websocket=True),
    ),
)
DESIRED = Desired(
    estate="shop", lb="lb1", engine=EngineKind.NGINX, listen=("*",), services=(APP,), pools=(WEB,), revision="r1"
)


def conf(desired: Desired = DESIRED, build: Build = NEW) -> str:
    return render(desired, build)[CONFIG]


def test_equal_inputs_give_equal_bytes_and_words_for_people_change_none() -> None:
    silent = replace(WEB, backends=tuple(replace(one, reason="") for one in WEB.backends))
    assert conf() == conf()
    assert conf(replace(DESIRED, pools=(silent,))) == conf()


def test_a_new_binary_gets_what_it_can_do() -> None:
    text = conf()
    for words in ("least_time header;", "keepalive_min_timeout 3s;", "http2 on;", "listen [::]:443 ssl;"):
        assert words in text


def test_an_old_binary_gets_nothing_that_it_does_not_know() -> None:
    text = conf(build=OLD)
    for words in ("least_time", "keepalive_min_timeout", "http2 on", "[::]:443", "user "):
        assert words not in text
    assert "least_conn;" in text
    assert "listen *:443 ssl http2;" in text


def test_a_share_is_a_weight_and_a_draining_backend_is_down() -> None:
    text = conf()
    assert "server 10.0.0.1:8000 weight=100 max_fails=0;  # web1: active" in text
    assert "server [fd00::2]:8000 weight=100 max_fails=0 down;  # web2: draining" in text
    assert "server 10.0.0.3:8000 weight=5 max_fails=0;  # web3: active" in text


@pytest.mark.parametrize(
    ("balance", "words"),
    [
        (Balance.LEAST_CONNECTIONS, "least_conn;"),
        (Balance.SOURCE, "hash $remote_addr consistent;"),
        (Balance.LEAST_TIME, "least_time header;"),
    ],
)
def test_each_way_to_balance_has_its_directive(balance: Balance, words: str) -> None:
    assert words in conf(replace(DESIRED, pools=(replace(WEB, balance=balance),)))


def test_the_default_server_of_a_port_takes_the_loosest_profile_of_its_services() -> None:
    other = replace(APP, name="new", hostnames=("new.example.com",), tls=replace(TLS, profile=TlsProfile.MODERN))
    server = _server(conf(replace(DESIRED, services=(APP, other))), "default_server")
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in server
    assert "ssl_reject_handshake on;" in server
    assert "proxy_pass" not in server


def _server(text: str, words: str) -> str:
    return next(block for block in text.split("    server {")[1:] if words in block)


def test_a_route_with_a_slash_at_its_end_gives_no_redirect_of_nginx_own() -> None:
    text = conf()
    assert 'location = "/live" {' in text
    assert re.search(r'location = "/live" \{\n +set \$backstay_route "/";', text)


def test_a_pool_without_a_backend_answers_503_and_is_no_upstream() -> None:
    text = conf(replace(DESIRED, pools=(replace(WEB, backends=()),)))
    assert "upstream web" not in text
    assert "return 503" in text


def test_fastcgi_uwsgi_and_tcp_pools_have_their_own_directives() -> None:
    php = replace(WEB, name="php", protocol=Protocol.FASTCGI, fastcgi=Fastcgi(document_root="/srv/www"))
    py = replace(WEB, name="py", protocol=Protocol.UWSGI)
    queue = replace(WEB, name="queue", protocol=Protocol.TCP)
    routes = (
        *APP.routes,
        DesiredRoute(path="/php", pool="php", websocket=False),
        DesiredRoute(path="/py", pool="py", websocket=False),
    )
    services = (replace(APP, routes=routes), TcpService(name="queue", port=5672, pool="queue"))
    desired = replace(DESIRED, services=services, pools=(WEB, php, py, queue))
    text = conf(desired, OLD)
    for words in (
        'load_module "/usr/lib/nginx/modules/ngx_stream_module.so";',
        "fastcgi_pass php;",
        'root "/srv/www";',
        "uwsgi_pass py;",
        "proxy_pass queue;",
        "listen *:5672;",
    ):
        assert words in text
    assert "load_module" not in conf(build=OLD)  # without a TCP service it is not needed


@pytest.mark.parametrize("limit_kb", [1, 8, 16, 32, 64])
def test_the_header_limit_is_a_regular_expression_over_its_length(limit_kb: int) -> None:
    text = conf(replace(DESIRED, services=(replace(APP, header_limit_kb=limit_kb),)))
    match = re.search(rf'map \$request_length \$backstay_over_{limit_kb}k \{{\n +default 0;\n +"~(.+)" 1;', text)
    assert match is not None
    over = re.compile(match.group(1))
    boundary = next(length for length in range(200_000) if over.search(str(length)))
    assert (limit_kb + 1) * 1024 <= boundary <= (limit_kb + 1) * 1024 + 1000
    assert all((over.search(str(length)) is not None) == (length >= boundary) for length in range(0, 1_200_000, 37))


@given(st.text(max_size=30))
def test_quoted_text_stays_in_its_quotes(text: str) -> None:
    try:
        written = quoted(text)
    except ValueError:
        return
    assert written == f'"{text}"'
    assert not set(text) & set('"\\$;{}\n\r\0#')


def test_a_build_is_read_from_the_binary_s_own_words() -> None:
    words = (
        "configure arguments: --modules-path=/usr/lib/nginx/modules --with-http_ssl_module --with-http_v2_module "
        "--with-stream=dynamic --without-http_scgi_module"
    )
    kwargs = {"user": None, "ipv6": True, "open_files": 1024}
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    found = read_build((1, 22, 1), words, modules=frozenset({module}), **kwargs)  # type: ignore[arg-type]
    assert (found.stream, found.stream_module, found.tls, found.http2, found.scgi) == (True, module, True, True, False)
    bare = read_build((1, 22, 1), words, modules=frozenset(), **kwargs)  # type: ignore[arg-type]
    assert (bare.stream, bare.stream_module) == (False, None)
    assert any("libnginx-mod-stream" in text for text in missing(bare))
    assert not missing(NEW)


def test_five_hundred_pools_render_in_linear_size() -> None:
    def sized(count: int) -> int:
        pools = tuple(replace(WEB, name=f"pool{number}") for number in range(count))
        routes = tuple(DesiredRoute(path=f"/p{pool.name}", pool=pool.name, websocket=False) for pool in pools)
        return len(conf(replace(DESIRED, pools=pools, services=(replace(APP, routes=routes),))))

    assert sized(500) < 11 * sized(50)
