"""What Facter and Ansible's setup write (JSON), as facts, and what they could not read. Pure.

Neither says "not read": Facter leaves out what it may not read, Ansible writes NA. Both would look like a difference
between nodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from backstay.audit.sources.reports import NEEDS_ROOT
from backstay.audit.sources.values import FactTree, flatten

Facts = tuple[dict[str, str], dict[str, str]]  # values; unread and why
Reader = Callable[[Any], Facts]  # of what a tool wrote about one node; raises ValueError: what is wrong

ROOTS = ("dmi.*", "bios.*", "board.*", "chassis.*", "system.*")  # what is read from DMI, by both names
NOT_AVAILABLE = "NA"
# Variables of whoever ran it, which may be secrets; when it ran; how it was asked.
NOT_OF_THE_NODE = frozenset({"env", "date_time", "gather_subset", "module_setup"})
PREFIX = "ansible_"
NO_LOSS = ("!facter", "!ohai")  # other tools' facts, which setup would run


def facter(content: Any) -> Facts:
    """What `facter --json` prints, or PuppetDB keeps. Raises ValueError."""
    values = flatten(_tree(content, "facter --json"))
    # Unprivileged, Facter has no serial numbers, and on many machines no DMI at all.
    hidden = ROOTS if values.get("identity.privileged") == "false" else ()
    return values, dict.fromkeys(hidden, f"{NEEDS_ROOT}: facter ran without")


def ansible(content: Any) -> Facts:
    """A file of Ansible's fact cache (plugin jsonfile), or of `ansible -m setup --tree`. Raises ValueError."""
    tree = _tree(content, "ansible -m setup")
    if isinstance(tree.get("__payload__"), str):  # ansible-core 2.19 and later wrap what they cache
        tree = _tree(json.loads(tree["__payload__"], parse_float=str, parse_int=str), "ansible -m setup")
    if isinstance(tree.get("ansible_facts"), dict):
        tree = tree["ansible_facts"]
    facts = {name.removeprefix(PREFIX): value for name, value in tree.items()}
    kept = {name: value for name, value in facts.items() if name not in NOT_OF_THE_NODE}
    values = flatten({"ansible": kept})
    unread = {name: NEEDS_ROOT for name, value in values.items() if value == NOT_AVAILABLE}
    subset = facts.get("gather_subset")
    asked = [str(one) for one in subset] if isinstance(subset, list) else []
    if "all" not in asked or any(one.startswith("!") and one not in NO_LOSS for one in asked):
        gathered = ", ".join(asked)[:100] or "which part, it does not say"
        unread["ansible.*"] = f"only a part was gathered: {gathered}"
    return {name: value for name, value in values.items() if name not in unread}, unread


def _tree(content: Any, wrote: str) -> FactTree:
    if not isinstance(content, dict):
        # Not TypeError: a Reader has one error for whatever is wrong with what a tool wrote.
        raise ValueError(f"this is no JSON object with facts. Give what `{wrote}` writes.")  # noqa: TRY004
    return content
