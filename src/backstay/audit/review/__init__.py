"""The weekly review: what is slowly getting worse, what changed for good and when, and when a limit is reached.

    Watched (cluster, grid, limits) -> rows -> change points --.
                                          \\-> trend ----------- > told from chance -> + facts, events -> Review
                                          \\-> projection -----'

model.py         Watched, Week, Review, ReviewFinding, ChangePoint, Trend, Projection
weekly.py        `review`: every series through all steps; begin to read here
rows.py          which series: the cluster's per unit of work, each node's beside its peers, those with a limit
cells.py         medians of cells; what repeats daily and weekly taken out
segments.py      PELT with the likelihood of AR(1) noise
changepoints.py  steps, turns and changes of swing of one series, tested
trend.py         seasonal Mann-Kendall, Hamed and Rao's variance, Theil and Sen's slope
projection.py    when a line reaches a limit
coincide.py      facts and events at that time

All of it is pure. docs/audit.md, section "The weekly review", says what it can and cannot see.
"""

from backstay.audit.review.model import PRESETS, Review, ReviewFinding, Watched, Week
from backstay.audit.review.weekly import review

__all__ = ["PRESETS", "Review", "ReviewFinding", "Watched", "Week", "review"]
