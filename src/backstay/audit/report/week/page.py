"""The review as one page of HTML: everything in it, no script, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from backstay.audit.report.page import STYLE
from backstay.audit.report.plots import svg
from backstay.audit.report.story import percent
from backstay.audit.report.week.words import chart, day_of, details, headline, movement, subject, summary, title
from backstay.audit.review.model import PRESETS, Review, ReviewFinding

CHARTS_LIMIT = 40  # findings with a chart; the rest are sentences


def review_html(review: Review, footer: str = "") -> str:
    """The page. `footer`: which files or which store, from when."""
    findings = "".join(
        _finding(number, one, drawn=number <= CHARTS_LIMIT) for number, one in enumerate(review.findings, 1)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title(review))}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(title(review))}</h1><p class="said">{escape(summary(review))}</p>'
        f"{findings}{_quiet(review)}{_presets(review)}{_problems(review)}"
        f"</main><footer>{escape(footer)}</footer></body></html>\n"
    )


def _finding(number: int, one: ReviewFinding, *, drawn: bool) -> str:
    picture = chart(one)
    drawing = f"<figure>{svg(picture)}<figcaption>{escape(picture.title)}</figcaption></figure>" if drawn else ""
    values = [week.value for week in one.weeks]
    weeks = _table(
        ("week from", *(day_of(week.start) for week in one.weeks)),
        [("beside the week before", *movement(values, one.unit if one.projection is None else ""))],
    )
    return (
        f"<section><h2>{number}. {escape(headline(one))}</h2>{_items(details(one))}{drawing}"
        f"{weeks if one.projection is None else ''}{_spans(one)}</section>"
    )


def _spans(one: ReviewFinding) -> str:
    """Each preset interval beside as long before."""
    if one.projection is not None:
        return ""
    cells = [percent(span.change, one.unit) if math.isfinite(span.change) else "-" for span in one.spans]
    return _table(("interval", *(span.name for span in one.spans)), [("beside as long before", *cells)])


def _quiet(review: Review) -> str:
    rows = [(subject(one), *movement([week.value for week in one.weeks][-4:], one.unit)[1:]) for one in review.quiet]
    width = max((len(row) for row in rows), default=0)
    padded = [(*row, *([""] * (width - len(row)))) for row in rows]
    header = ("nothing moved", *(f"{ago} weeks ago" if ago else "this week" for ago in range(width - 2, -1, -1)))
    return f"<section><h2>Nothing moved</h2>{_table(header, padded)}</section>" if rows else ""


def _presets(review: Review) -> str:
    if not review.findings:
        return ""
    rows = [(one.name, one.shows) for one in PRESETS]
    return f"<section><h2>The intervals</h2>{_table(('interval', 'shows'), rows)}</section>"


def _problems(review: Review) -> str:
    return f"<section><h2>Not reviewed, or in part</h2>{_items(review.problems)}</section>" if review.problems else ""


def _items(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
