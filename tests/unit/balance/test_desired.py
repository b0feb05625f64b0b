"""What one load balancer shall run, and the difference between two of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.balance.desired import FAIL_OPEN, View, desired, difference
from backstay.balance.model import (
    SHARE_CAP,
    SHARE_FLOOR,
    BackendState,
    Desired,
    DesiredTls,
    Health,
    HealthState,
    HttpService,
    Share,
    TcpService,
)
from backstay.change.model import Change, ChangeKind
from backstay.estate.model import Estate, TlsProfile

NODES = ("web1", "web2", "web3")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TLS = {
    "app": DesiredTls(
        certificate_file="/tls/app.crt",
        key_file="/tls/app.key",
        fingerprint="aa11",
        profile=TlsProfile.INTERMEDIATE,
        hsts_max_age_s=63_072_000,
    )
}


def an_estate(**overrides: Any) -> Estate:
    nodes = {name: {"zone": "z1", "address": f"10.0.0.{n}"} for n, name in enumerate((*NODES, "lb1", "lb2"), start=1)}
    document: dict[str, Any] = {
        "estate": "small",
        "regions": {"here": {"zones": {"z1": {}}}},
        "nodes": nodes,
        "clusters": {"web": {"members": "web*"}},
        "tiers": {"front": {"engine": "nginx", "members": ["lb1"]}, "back": {"engine": "haproxy", "members": ["lb2"]}},
        "services": {
            "app": {
                "hostnames": ["app.example.com"],
                "tls": {"certificate": "app.crt", "key": {"file": "app.key"}},
                "routes": [{"path": "/", "pool": "web"}],
            },
            "mail": {"tcp_port": 25, "pool": "mail", "tiers": ["back"]},
        },
        "pools": {
            "web": {"cluster": "web", "port": 8000, "check": {"path": "/healthz"}},
            "mail": {"cluster": "web", "port": 25, "protocol": "tcp"},
            "unused": {"cluster": "web", "port": 9000},
        },
    }
    return Estate.model_validate({**document, **overrides})


def a_change(kind: ChangeKind, node: str, *, pool: str | None = None, factor: float | None = None) -> Change:
    return Change(
        id=f"{kind}-{node}",
        kind=kind,
        node=node,
        pool=pool,
        factor=factor,
        actor="alice",
        reason="kernel",
        created_at=NOON,
    )


def desired_of(**view: Any) -> Desired:
    return desired(an_estate(), "lb1", View(**view), TLS)


def states(result: Desired) -> dict[str, str]:
    return {backend.name: str(backend.state) for backend in result.pools[0].backends}


def health(state: HealthState, **fields: Any) -> Health:
    return Health(state=state, **fields)


def test_a_load_balancer_runs_the_services_of_its_tier_and_their_pools_alone() -> None:
    front, back = desired_of(), desired(an_estate(), "lb2", View(), TLS)

    assert [service.name for service in front.services] == ["app"]
    assert [pool.name for pool in front.pools] == ["web"]
    assert [type(service) for service in back.services] == [HttpService, TcpService]
    assert [pool.name for pool in back.pools] == ["web", "mail"]
    assert (front.engine, back.engine) == ("nginx", "haproxy")


def test_listen_node_binds_the_load_balancers_own_address() -> None:
    estate = an_estate(tiers={"front": {"engine": "nginx", "members": ["lb1"], "listen": "node"}})
    assert desired_of().listen == ("*",)
    assert desired(estate, "lb1", View(), TLS).listen == ("10.0.0.4",)


def test_a_redirect_without_tls_is_no_redirect() -> None:
    estate = an_estate(services={"app": {"hostnames": ["a.example.com"], "routes": [{"path": "/", "pool": "web"}]}})
    service = desired(estate, "lb1", View(), {}).services[0]
    assert isinstance(service, HttpService)
    assert not service.redirect_http


@pytest.mark.parametrize(
    ("lb", "tls", "says"),
    [("web1", TLS, "web1 is in no tier"), ("lb1", {}, "service app has TLS, and its certificate was not loaded")],
)
def test_what_cannot_be_desired_is_said(lb: str, tls: dict[str, DesiredTls], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        desired(an_estate(), lb, View(), tls)


@pytest.mark.parametrize("kind", [ChangeKind.DRAIN, ChangeKind.MAINTENANCE])
def test_a_drained_backend_drains_and_says_by_whom_and_why(kind: ChangeKind) -> None:
    result = desired_of(changes=[a_change(kind, "web2")])
    assert states(result) == {"web1": "active", "web2": "draining", "web3": "active"}
    assert result.pools[0].backends[1].reason == f"{kind} by alice: kernel"


def test_a_change_to_another_pool_leaves_this_one_alone() -> None:
    assert desired_of(changes=[a_change(ChangeKind.DRAIN, "web2", pool="mail")]) == desired_of()


def test_a_drain_wins_over_a_failing_check_so_that_its_requests_finish() -> None:
    result = desired_of(
        changes=[a_change(ChangeKind.DRAIN, "web2")], health={("web", "web2"): health(HealthState.DOWN)}
    )
    assert states(result)["web2"] == "draining"


@pytest.mark.parametrize("state", [HealthState.DOWN, HealthState.UNCHECKED, HealthState.EJECTED])
def test_a_backend_that_is_not_known_to_be_good_gets_no_requests(state: HealthState) -> None:
    result = desired_of(health={("web", "web3"): health(state, reason="timed out, twice")})
    assert states(result)["web3"] == "down"
    assert result.pools[0].backends[2].reason == "timed out, twice"


def test_a_backend_that_says_drain_on_its_health_port_drains() -> None:
    result = desired_of(health={("web", "web3"): health(HealthState.UP, draining=True)})
    assert states(result)["web3"] == "draining"


def test_shares_multiply_and_stay_within_their_bounds() -> None:
    view = {
        "shares": {("web", "web1"): Share(share=1.5, reason="quick"), ("web", "web2"): Share(share=3.0)},
        "health": {("web", "web1"): health(HealthState.UP, factor=0.5, reason="says 50%")},
        "changes": [a_change(ChangeKind.WEIGHT, "web1", factor=0.5), a_change(ChangeKind.WEIGHT, "web2", factor=4.0)],
        "ramps": {("web", "web3"): 0.01},
    }
    one, two, three = desired_of(**view).pools[0].backends
    assert (one.share, one.reason) == (0.375, "quick; weight by alice: kernel; says 50%")
    assert two.share == SHARE_CAP
    assert (three.share, three.reason) == (SHARE_FLOOR, "slow start at 1%")


def test_when_all_are_down_the_last_set_is_kept_serving_and_says_so() -> None:
    one_left = desired_of(health={("web", name): health(HealthState.DOWN) for name in ("web1", "web2")})
    all_down = {("web", name): health(HealthState.DOWN, reason="refused") for name in NODES}

    result = desired_of(health=all_down, last=one_left)

    assert states(result) == {"web1": "down", "web2": "down", "web3": "active"}
    assert result.pools[0].backends[2].reason == f"{FAIL_OPEN} (refused)"
    assert states(desired_of(health=all_down, last=result)) == states(result)


def test_just_after_a_start_everyone_unchecked_is_served_until_one_is_known_good() -> None:
    unchecked = {("web", name): health(HealthState.UNCHECKED) for name in NODES}
    first = desired_of(health=unchecked)
    assert set(states(first).values()) == {"active"}

    second = desired_of(health={**unchecked, ("web", "web2"): health(HealthState.UP)}, last=first)
    assert states(second) == {"web1": "down", "web2": "active", "web3": "down"}


def test_a_drain_never_fails_open() -> None:
    drained = [a_change(ChangeKind.DRAIN, name) for name in NODES]
    assert set(states(desired_of(changes=drained, last=desired_of())).values()) == {"draining"}

    # web1 served alone, is drained now, and the others are down: they serve, not web1.
    down = {("web", name): health(HealthState.DOWN) for name in ("web2", "web3")}
    result = desired_of(changes=drained[:1], health=down, last=desired_of(health=down))
    assert states(result) == {"web1": "draining", "web2": "active", "web3": "active"}


def test_words_alter_no_revision_and_everything_else_does() -> None:
    key = ("web", "web1")
    plain = desired_of(health={key: health(HealthState.DOWN, reason="refused")})
    assert desired_of(health={key: health(HealthState.DOWN, reason="timed out")}).revision == plain.revision
    others = [
        desired_of(),
        desired_of(shares={key: Share(share=0.9)}),
        desired(an_estate(), "lb1", View(), {"app": replace(TLS["app"], fingerprint="bb22")}),
        desired(an_estate(), "lb2", View(), TLS),
    ]
    assert len({plain.revision, *(other.revision for other in others)}) == 5


@given(
    drained=st.sets(st.sampled_from(NODES)),
    kinds=st.lists(st.sampled_from(HealthState), min_size=3, max_size=3),
    shares=st.lists(st.floats(0.0, 10.0), min_size=3, max_size=3),
    served=st.sets(st.sampled_from(NODES)),
)
@settings(max_examples=150)
def test_whatever_is_seen_the_result_is_deterministic_bounded_and_serves_whom_it_can(
    drained: set[str], kinds: list[HealthState], shares: list[float], served: set[str]
) -> None:
    last = desired_of(
        health={("web", name): health(HealthState.DOWN) for name in set(NODES) - served} if served else {}
    )
    view = {
        "changes": [a_change(ChangeKind.DRAIN, name) for name in sorted(drained)],
        "health": {("web", name): health(kind) for name, kind in zip(NODES, kinds, strict=True)},
        "shares": {("web", name): Share(share=share) for name, share in zip(NODES, shares, strict=True)},
        "last": last,
    }
    result = desired_of(**view)

    assert result == desired_of(**view)
    backends = result.pools[0].backends
    assert all(SHARE_FLOOR <= backend.share <= SHARE_CAP for backend in backends)
    assert all((backend.state is BackendState.DRAINING) == (backend.name in drained) for backend in backends)
    assert any(backend.state is BackendState.ACTIVE for backend in backends) == (drained != set(NODES))


def test_the_difference_of_equals_is_empty() -> None:
    assert difference(desired_of(), desired_of()) == []


def test_the_difference_from_nothing_is_a_start() -> None:
    assert difference(None, desired_of()) == ["lb1 starts nginx with 1 service and 1 pool"]


def test_the_difference_tells_each_change_in_words() -> None:
    old = desired(an_estate(), "lb2", View(), TLS)
    estate = an_estate(
        services={
            "app": {
                "hostnames": ["app.example.com", "www.example.com"],
                "https_port": 8443,
                "tls": {"certificate": "app.crt", "key": {"file": "app.key"}},
                "routes": [{"path": "/", "pool": "web"}, {"path": "/live", "pool": "web", "websocket": True}],
            }
        },
        pools={
            "web": {
                "cluster": "web",
                "port": 8080,
                "check": {"path": "/healthz", "port": 8001},
                "balance": "least_connections",
            }
        },
        clusters={"web": {"members": ["web1", "web2", "lb1"]}},
    )
    view = View(
        changes=[a_change(ChangeKind.DRAIN, "web1")],
        shares={("web", "web2"): Share(share=0.8, reason="20% slower than its peers")},
    )
    new = desired(estate, "lb2", view, {"app": replace(TLS["app"], fingerprint="bb22")})

    assert difference(old, new) == [
        "service app: another certificate or key (aa11 to bb22)",
        "service app: route /live is added, to pool web, WebSocket",
        "service app: hostnames changes from app.example.com to app.example.com, www.example.com",
        "service app: https_port changes from 443 to 8443",
        "service mail is removed",
        "pool web: balance changes from least_time to least_connections",
        "pool web: check.port changes from none to 8001",
        "pool web: web1 moves from 10.0.0.1:8000 to 10.0.0.1:8080",
        "pool web: web1 goes from active to draining (drain by alice: kernel)",
        "pool web: web2 moves from 10.0.0.2:8000 to 10.0.0.2:8080",
        "pool web: web2 goes from share 1 to 0.8 (20% slower than its peers)",
        "pool web: lb1 joins at 10.0.0.4:8080, active",
        "pool web: web3 leaves",
        "pool mail is removed",
    ]


def test_the_difference_tells_of_tls_that_comes_and_goes() -> None:
    bare = an_estate(services={"app": {"hostnames": ["app.example.com"], "routes": [{"path": "/", "pool": "web"}]}})
    without = desired(bare, "lb1", View(), {})
    assert "service app: TLS is added" in difference(without, desired_of())
    assert "service app: TLS is removed" in difference(desired_of(), without)
