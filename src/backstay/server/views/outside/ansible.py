"""Ansible's dynamic inventory: the composed state of every node, in groups. Pure.

The format is that of "Developing dynamic inventory" in Ansible's manual, with `_meta`, so that it is asked once.
What people typed into a parameter is marked as unsafe: Ansible would carry out a template in it on its own machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from backstay.server.views.composed import NodeState, facts

OUT_OF_SERVICE, MAINTENANCE, LOAD_BALANCERS = "backstay_out_of_service", "backstay_maintenance", "load_balancers"
_UNSAFE = "__ansible_unsafe"
_MARK = "__ansible"  # keys of Ansible's own JSON
# Names that say how Ansible itself works, and those that it forbids; in backstay.parameters they are all the same.
_NOT_OURS = ("ansible_", _MARK)
_RESERVED = {
    "action", "become", "become_method", "become_user", "connection", "delegate_to", "environment", "gather_facts",
    "group_names", "groups", "hosts", "hostvars", "inventory_dir", "inventory_file", "inventory_hostname",
    "inventory_hostname_short", "name", "notify", "omit", "play_hosts", "playbook_dir", "port", "register",
    "remote_user", "role_name", "role_path", "roles", "run_once", "tags", "tasks", "user", "vars", "when",
}  # fmt: skip


def inventory(states: Iterable[NodeState]) -> dict[str, Any]:
    """What `--list` prints."""
    groups: dict[str, list[str]] = {}
    variables: dict[str, dict[str, Any]] = {}
    for state in states:
        variables[state.node] = host(state)
        for group in groups_of(state):
            groups.setdefault(group, []).append(state.node)
    listed: dict[str, Any] = {"_meta": {"hostvars": variables}, "all": {"children": ["ungrouped", *sorted(groups)]}}
    return listed | {group: {"hosts": groups[group]} for group in sorted(groups)}


def groups_of(state: NodeState) -> list[str]:
    """The groups that the node is in; Ansible's names have no "-"."""
    found = [f"zone_{state.zone}", f"region_{state.region}"]
    found += [f"provider_{state.provider}"] if state.provider else []
    found += [f"tier_{state.tier}", LOAD_BALANCERS] if state.tier else []
    found += [f"cluster_{one}" for one in state.clusters]
    found += [f"pool_{one.pool}" for one in state.pools]
    found += [f"path_{state.zone}__{one}" for one in state.paths]  # a path is the zone's
    found += [] if state.in_service else [OUT_OF_SERVICE]
    found += [MAINTENANCE] if state.maintenance else []
    return [group.replace("-", "_") for group in found]


def host(state: NodeState) -> dict[str, Any]:
    """Variables of one node, what `--host` prints: `backstay`, and each parameter by its name, `::` written `__`."""
    values = {one.name: _inert(one.value) for one in state.parameters}
    own = {name.replace("::", "__"): value for name, value in values.items() if _is_free(name)}
    return own | {"ansible_host": state.address, "backstay": facts(state) | {"parameters": values}}


def _is_free(name: str) -> bool:
    return name not in _RESERVED and not name.startswith(_NOT_OURS)


def _inert(value: Any) -> Any:
    """`value` with every text in it marked as no template."""
    if isinstance(value, str):
        return {_UNSAFE: value}
    if isinstance(value, Mapping):
        if any("{" in key or key.startswith(_MARK) for key in value):  # keys cannot be marked
            return {_UNSAFE: json.dumps(value)}
        return {key: _inert(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_inert(inner) for inner in value]
    return value
