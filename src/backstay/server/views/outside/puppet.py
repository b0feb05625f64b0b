"""Puppet's external node classifier: one node's composed state as its classes, parameters and environment. Pure.

`$backstay` holds what the estate says of the node, and all parameters in force by their names; the module's Hiera level
(backstay::parameters) gives them to classes: a class that the classifier named would be declared twice where a
manifest includes it (docs/decisions/0145). A name without `::` is a top-scope variable, too; `environment` is the
node's Puppet environment. The format is that of "Writing external node classifiers" in Puppet's manual.
"""

from __future__ import annotations

from typing import Any

import yaml

from backstay.change.parameter import ENVIRONMENT
from backstay.server.views.composed import NodeState, facts

MEDIA_TYPE = "text/yaml"


def classified(state: NodeState) -> dict[str, Any]:
    """`classes` (none), `parameters`, and `environment` where a parameter sets it."""
    values = {one.name: one.value for one in state.parameters}
    variables = {name: value for name, value in values.items() if "::" not in name and name != ENVIRONMENT}
    found: dict[str, Any] = {"classes": {}}
    if ENVIRONMENT in values:
        found["environment"] = values[ENVIRONMENT]
    return found | {"parameters": {"backstay": facts(state) | {"parameters": values}, **variables}}


class _Dumper(yaml.SafeDumper):
    """Every text in quotes: Ruby's YAML takes `:on` for a symbol, `1,000` for a number and `no` for false."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


def as_yaml(classification: dict[str, Any]) -> str:
    return "---\n" + str(yaml.dump(classification, Dumper=_Dumper, sort_keys=False, width=1_000_000))
