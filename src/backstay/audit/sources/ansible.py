"""Ansible's facts: the kind `ansible` of `backstay.facts`, from its fact cache (plugin jsonfile) or `setup --tree`.

In ansible.cfg: `gathering = smart`, `fact_caching = jsonfile`, `fact_caching_connection = FOLDER`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StringConstraints

from backstay.audit.ports import FactSource, Surroundings
from backstay.audit.sources.folder import FolderFacts, FolderSettings
from backstay.audit.sources.settings import checked
from backstay.audit.sources.tools import ansible

KIND = "ansible"
SCHEMA = re.compile(r"s\d+_")  # ansible-core 2.19 and later put their cache's version before the host


class AnsibleSettings(FolderSettings):
    prefix: Annotated[str, StringConstraints(max_length=200)] = ""
    """The `fact_caching_prefix` of ansible.cfg."""


def facts(settings: Mapping[str, Any], around: Surroundings) -> FactSource:
    """For the entry point `ansible`. Raises SourceError for settings that it does not take."""
    given = checked(AnsibleSettings, settings, KIND)
    return FolderFacts(KIND, given, around, ansible, lambda name: SCHEMA.sub("", name.removeprefix(given.prefix), 1))
