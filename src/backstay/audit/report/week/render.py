"""The review as text for the terminal and as Markdown: one screen."""

from __future__ import annotations

import math

from backstay.audit.report.plots import SPARK_WIDTH, reach, sparkline, thin
from backstay.audit.report.render import plain
from backstay.audit.report.week.words import details, headline, subject, summary, title
from backstay.audit.review.model import Review, ReviewFinding

FINDINGS_SHOWN = 8  # on one screen; the page and the data have all
LINES_SHOWN = 3  # below each
PROBLEMS_SHOWN = 6


def review_text(review: Review) -> str:
    lines = [title(review), summary(review)]
    for number, one in enumerate(review.findings[:FINDINGS_SHOWN], 1):
        lines += ["", f"{number}. {headline(one)}", f"   {_spark(one)}"]
        lines += [f"   {line}" for line in details(one)[:LINES_SHOWN]]
    lines += [f"\n{line}" for line in (_more(review), _quiet(review)) if line]
    if review.problems:
        lines += ["", "Not reviewed, or in part:", *(f"  {line}" for line in _problems(review))]
    return "\n".join(lines)


def review_markdown(review: Review) -> str:
    lines = [f"# {plain(title(review))}", "", f"**{plain(summary(review))}**"]
    for number, one in enumerate(review.findings[:FINDINGS_SHOWN], 1):
        lines += ["", f"{number}. **{plain(headline(one))}**", "", f"   `{_spark(one)}`", ""]
        lines += [f"   - {plain(line)}" for line in details(one)[:LINES_SHOWN]]
    lines += [f"\n{plain(line)}" for line in (_more(review), _quiet(review)) if line]
    if review.problems:
        lines += ["", "## Not reviewed, or in part", "", *(f"- {plain(line)}" for line in _problems(review))]
    return "\n".join(lines) + "\n"


def _spark(one: ReviewFinding) -> str:
    """The days, and where they lie."""
    import numpy as np

    days = thin(np.array(one.days), SPARK_WIDTH)
    low, high = reach(days)
    since = f"{one.start:%m-%d}" if days else ""
    if one.unit == "log ratio":
        width = f"{math.expm1(min(high - low, 7.0)):.0%} from low to high"
    elif one.projection is not None:
        width = f"{low:.3g} to {high:.3g}"
    else:
        width = f"{low:.2f} to {high:.2f} of the mean"
    return f"{sparkline(days, low, high)}  days since {since}, {width}"


def _more(review: Review) -> str:
    more = len(review.findings) - FINDINGS_SHOWN
    return f"And {more} more of less weight (--html FILE and -o json have all)." if more > 0 else ""


def _quiet(review: Review) -> str:
    names = [subject(one) for one in review.quiet]
    if not names:
        return ""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"Nothing moved: {', '.join(names[:6])}{more}."


def _problems(review: Review) -> list[str]:
    more = len(review.problems) - PROBLEMS_SHOWN
    return [*review.problems[:PROBLEMS_SHOWN], *([f"and {more} more (-o json has all)"] if more > 0 else [])]
