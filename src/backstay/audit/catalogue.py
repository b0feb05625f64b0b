"""What an indicator is, from words in its name: which part it measures, whether it grows with work, what is worse.

As for facts (explain/mechanism.py), the words are those of the field, not of one collector: "node_load1",
"system.load.1" and "load" are one thing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from backstay.audit.model import Indicator, Resource
from backstay.estate.audit import IndicatorNature

_NETWORK = r"\b(net|network|netstat|nics?|eth\d*|rx|tx|tcp|udp)\b"

# The first that matches decides: resource, pattern, grows with work, higher is worse.
_KINDS: tuple[tuple[Resource, str, bool, bool | None], ...] = (
    (Resource.CPU, r"temp|celsius|frequency|\bmhz\b|clock", False, None),
    (Resource.SERVICE, r"(request|response)s? seconds (total|sum)\b|in ?flight", True, True),  # grow with each request
    (Resource.SERVICE, r"latenc|duration|response|seconds per|\bms\b|p9\d", False, True),
    (Resource.NETWORK, r"drop|retrans|collision|overrun|overflow|fifo|backlog|squeez|\bpause|\bxoff", True, True),
    (Resource.NETWORK, rf"{_NETWORK}.*(\berr|discard|miss|timeout)", True, True),
    (Resource.SERVICE, r"\berr|fail|timeout|5xx|reject", True, True),
    (Resource.MEMORY, r"swap (in|out)|pages? (in|out)|major faults|\boom\b", True, True),
    (Resource.MEMORY, r"mem|swap|page|numa", False, None),
    (Resource.STORAGE, r"io ?wait|blocked|(disk|\bio|nvme).*(seconds|time|busy|wait)", True, True),
    (Resource.STORAGE, r"(disk|filesystem|\bfs\b).*(percent|used|usage|full)", False, True),  # how full it is
    (Resource.STORAGE, r"(disk|filesystem|\bfs\b).*(free|avail|size)", False, None),
    (Resource.STORAGE, r"disk|\bio\b|iops|nvme|filesystem|read bytes|written", True, None),
    (Resource.NETWORK, rf"{_NETWORK}|packet|receive|transmit", True, None),
    (Resource.CPU, r"steal", False, True),
    (Resource.CPU, r"\bidle\b", False, False),  # what the work leaves: it does not grow with it
    (Resource.CPU, r"\bforks?\b", True, None),
    (Resource.CPU, r"load|cpu|context|interrupt|softirq|runnable|bench", True, True),
)
_COMPILED = tuple((resource, re.compile(pattern), work, worse) for resource, pattern, work, worse in _KINDS)


def indicator_of(
    name: str, *, work: str | None = None, closed_loop: bool = False, nature: IndicatorNature | None = None
) -> Indicator:
    """The indicator `name`. `work`: the cluster's unit of work, by which it is divided where it grows with it.

    `closed_loop`: a load balancer evens out the unit of work over these nodes. `nature`: what the estate says of it.
    """
    found = _by_name(name, work, closed_loop)
    return found if nature is None else _told(found, nature)


def _by_name(name: str, work: str | None, closed_loop: bool) -> Indicator:
    if name == work:
        return Indicator(name=name, resource=Resource.SERVICE, closed_loop=closed_loop)
    words = re.sub(r"[_\-.]+", " ", name.lower())
    for resource, pattern, per_work, worse in _COMPILED:
        if pattern.search(words):
            return Indicator(name=name, resource=resource, per_work=per_work, higher_is_worse=worse)
    return Indicator(name=name)


def _told(indicator: Indicator, nature: IndicatorNature) -> Indicator:
    """What the estate says wins; what it leaves open stays as the name says."""
    return replace(indicator, **nature.model_dump(exclude_none=True))
