"""A page as text: complete, bounded, harmless."""

from __future__ import annotations

from datetime import UTC, datetime

from backstay.notify import render
from backstay.notify.model import Page

PAGE = Page(
    key="01K",
    at=datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC),
    summary="www moved from lb1 to lb2: lb1 is dead",
    source="lb2",
    subject="ip/www",
    seen=("lb1: 14 probes in 1.4 s, no answer",),
    done=("the provider routes 203.0.113.10 to lb2", "an answer came through 203.0.113.10"),
    not_done=("lb1 does not get the address back by itself",),
    commands={"look": "backstay ip explain www", "rearm": "backstay ip rearm www lb1 --reason ..."},
)


def test_a_page_says_what_was_seen_done_and_not_done_and_the_commands() -> None:
    assert render.text(PAGE) == (
        "www moved from lb1 to lb2: lb1 is dead\n\n"
        "Seen:\n- lb1: 14 probes in 1.4 s, no answer\n\n"
        "Done:\n- the provider routes 203.0.113.10 to lb2\n- an answer came through 203.0.113.10\n\n"
        "Not done:\n- lb1 does not get the address back by itself\n\n"
        "To look:\n    backstay ip explain www\n"
        "To rearm:\n    backstay ip rearm www lb1 --reason ...\n\n"
        "2026-11-23T01:02:03+00:00, lb2, id 01K"
    )


def test_what_is_not_known_is_left_out() -> None:
    bare = Page(key="k", at=PAGE.at, summary="s", source="lb2", subject="ip/www")
    assert render.text(bare) == "s\n\n2026-11-23T01:02:03+00:00, lb2, id k"
    assert render.details(bare) == {}


def test_texts_of_others_cannot_break_out_of_their_line() -> None:
    assert render.one_line("HTTP 500\r\nBcc: all@example.com\x1b[31m\x00") == "HTTP 500 Bcc: all@example.com [31m"


def test_a_text_without_end_is_cut() -> None:
    long = Page(key="k", at=PAGE.at, summary="x" * 1_000_000, source="s", subject="s", seen=("y" * 100_000,) * 100_000)
    assert len(render.harmless(long).summary) == render.SUMMARY_LIMIT
    assert len(render.text(long)) < 30_000


def test_what_is_harmless_stays_as_it_is() -> None:
    assert render.harmless(PAGE) == PAGE


def test_a_text_that_is_no_text_can_be_kept_and_sent() -> None:
    """What an engine wrote, decoded with surrogateescape, cannot be encoded again."""
    broken = Page(key="k", at=PAGE.at, summary="bad \udcff byte", source="s", subject="s", seen=("\udcff",))
    assert render.text(broken).encode().startswith(b"bad byte")
