"""A page as text. Pure. Texts of others (an engine's, a provider's) are made harmless: one line, bounded."""

from __future__ import annotations

from dataclasses import replace

from backstay.notify.model import Page

SUMMARY_LIMIT = 1_024  # PagerDuty's limit of payload.summary
LINE_LIMIT = 500
LINES_LIMIT = 40


def harmless(page: Page) -> Page:
    """The same page within the limits. What is kept and sent is this: no text of others can make it unwritable."""
    return replace(
        page,
        key=one_line(page.key),
        summary=one_line(page.summary, SUMMARY_LIMIT),
        source=one_line(page.source),
        subject=one_line(page.subject),
        seen=_lines(page.seen),
        done=_lines(page.done),
        not_done=_lines(page.not_done),
        commands={one_line(what): one_line(page.commands[what]) for what in list(page.commands)[:LINES_LIMIT]},
    )


def text(page: Page) -> str:
    """The whole page, for people: summary, then what was seen, done and not done, and the commands."""
    page = harmless(page)
    parts = [page.summary]
    for title, lines in (("Seen", page.seen), ("Done", page.done), ("Not done", page.not_done)):
        if lines:
            parts.append("\n".join([f"{title}:", *(f"- {line}" for line in lines)]))
    if page.commands:
        parts.append("\n".join(f"To {what}:\n    {command}" for what, command in page.commands.items()))
    parts.append(f"{page.at.isoformat(timespec='seconds')}, {page.source}, id {page.key}")
    return "\n\n".join(parts)


def details(page: Page) -> dict[str, str]:
    """The same for channels that show fields."""
    page = harmless(page)
    fields = {"seen": "\n".join(page.seen), "done": "\n".join(page.done), "not done": "\n".join(page.not_done)}
    fields |= {f"to {what}": command for what, command in page.commands.items()}
    return {name: value for name, value in fields.items() if value}


def one_line(words: str, limit: int = LINE_LIMIT) -> str:
    flat = " ".join("".join(letter if letter.isprintable() else " " for letter in words[: limit * 4]).split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def _lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one_line(line) for line in texts[:LINES_LIMIT])
