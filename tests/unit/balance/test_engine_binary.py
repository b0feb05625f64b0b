"""Which binary is used, and the reason that is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.balance.engines.binary import EngineMissing, candidates, choose, find, load_engine, why
from backstay.balance.model import EngineVersion
from backstay.estate.model import EngineKind

SYSTEM = EngineVersion(kind=EngineKind.NGINX, binary="/usr/sbin/nginx", version=(1, 22, 1), origin="system")
WHEEL = EngineVersion(kind=EngineKind.NGINX, binary="/wheel/nginx", version=(1, 31, 3), origin="wheel")
CONFIGURED = EngineVersion(kind=EngineKind.NGINX, binary="/opt/nginx", version=(1, 20, 0), origin="configured")


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{text}' >&2\n")
    path.chmod(0o755)
    return path


def test_production_takes_the_system_s_and_the_lab_the_newest() -> None:
    assert choose((SYSTEM, WHEEL), "system") is SYSTEM
    assert choose((SYSTEM, WHEEL), "newest") is WHEEL
    assert choose((WHEEL,), "system") is WHEEL


def test_a_configured_binary_wins_over_both() -> None:
    assert choose((CONFIGURED, SYSTEM, WHEEL), "newest") is CONFIGURED
    assert why(CONFIGURED, "newest") == "named in BACKSTAY_NGINX"


def test_the_reason_says_where_it_came_from() -> None:
    assert "system's own" in why(SYSTEM, "system")
    assert "newest" in why(WHEEL, "newest")
    assert "system has none" in why(WHEEL, "system")


def test_a_configured_binary_is_asked_for_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = _script(tmp_path / "nginx", "nginx version: nginx/1.27.4 (Ubuntu)")
    monkeypatch.setenv("BACKSTAY_NGINX", str(script))
    found = find(EngineKind.NGINX, "newest")
    assert (found.version, found.origin, found.binary) == ((1, 27, 4), "configured", str(script))


@pytest.mark.parametrize("text", ["something else 1.2.3", ""])
def test_a_configured_binary_that_is_no_engine_is_an_error_and_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setenv("BACKSTAY_HAPROXY", str(_script(tmp_path / "haproxy", text)))
    with pytest.raises(EngineMissing, match="BACKSTAY_HAPROXY"):
        candidates(EngineKind.HAPROXY)
    monkeypatch.setenv("BACKSTAY_HAPROXY", "/nonexistent/haproxy")
    with pytest.raises(EngineMissing, match="BACKSTAY_HAPROXY"):
        find(EngineKind.HAPROXY)


def test_both_adapters_are_found_by_their_entry_points() -> None:
    for kind in EngineKind:
        assert callable(load_engine(kind))
