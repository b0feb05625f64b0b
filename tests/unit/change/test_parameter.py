"""Parameters for Puppet and Ansible: which names and values are taken; load balancers take none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from backstay.change import ChangeInvalid, check_parameter, parse_request

TAKEN: list[tuple[str, Any]] = [
    ("workers", 4),
    ("nginx::worker_processes", "auto"),
    ("_x9", None),
    ("a::b::c", {"list": [1, 2.5, True, None, "ä"], "deep": {"er": {}}}),
]
REFUSED: list[tuple[str | None, Any]] = [
    (None, 1),
    ("", 1),
    ("Workers", 1),
    ("9lives", 1),
    ("a:b", 1),
    ("a::", 1),
    ("a b", 1),
    ("a\n", 1),
    ("x" * 201, 1),
    ("x", float("nan")),
    ("x", float("-inf")),
    ("x", {1: 2}),
    ("x", b"bytes"),
    ("x", "\ud800"),
    ("x", {"\ud800": 1}),
    ("x", "zero\0byte"),
    ("x", 2**63),
    ("x", "x" * 8_192),
    ("x", [[[[[[[[[[1]]]]]]]]]]),
]


@pytest.mark.parametrize(("name", "value"), TAKEN, ids=[name for name, _ in TAKEN])
def test_what_puppet_understands_is_taken(name: str, value: Any) -> None:
    check_parameter(name, value)


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_would_not_come_back_as_it_went_in_is_refused(name: str | None, value: Any) -> None:
    with pytest.raises(ChangeInvalid):
        check_parameter(name, value)


def test_a_load_balancer_says_that_the_server_keeps_parameters() -> None:
    request = {
        "id": "change-0001",
        "kind": "parameter",
        "node": "web1",
        "actor": "alice",
        "reason": "why",
        "created_at": datetime(2026, 11, 23, tzinfo=UTC).isoformat(),
    }
    with pytest.raises(ChangeInvalid, match="kept by the server"):
        parse_request(request)
