"""Pure: what the server decides.

    asked.py      what somebody asks for, and the plan that comes of it
    places.py     an estate, indexed: who serves where, who carries what; what a selector means
    seen.py       the agents' reports, merged: which backends take traffic, what they carry
    guard.py      the plan: the guard over several nodes, each with the ones before it in force
    telling.py    what each agent is to be told, in parts that are encoded once
    compare.py    two estates, the difference in words

Asked -> places (which nodes) -> guard (Weighed) -> store -> telling (Desired, as JSON)
"""

from backstay.server.weigh.asked import Asked, Weighed, WeighedNode
from backstay.server.weigh.compare import difference
from backstay.server.weigh.guard import as_change, repeats, weigh
from backstay.server.weigh.places import Places, index
from backstay.server.weigh.seen import Seen, seen
from backstay.server.weigh.telling import Telling

__all__ = [
    "Asked",
    "Places",
    "Seen",
    "Telling",
    "Weighed",
    "WeighedNode",
    "as_change",
    "difference",
    "index",
    "repeats",
    "seen",
    "weigh",
]
