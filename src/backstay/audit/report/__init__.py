"""Findings as people read them: one story, told in the terminal, as Markdown and as a page of HTML.

Examined -> story.py (what is said, in which order) -> render.py (text, Markdown), page.py (HTML), data.py (JSON)
plots.py draws: sparklines of characters, and an SVG chart. All pure.
"""
