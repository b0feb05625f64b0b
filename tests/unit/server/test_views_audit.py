"""The audit's pages, as far as they are decided before any template: what is shown of an answer, and how much of it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from backstay.estate import load_text
from backstay.server.audit.drawing import NODES_LIMIT, drawn
from backstay.server.audit.model import GRADES, Key, Kind, Result
from backstay.server.views.audit.chart import POINTS_LIMIT, charts
from backstay.server.views.audit.clusters import cluster_rows
from backstay.server.views.audit.finding import finding_page
from backstay.server.views.audit.fixes import fix_rows
from backstay.server.views.audit.words import address, finding_path, ladder, percent, spans
from server_rig import EXAMPLES, SERVERDENSITY

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (math.log(1.2), "log ratio", "+20%"),
        (math.log(1.023), "log ratio", "+2.3%"),
        (math.log(0.5), "log ratio", "-50%"),
        (math.log(14.0), "log ratio", "14 times"),
        (-math.log(14.0), "log ratio", "1/14"),
        (0.5, "share of the cluster's mean", "+0.50 of the mean"),
        (None, "log ratio", "unknown"),
        (math.nan, "log ratio", "unknown"),
    ],
)
def test_a_difference_is_said_as_people_say_it(value: float | None, unit: str, words: str) -> None:
    assert percent(value, unit) == words


def test_the_ladder_has_every_grade_that_claims_something_and_marks_one() -> None:
    rungs = ladder("probable")
    assert [rung.standing.word for rung in rungs] == list(GRADES[1:])
    assert [rung.reached for rung in rungs] == [True, True, True, False, False]
    assert [rung.standing.word for rung in rungs if rung.current] == ["probable"]
    assert not any(rung.reached for rung in ladder("nothing"))


def test_the_usual_interval_is_not_in_an_address() -> None:
    assert address("/audit", "1d") == "/audit"
    assert [one.href for one in spans("/audit/queue", "1w") if one.current] == ["/audit/queue?span=1w"]


def test_an_indicator_of_any_name_has_an_address() -> None:
    assert finding_path("web", 'errors{code="5xx"}/s?') == "/audit/web/errors%7Bcode%3D%225xx%22%7D/s%3F"


def a_series(nodes: int, points: int) -> dict[str, Any]:
    lines = [
        {"node": f"n{at}", "group": at % 2, "label": "V1", "absolute": [1.0] * points, "beside": [0.0] * points}
        for at in range(nodes)
    ]
    return {"times_s": [60.0 * at for at in range(points)], "nodes": lines}


def test_a_chart_has_no_more_rows_than_its_table_bears_and_keeps_gaps() -> None:
    series = a_series(3, 5 * POINTS_LIMIT)
    series["nodes"][0]["absolute"][:5] = [None] * 5
    beside, absolute = charts(series, indicator="load", unit="log ratio", work="messages")
    assert len(beside.rows) == len(absolute.rows) == POINTS_LIMIT
    assert (absolute.rows[0].values[0], absolute.rows[0].cells[0], absolute.rows[1].values[0]) == (None, "", 1.0)
    assert beside.title == "load per unit of messages, beside its peers"


def test_nodes_of_one_group_look_alike_and_groups_differ_without_colour() -> None:
    _, chart = charts(a_series(4, 10), indicator="load", unit="log ratio", work=None)
    looks = [(column.colour, column.dash) for column in chart.columns]
    assert (looks[0], looks[1]) == (looks[2], looks[3])
    assert chart.columns[0].dash != chart.columns[1].dash


def test_groups_with_any_number_have_looks_of_their_own() -> None:
    series = a_series(2, 10)
    series["nodes"][1]["group"] = 6  # as a fix tells those that were left as they are
    first, second = charts(series, indicator="load", unit="log ratio", work=None)[0].columns
    assert (first.colour, first.dash) != (second.colour, second.dash)


def test_of_many_nodes_those_who_differ_are_kept() -> None:
    kept = drawn(a_series(100, 2), ["n99"])
    assert (len(kept["nodes"]), kept["nodes"][0]["node"], kept["left_out"]) == (NODES_LIMIT, "n99", 100 - NODES_LIMIT)


def test_nothing_measured_draws_nothing() -> None:
    assert charts({"times_s": [], "nodes": []}, indicator="load", unit="log ratio", work=None) == ()


def test_a_page_of_an_indicator_without_a_finding_says_so() -> None:
    shown = finding_page("queue", "load", "1d", None, [], None)
    assert (shown.grade, shown.nodes, shown.charts, shown.fixable) == ("nothing", (), (), ())
    assert shown.sentence == "No node differs in load beyond what nodes that are alike show."


def test_clusters_are_shown_with_the_surest_finding_first() -> None:
    estate = load_text(SERVERDENSITY, "estate", EXAMPLES).estate
    head = {"problem": "", "grade": "probable", "indicator": "load", "sentence": "Probable: x", "differ": 1,
            "indicators": 3, "to": "2026-11-23T12:05:00+00:00"}  # fmt: skip
    kept = [Result(key=Key(kind=Kind.COMPARISON, cluster="queue", span="1d"), at=NOW, head=head)]
    rows = cluster_rows(estate, {"web": ["web1", "web2"], "queue": ["queue1"] * 4}, kept, "1d")
    assert [row.name for row in rows] == ["queue", "web"]
    assert (rows[0].finding, rows[0].newest) == ("/audit/queue/load", NOW)  # its last cell ends after the look
    assert rows[1].sentence == "2 of the 3 nodes that a comparison wants."


def test_fixes_are_shown_newest_first() -> None:
    def fix(number: int) -> Result:
        head = {"id": f"queue-load-{number}", "cluster": "queue", "indicator": "load", "fact": "cpu", "nodes": ["q"],
                "expected": None, "by": "2026-12-01T00:00:00Z", "registered": f"2026-11-0{number}T00:00:00+00:00",
                "outcome": "waiting", "actor": "alice", "reason": "x"}  # fmt: skip
        return Result(key=Key(kind=Kind.FIX, cluster="queue", indicator=head["id"]), at=NOW, head=head)

    rows = fix_rows([fix(1), fix(3), fix(2)])
    assert [row.id for row in rows] == ["queue-load-3", "queue-load-2", "queue-load-1"]
    assert rows[0].expected == "equal to its peers"
