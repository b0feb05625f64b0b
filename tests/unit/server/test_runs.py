"""What runs decide and keep, without a network."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.server.runs.judge import DEAD_AFTER, is_dead, sentence, state_of
from backstay.server.runs.model import NodeRun, NodeRunState, Run
from backstay.server.runs.output import Output
from backstay.server.settings import RunSettings
from backstay.server.views.outside.runs import node_rows, row

PAGE = Path(__file__).parents[3] / "docs" / "integrations.md"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUN = Run(
    id="run",
    selector="cluster/web",
    command="puppet agent --test",
    actor="alice",
    reason="a test",
    at=NOW,
    event="event",
    alive_at=NOW,
    nodes=(
        NodeRun(node="web1", state=NodeRunState.CHANGED, exit_code=2, started_at=NOW, ended_at=NOW),
        NodeRun(node="web2", state=NodeRunState.UNREACHABLE, error="no answer"),
        NodeRun(node="web3", state=NodeRunState.RUNNING, started_at=NOW),
        NodeRun(node="web4"),
    ),
)


@pytest.mark.parametrize(
    ("code", "state"),
    [(0, "unchanged"), (2, "changed"), (4, "failed"), (6, "failed"), (1, "failed"), (127, "failed"), (None, "failed")],
)
def test_an_exit_code_means_what_puppets_manual_says(code: int | None, state: str) -> None:
    assert state_of(code) == state


def test_a_run_says_how_far_it_came_and_where_to_look() -> None:
    assert sentence(RUN) == "2 of 4 done: 1 waiting, 1 running, 1 changed, 1 unreachable. Look at web2."


def test_a_run_is_dead_when_its_server_is_silent_and_never_after_its_end() -> None:
    assert not is_dead(RUN, NOW + DEAD_AFTER)
    later = NOW + DEAD_AFTER + timedelta(seconds=1)
    assert is_dead(RUN, later)
    assert not is_dead(replace(RUN, ended_at=NOW), later)


def test_the_console_tells_of_each_node_in_words() -> None:
    assert row(RUN).standing.word == "under way"
    assert row(replace(RUN, ended_at=NOW)).standing.word == "1 of 4 not well"
    rows = node_rows(RUN, NOW + timedelta(seconds=7))
    assert [one.standing.word for one in rows] == ["changed", "unreachable", "running", "waiting"]
    assert [one.took_s for one in rows] == [0.0, None, 7.0, None]


def test_output_has_no_control_codes_and_survives_bytes_that_are_no_text() -> None:
    output = Output()
    for piece in (b"\x1b[1;31mError\x1b[0m:\tno\x00\x07\r\n", "é".encode()[:1], "é".encode()[1:], b"\xff"):
        output.add(piece)
    assert output.printed().text == "Error:\tno\né\ufffd"


@given(st.lists(st.text(alphabet="abc\n", max_size=30).map(str.encode), max_size=12))
def test_output_keeps_its_beginning_and_its_end_whatever_the_pieces(pieces: list[bytes]) -> None:
    output, whole = Output(head_chars=20, tail_chars=30), b"".join(pieces).decode()
    for piece in pieces:
        output.add(piece)
    printed = output.printed()
    if len(whole) <= 50:
        assert (printed.text, printed.left_out) == (whole, 0)
    else:
        assert printed.text.startswith(whole[:20]) and printed.text.endswith(whole[-30:])
        assert printed.left_out == len(whole) - 50


@pytest.mark.parametrize("key", [one.name for one in fields(RunSettings)])
def test_every_key_of_the_settings_is_documented(key: str) -> None:
    assert f"| `{key}` |" in PAGE.read_text()
