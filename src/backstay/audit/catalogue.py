"""What an indicator is, from words in its name: which part it measures, whether it grows with work, what is worse.

As for facts (explain/mechanism.py), the words are those of the field, not of one collector: "node_load1",
"system.load.1" and "load" are one thing.
"""

from __future__ import annotations

import re

from backstay.audit.model import Indicator, Resource

# The first that matches decides: resource, pattern, grows with work, higher is worse.
_KINDS: tuple[tuple[Resource, str, bool, bool | None], ...] = (
    (Resource.CPU, r"temp|celsius|frequency|\bmhz\b|clock", False, None),
    (Resource.SERVICE, r"latenc|duration|response|seconds per|\bms\b|p9\d", False, True),
    (Resource.NETWORK, r"drop|retrans|collision|overrun|fifo|backlog|squeez", True, True),
    (Resource.NETWORK, r"(net|nic|eth|rx|tx|receive|transmit|packet|tcp|udp)\b.*err", True, True),
    (Resource.SERVICE, r"err|fail|timeout|5xx|reject", True, True),
    (Resource.MEMORY, r"mem|swap|page|numa|oom", False, None),
    (Resource.STORAGE, r"disk|\bio\b|iops|nvme|filesystem|read bytes|written", True, None),
    (Resource.NETWORK, r"net|nic|eth\d|\brx\b|\btx\b|packet|\btcp\b|\budp\b|receive|transmit", True, None),
    (Resource.CPU, r"steal", False, True),
    (Resource.CPU, r"load|cpu|idle|context|interrupt|softirq|runnable|bench", True, True),
)
_COMPILED = tuple((resource, re.compile(pattern), work, worse) for resource, pattern, work, worse in _KINDS)


def indicator_of(name: str, *, work: str | None = None, closed_loop: bool = False) -> Indicator:
    """The indicator `name`. `work`: the cluster's unit of work, by which it is divided where it grows with it.

    `closed_loop`: a load balancer evens out the unit of work over these nodes.
    """
    if name == work:
        return Indicator(name=name, resource=Resource.SERVICE, closed_loop=closed_loop)
    words = re.sub(r"[_\-.]+", " ", name.lower())
    for resource, pattern, per_work, worse in _COMPILED:
        if pattern.search(words):
            return Indicator(name=name, resource=resource, per_work=per_work, higher_is_worse=worse)
    return Indicator(name=name)
