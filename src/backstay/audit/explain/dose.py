"""Dose-response: do the levels rise or fall with the values of a fact that has an order (V1 < V2 < V3)?

Bradford Hill, The environment and disease: association or causation? (Proc. R. Soc. Med. 58, 1965): a gradient
speaks for a cause. It is weak evidence, as most orders of software versions and parts are also orders of age, so it
adds at most the prior odds that such a cause acts in order (ORDERED), and never decides alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

ORDERED = 0.5  # prior probability that a cause with ordered values acts in their order
VALUE = re.compile(r"v?\d{1,12}(?:[.\-_+~]\d{1,9}){0,6} ?(?:[kmgt]?i?b|[km]?hz|%)?", re.IGNORECASE)
UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def order_of(values: Sequence[str | None]) -> list[tuple[float, ...]] | None:
    """A sortable key for each value, if all of them are numbers, sizes or versions; None: they have no order."""
    keys = []
    for value in values:
        if value is None or len(value) > 60 or not VALUE.fullmatch(value.strip()):
            return None
        unit = re.search(r"[a-z%]+$", value.strip().lower())
        scale = UNITS.get(unit.group()[0], 1.0) if unit else 1.0
        keys.append(tuple(float(number) * scale for number in re.findall(r"\d+", value)))
    return keys if len(set(keys)) == len(keys) else None


def dose_factor(values: Sequence[str | None], effects: Sequence[float]) -> float:
    """Bayes factor of the fact's order for these group effects: 1 where it has none, or fewer than three groups.

    Of k groups in a random order, 2 in k! are monotone; a cause that acts in order always is.
    """
    keys = order_of(values) if len(values) >= 3 else None
    if keys is None:
        return 1.0
    ordered = [effect for _, effect in sorted(zip(keys, effects, strict=True))]
    rises = [after > before for before, after in pairwise(ordered)]
    monotone = all(rises) or not any(rises)
    by_chance = 2.0 / math.factorial(min(len(values), 20))
    factor = ORDERED * monotone / by_chance + (1.0 - ORDERED)
    return min(factor, 1.0 / (1.0 - ORDERED))
