"""What is kept how long, and how finely. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days, counted back from the last midnight (UTC), so that no cell is cut in two.

    Samples as they came for `raw_days`, then means over minutes until `minute_days`, then over hours until `hour_days`.
    """

    raw_days: int = 7
    minute_days: int = 14
    hour_days: int = 366
    fact_days: int = 366

    def __post_init__(self) -> None:
        if not 1 <= self.raw_days <= self.minute_days <= self.hour_days or self.fact_days < 1:
            raise ValueError(
                f"retention of {self.raw_days}, {self.minute_days} and {self.hour_days} days: each at least as "
                "long as the one before, and a day at least"
            )

    @staticmethod
    def before(now: datetime, days: int) -> int:
        """Unix seconds of the midnight `days` before the last one."""
        return (int(now.astimezone(UTC).timestamp()) // DAY_S - days) * DAY_S
