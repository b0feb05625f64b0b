"""STATE/server.yaml and options -> Settings, or every fault with its key."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from backstay.server.settings import KEYS, Oidc, Settings, SettingsError, load

PAGE = Path(__file__).parents[4] / "docs" / "server.md"


def test_options_stand_above_the_file_and_the_file_above_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "server.yaml").write_text(
        "base_url: https://backstay.example:8443/\nport: 9443\nhosts: [Backstay.Local]\n"
    )
    settings = load(tmp_path, port=10443, listen=None)
    assert (settings.base_url, settings.port, settings.listen) == ("https://backstay.example:8443", 10443, "127.0.0.1")
    assert settings.host_names == {"backstay.example", "backstay.local"}
    assert settings.secure
    assert settings.database == f"sqlite:///{tmp_path}/server.db"


def test_a_server_on_loopback_is_called_by_each_of_its_names(tmp_path: Path) -> None:
    assert "127.0.0.1" in load(tmp_path, base_url="http://localhost:8080").host_names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot: 1", "prot"),
        ("port: 99999", "port"),
        ("base_url: backstay.example", "base_url"),
        ("base_url: https://example.com/below", "host of its own"),
        ("session_idle_s: 0", "above 0"),
        ("session_idle_s: .nan", "session_idle_s"),
        ("trusted_proxies: [10.0.0.0/33]", "trusted_proxies"),
        ("oidc: {issuer: 'http://id.example', client_id: x}", "https"),
        ("oidc: {issuer: 'https://id.example', client_id: x, client_secret: hush}", "client_secret"),
        ("oidc: {issuer: 'https://id.example', client_id: x, algorithms: [none]}", "algorithms"),
        ("oidc: {issuer: 'https://id.example', client_id: x, algorithms: [HS256]}", "algorithms"),
        ("- a", "keys and values"),
        ("a: [", "no YAML"),
        ("x: " + "y" * 300_000, "longer than"),
    ],
)
def test_a_bad_file_is_refused_with_its_key_and_without_its_secrets(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "server.yaml").write_text(text)
    with pytest.raises(SettingsError, match=re.escape(words)) as refused:
        load(tmp_path)
    assert "server.yaml" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_settings_are_checked_however_they_are_made_and_never_altered(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert replace(settings, port=1).port == 1
    with pytest.raises(ValidationError):
        replace(settings, port=-1)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    assert f"`{key}`" in PAGE.read_text()


@pytest.mark.parametrize("key", [one.name for one in fields(Oidc)])
def test_every_key_of_a_provider_is_documented(key: str) -> None:
    assert f"| `{key}` |" in PAGE.with_name("security.md").read_text()
