"""How fast the evidence alone convinces, with every probe on time: what docs/failover.md promises, and no clock."""

from __future__ import annotations

import pytest
from benches.takeover import limit


@pytest.mark.parametrize(("fault", "most_s"), [("crash", 0.7), ("hang", 0.8), ("isolate", 1.0)])
def test_a_death_convinces_within_a_second_of_the_first_probe_that_meets_it(fault: str, most_s: float) -> None:
    assert limit.burst_s(fault) <= most_s


@pytest.mark.parametrize("fault", ["crash", "hang", "isolate"])
def test_a_fault_meets_a_probe_within_a_quarter_of_a_second_on_average(fault: str) -> None:
    assert limit.wait_s(fault) <= 0.25
