"""Throttling, expiry, names, passwords and roles, as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backstay.server.access.model import AccessError
from backstay.server.access.rules import (
    ACCOUNT,
    ADDRESS,
    Bucket,
    Throttle,
    address_bucket,
    check_name,
    check_password,
    check_user,
    count,
    role_of,
    session_lives,
    wait_s,
)
from backstay.server.model import Role

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("failures", "ago_s", "throttle", "expected_s"),
    [
        (4, 0, ACCOUNT, 0.0),  # the first five are free
        (5, 0, ACCOUNT, 1.0),
        (6, 0, ACCOUNT, 2.0),
        (8, 3, ACCOUNT, 5.0),
        (8, 8, ACCOUNT, 0.0),
        (11, 0, ACCOUNT, 60.0),  # nobody can lock an account for longer
        (500, 0, ACCOUNT, 60.0),
        (10**9, 0, ACCOUNT, 60.0),
        (19, 0, ADDRESS, 0.0),
        (25, 0, ADDRESS, 32.0),
        (99, 0, ADDRESS, 900.0),
        (99, 3_600, ADDRESS, 0.0),  # an hour of rest and all is forgotten
        (11, -7_200, ACCOUNT, 60.0),  # the clock was stepped back: the limit, not two hours
    ],
)
def test_failures_cost_ever_more_up_to_a_limit(
    failures: int, ago_s: float, throttle: Throttle, expected_s: float
) -> None:
    bucket = Bucket(failures=failures, last=NOW - timedelta(seconds=ago_s))
    assert wait_s(bucket, throttle, NOW) == expected_s


def test_nobody_waits_who_never_failed() -> None:
    assert wait_s(None, ACCOUNT, NOW) == 0.0
    assert count(None, NOW) == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "address/192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address/2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "address/2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "address/192.0.2.7"),  # IPv4 by another name: no /64 of all of them
        ("unix", "address/unix"),
    ],
)
def test_an_address_counts_with_its_network(address: str, expected: str) -> None:
    assert address_bucket(address) == expected


@pytest.mark.parametrize(
    ("age_s", "idle_s", "lives"),
    [(0, 0, True), (599, 59, True), (599, 60, False), (600, 0, False), (10**6, 0, False)],
)
def test_a_session_ends_by_rest_and_by_age(age_s: float, idle_s: float, lives: bool) -> None:
    created, seen = NOW - timedelta(seconds=age_s), NOW - timedelta(seconds=idle_s)
    assert session_lives(created, seen, NOW, idle_s=60, absolute_s=600) is lives


@pytest.mark.parametrize("name", ["", "a b", "../x", "al\nice", "_x", "x" * 65, "ali☃"])
def test_a_name_that_would_be_trouble_is_refused(name: str) -> None:
    with pytest.raises(AccessError, match="A name has"):
        check_name(name)


def test_nobody_is_called_as_the_journal_calls_the_server() -> None:
    for name in ("Server", "nobody", "root"):
        with pytest.raises(AccessError, match="somebody else"):
            check_user(name)


def test_a_name_is_kept_in_lower_case_so_that_two_never_look_alike() -> None:
    assert check_name(" Alice@Example.com ") == "alice@example.com"


@pytest.mark.parametrize(
    "password", ["short", "x" * 257, "aaaaaaaaaaaa", "alice-alice-1", "backstay12345", "121212121212"]
)
def test_an_obvious_password_is_refused(password: str) -> None:
    with pytest.raises(AccessError, match="password"):
        check_password(password, "alice")


def test_a_long_phrase_needs_no_digits() -> None:
    check_password("correct horse battery staple", "alice")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"groups": ["staff", "sre"]}, Role.OPERATOR),
        ({"groups": ["sre", "owners", "staff"]}, Role.ADMIN),  # the highest
        ({"groups": "staff"}, Role.VIEWER),
        ({"groups": ["Staff"]}, None),  # as it is written
        ({"groups": []}, None),
        ({"groups": {"sre": True}}, None),
        ({"groups": [["sre"], None, 3]}, None),
        ({}, None),
    ],
)
def test_a_role_is_what_the_claim_gives_and_nobody_gets_one_by_default(
    claims: dict[str, object], expected: Role | None
) -> None:
    roles = {"staff": Role.VIEWER, "sre": Role.OPERATOR, "owners": Role.ADMIN}
    assert role_of(claims, "groups", roles) is expected
