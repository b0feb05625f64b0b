"""What a server says of itself in its health page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backstay.look.agentcheck import Admin, AgentWords, parse

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "look" / "agentcheck.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=[repr(case["body"]) for case in CASES])
def test_a_health_page_says(case: dict[str, Any]) -> None:
    admin = Admin(case["admin"]) if "admin" in case else None
    assert parse(case["body"].encode()) == AgentWords(
        share=case.get("share"),
        admin=admin,
        up=case.get("up"),
        remark=case.get("remark", ""),
        ignored=case.get("ignored", ""),
    )


def test_a_line_beyond_the_limit_is_ignored() -> None:
    assert "more than 256 bytes" in parse(b"ready " * 100).ignored


def test_bytes_that_are_no_text_are_ignored() -> None:
    assert "not ASCII" in parse(b"\xff\xfe\x00ready").ignored


@given(st.binary(max_size=600))
def test_nonsense_says_nothing_and_never_raises(body: bytes) -> None:
    found = parse(body)
    if found.ignored:
        assert (found.share, found.admin, found.up) == (None, None, None)
    assert found.share is None or 0 <= found.share <= 256
