"""What sources of facts share: which of the names that a source has is a node's, and reports of what was not had. Pure.

A problem is a sentence about its node that does not begin with its name.

The estate calls a node `queue1`; Puppet, Ansible and osquery may know it as `queue1.example.com`. The name itself wins;
else the one name whose first label it is; several such names are nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from backstay.audit.model import FactReport

ALL = "*"  # every fact
NEEDS_ROOT = "needs root"  # why a fact is unread: whoever read the node was not root


def names_of(nodes: Sequence[str], known: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Node -> the names among `known` that may be its: none, one, or several, which is a fault to tell."""
    exact = dict.fromkeys(known)
    by_label: dict[str, list[str]] = {}
    for name in exact:
        by_label.setdefault(name.partition(".")[0], []).append(name)
    return {node: (node,) if node in exact else tuple(by_label.get(node, ())) for node in nodes}


def which(node: str, names: Sequence[str], where: str) -> str:
    """What is wrong with `names` of a node: none, or several. Empty: exactly one."""
    if not names:
        return f"not in {where}, by the name of {node} or {node}.DOMAIN. Is it collected there?"
    if len(names) > 1:
        return f"any of {', '.join(names[:3])} in {where} may be it. Remove those that are gone."
    return ""


def nothing(node: str, source: str, now: datetime, problem: str) -> FactReport:
    """A node of which this source could read nothing, and why."""
    return FactReport(node=node, source=source, time=now, values={}, unread={ALL: problem}, problem=problem)


def fresh(report: FactReport, now: datetime, max_age_s: float) -> FactReport:
    """`report`, unless its facts are too old to be claimed as they are. A clock that is ahead says now."""
    age_s = (now - report.time).total_seconds()
    if age_s > max_age_s:
        age = timedelta(seconds=round(age_s))
        what = f"its facts are of {report.time:%Y-%m-%d %H:%M} UTC, {age} ago. Is it still collected?"
        return nothing(report.node, report.source, now, what)
    return report if age_s >= 0.0 else replace(report, time=now)
