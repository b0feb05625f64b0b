"""Precedence: defaults < file < BACKSTAY_* < flags; and every value tells where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.estate import EstateFaults, Loaded, Overrides, load_text


def load(text: str, *sets: str, **env: str) -> Loaded:
    return load_text(text, "backstay.yaml", Path(), Overrides(env=env, sets=sets))


def faults(text: str, *sets: str, **env: str) -> list[str]:
    with pytest.raises(EstateFaults) as raised:
        load(text, *sets, **env)
    return str(raised.value).splitlines()


def origin(loaded: Loaded, path: str) -> tuple[object, str]:
    return next((o.value, o.source) for o in loaded.origins if o.path == path)


def test_the_environment_wins_over_the_file_and_a_flag_over_both(small: str) -> None:
    variable = {"BACKSTAY_POOLS__WEB__CHECK__INTERVAL_S": "5"}
    flag = "pools.web.check.interval_s=7"
    path = "pools.web.check.interval_s"
    assert origin(load(small), path) == (3, "backstay.yaml:24")
    assert origin(load(small, **variable), path) == (5, "BACKSTAY_POOLS__WEB__CHECK__INTERVAL_S")
    assert origin(load(small, flag, **variable), path) == (7, f"--set {path}")


def test_a_default_says_that_it_is_one(small: str) -> None:
    assert origin(load(small), "pools.web.balance") == ("least_time", "default")
    assert origin(load(small), "agents") == (
        {"port": 8404, "token": None, "certificate": None, "key": None, "ca": None},
        "default",
    )


def test_the_last_flag_wins(small: str) -> None:
    assert load(small, "pools.web.port=1", "pools.web.port=2").estate.pools["web"].port == 2


def test_an_underscore_of_a_variable_stands_for_the_hyphen_of_a_name(small: str) -> None:
    assert load(small, BACKSTAY_TIERS__EDGE_1__ENGINE="haproxy").estate.tiers["edge-1"].engine == "haproxy"


def test_a_variable_without_two_underscores_is_no_override(small: str) -> None:
    assert load(small, BACKSTAY_ESTATE="other.yaml", BACKSTAY_RUN_DIR="/tmp").estate.estate == "small"


def test_an_override_may_be_a_list_a_mapping_or_an_element(small: str) -> None:
    loaded = load(small, "tiers.edge-1.members=[lb2]", "services.app.routes[0]={path: /x, pool: web}")
    assert loaded.estate.tiers["edge-1"].members == ("lb2",)
    assert loaded.estate.services["app"].routes[0].path == "/x"
    assert load(small, "services.app.routes.0.websocket=true").estate.services["app"].routes[0].websocket


def test_an_override_may_add_what_the_file_lacks(small: str) -> None:
    loaded = load(small, "pools.web.rescale.every_s=9", "agents.port=9999")
    assert loaded.estate.pools["web"].rescale is not None
    assert loaded.estate.agents.port == 9999


def test_null_takes_an_optional_value_away(small: str) -> None:
    assert load(small, "pools.web.check=null").estate.pools["web"].check is None


def test_an_override_through_an_alias_leaves_the_other_one_alone(small: str) -> None:
    text = small.replace("check: {", "check: &check {") + "  api: {cluster: web, port: 8001, check: *check}\n"
    pools = load(text, "pools.api.check.interval_s=9").estate.pools
    assert [pool.check and pool.check.interval_s for pool in pools.values()] == [3, 9]


def test_the_text_of_an_overridden_estate_says_what_is_in_force(small: str) -> None:
    loaded = load(small, "pools.web.port=8002")
    assert load(loaded.text).estate == loaded.estate
    assert load(small).text == small


def test_a_bad_override_is_told_by_its_own_name_beside_the_faults_of_the_file(small: str) -> None:
    text = small.replace("port: 8000", "port: 80000")
    told = faults(text, "pools.web.chek=1", "nodes", "services.app.routes.7.path=/", BACKSTAY_POLS__WEB__PORT="1")
    assert told == ["--set nodes Write KEY=VALUE, as in pools.web.port=8000."]
    told = faults(text, "pools.web.chek=1", "services.app.routes.7.path=/", BACKSTAY_POLS__WEB__PORT="1")
    assert told[0] == "backstay.yaml:24:29 pools.web.port: 80000 is too large. At most 65535."
    assert [fault.split(":")[0] for fault in told[1:]] == [
        'BACKSTAY_POLS__WEB__PORT "POLS" is no key at "the top". Did you mean "pools"? Keys',
        "--set pools.web.chek pools.web",
        "--set services.app.routes.7.path services.app.routes",
    ]


def test_a_value_that_does_not_fit_is_told_by_the_override_that_gave_it(small: str) -> None:
    assert faults(small, BACKSTAY_POOLS__WEB__PORT="x") == [
        'BACKSTAY_POOLS__WEB__PORT pools.web.port: "x" is text, and a whole number is needed.'
    ]
    assert "Not YAML" in faults(small, "pools.web.port=[")[0]
