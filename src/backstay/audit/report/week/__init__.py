"""The weekly review as people read it.

Review -> words.py (a sentence for each finding, what is known beside it) -> render.py (text, Markdown), page.py (HTML)
       -> data.py (JSON)
"""

from backstay.audit.report.week.data import of_review
from backstay.audit.report.week.page import review_html
from backstay.audit.report.week.render import review_markdown, review_text

__all__ = ["of_review", "review_html", "review_markdown", "review_text"]
