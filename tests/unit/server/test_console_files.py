"""The static files: what is vendored is what was published, and nothing needs an inline script or style."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from backstay.server.console import files

CONSOLE = Path(files.__file__).parent
VENDOR = CONSOLE / "static/vendor"
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))
ICONS = set(re.findall(r'<symbol id="([a-z]+)"', (CONSOLE / "static/icons.svg").read_text()))


def test_every_vendored_file_is_the_one_that_was_published() -> None:
    recorded = json.loads((VENDOR / "vendor.json").read_text())
    hashes = {name: one["sha256"] for package in recorded.values() for name, one in package["files"].items()}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.iterdir()}
    del found["vendor.json"]
    assert found == hashes
    assert all(package["version"] and package["license"] for package in recorded.values())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(CONSOLE / "templates")))
def test_no_template_has_what_the_content_security_policy_refuses(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|<style", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert "hx-on" not in text and "js:" not in text  # htmx would evaluate them


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(CONSOLE / "templates")))
def test_every_icon_of_a_template_is_drawn(template: Path) -> None:
    assert set(re.findall(r'icon\("([a-z]+)"\)', template.read_text())) <= ICONS


def test_a_static_files_address_changes_with_its_content() -> None:
    name = "console.css"
    assert files.static(name).startswith(
        f"/static/{name}?v={hashlib.sha256((CONSOLE / 'static' / name).read_bytes()).hexdigest()[:12]}"
    )
