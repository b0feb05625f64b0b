"""Our own collector: collect.sh to each node. A node that ends in the middle tells what it told."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from backstay.audit.ports import FactSource, Surroundings
from backstay.audit.sources.settings import checked
from backstay.audit.sources.ssh.over import NodeLogin, OverSsh, Task
from backstay.audit.sources.ssh.parse import facts_of
from backstay.audit.sources.ssh.remote import Ended
from backstay.audit.sources.tools import Facts

KIND = "ssh"
OUTPUT_LIMIT_BYTES = 8_000_000  # a large machine with 5,000 packages prints 1 MB
COMMAND_S = 15  # for one of the script's commands


class SshSettings(NodeLogin):
    sudo: bool = False
    """Put `sudo -n` before dmidecode and sysctl, which show all only to root."""


def facts(settings: Mapping[str, Any], around: Surroundings) -> FactSource:
    """For the entry point `ssh`. Raises SourceError for settings that it does not take."""
    given = checked(SshSettings, settings, KIND)
    script = (files(__package__) / "collect.sh").read_bytes()

    def task() -> Task:
        mark = f"={secrets.token_hex(8)}"  # nothing that a node prints can look like it
        command = shlex.join(["sh", "-s", mark, str(COMMAND_S), "sudo -n" if given.sudo else ""])
        return Task(command=command, feed=script, read=lambda ended: told(ended, mark))

    return OverSsh(KIND, given, around, task, limit_bytes=OUTPUT_LIMIT_BYTES)


def told(ended: Ended, mark: str) -> Facts:
    """What the script printed until it ended. Raises ValueError when that is nothing."""
    found = facts_of(ended.out, mark, ended.cut)
    if not found.values:
        what = ended.cut or f"the script told nothing (exit status {ended.exit_code})"
        raise ValueError(f"{what}. Try it by hand: ssh to it, and run sh -c uname.")
    return found.values, found.unread
