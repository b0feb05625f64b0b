"""docs/audit-sources.md has every indicator of a host and of the tier, and every setting of their kinds."""

from __future__ import annotations

import re
from pathlib import Path

from backstay.audit.sources.counters import CountersSettings
from backstay.audit.sources.exporter import ExporterSettings
from backstay.audit.sources.hosts.table import FORMULAS
from backstay.audit.sources.prometheus import PrometheusSettings
from backstay.audit.sources.ssh.remote import Login
from backstay.audit.sources.tier import TierSettings, reading

PAGE = Path(__file__).parents[3] / "docs" / "audit-sources.md"
TIER = (reading.WORK, reading.ERRORS, reading.SECONDS, reading.IN_FLIGHT)
KINDS = (PrometheusSettings, ExporterSettings, CountersSettings, TierSettings)
SETTINGS = {key for kind in KINDS for key in kind.model_fields} - Login.model_fields.keys()  # those are of the facts


def test_every_indicator_and_setting_is_documented() -> None:
    page = PAGE.read_text()
    missing = [name for name in (*FORMULAS, *TIER, *sorted(SETTINGS)) if not re.search(rf"`{name}[`:]", page)]
    assert missing == []
