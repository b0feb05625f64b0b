"""The chapter on the audit, from nothing to its verdict: weeks of the lab's time, and claims beside the truth."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from playing import TIMEOUT_S, play

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)

for library in ("numpy", "scipy", "duckdb"):
    pytest.importorskip(library, reason=f"needs {library}: pip install backstay[audit]")


def test_the_audit_names_the_cpus_no_surer_than_it_may_and_proves_it_when_they_are_equal(root: Path) -> None:
    verdict = play(root, [sys.executable], "--chapter", "audit")
    assert verdict["rows"] == []
    claims = verdict["claims"]
    assert isinstance(claims, list)
    by_command = {asked: [one for one in claims if one["asked"] == asked] for asked in {one["asked"] for one in claims}}
    assert set(by_command) == {"explain", "compare", "fix verify", "review"}
    before, after = by_command["explain"][:2], by_command["explain"][2:]
    assert [one["grade"] for one in before] == ["consistent", "consistent"]
    assert all("cpu.version" in one["claimed"] for one in before)
    assert all("V1 queue1 | V2 queue2, queue3 | V3 queue4" in one["truth"] for one in before)
    assert [one["grade"] for one in by_command["fix verify"]] == ["confirmed", "confirmed"]
    assert [one["grade"] for one in after] == ["nothing", "nothing"]
    assert [one["grade"] for one in by_command["compare"]] == ["nothing", "nothing"]
    (review,) = by_command["review"]
    assert all(f"{node}: load fell" in review["claimed"] for node in ("queue1", "queue2", "queue3"))
