"""A story as text for the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from backstay.audit.report.plots import sparklines
from backstay.audit.report.story import Section, Story


def as_text(story: Story) -> str:
    parts = [story.sentence, "", story.chart.title + ":", *_sparks(story)]
    for section in story.sections:
        parts += ["", section.heading, *(f"  {line}" for line in section.lines)]
        if section.rows:
            parts += [f"  {line}" for line in _aligned([section.header, *section.rows])]
    return "\n".join(parts)


def as_markdown(story: Story) -> str:
    parts = [f"# {plain(story.title)}", "", f"**{plain(story.sentence)}**", "", f"{plain(story.chart.title)}:", ""]
    parts += ["```", *_sparks(story), "```"]
    for section in story.sections:
        parts += ["", f"## {plain(section.heading)}", "", *_markdown(section)]
    return "\n".join(parts) + "\n"


def _markdown(section: Section) -> list[str]:
    lines = [f"- {plain(line)}" for line in section.lines]
    if not section.rows:
        return lines
    table = [section.header, tuple("---" for _ in section.header), *section.rows]
    rows = ["| " + " | ".join(plain(cell) for cell in row) + " |" for row in table]
    return [*lines, *([""] if lines else []), *rows]


def _sparks(story: Story) -> list[str]:
    rows = [(line.node, spark, line.label) for line, spark in sparklines(story.chart)]
    more = len(story.chart.lines) - len(rows)
    return [f"  {line}" for line in _aligned(rows)] + ([f"  and {more} nodes more"] if more else [])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, two blanks apart."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def plain(words: str) -> str:
    """Text that Markdown does not read as anything else: values of facts come from machines."""
    escaped = "".join(f"\\{one}" if one in "\\`*_[]<>|#&" else one for one in words)
    return " ".join(escaped.split())
