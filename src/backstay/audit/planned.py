"""What somebody is about to change, and what is expected of it: the words of `audit fix register`, before it has an id.

Without numpy: who asks a server says it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A change of one fact on some nodes, with the effect that is expected of it."""

    cluster: str
    indicator: str
    fact: str
    nodes: tuple[str, ...]
    value: str | None = None  # that it will have; None: any other than it has
    expected: float | None  # relative change of the indicator per unit of work: -0.3; None: equal to the peers
    by: datetime
    reason: str
    actor: str
