"""Every kind of source of facts is found, and every key that it takes is in docs/audit-sources.md."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import BaseModel

from backstay.audit.sources.ansible import AnsibleSettings
from backstay.audit.sources.facter import FacterSettings
from backstay.audit.sources.file import FactsSettings
from backstay.audit.sources.folder import FolderSettings
from backstay.audit.sources.puppetdb import PuppetDbSettings
from backstay.audit.sources.ssh.source import SshSettings

PAGE = (Path(__file__).parents[3] / "docs" / "audit-sources.md").read_text()
KINDS = {"ssh", "facter", "puppetdb", "ansible", "osquery", "file"}


def test_every_kind_of_source_of_facts_is_installed_and_documented() -> None:
    points = {point.name: point for point in entry_points(group="backstay.facts")}
    assert points.keys() >= KINDS
    assert all(callable(points[kind].load()) for kind in KINDS)
    assert all(f"| `{kind}` |" in PAGE for kind in KINDS)


@pytest.mark.parametrize(
    "model", [SshSettings, FacterSettings, FolderSettings, PuppetDbSettings, AnsibleSettings, FactsSettings]
)
def test_every_key_of_a_source_is_documented(model: type[BaseModel]) -> None:
    assert [key for key in model.model_fields if f"`{key}`" not in PAGE] == []
