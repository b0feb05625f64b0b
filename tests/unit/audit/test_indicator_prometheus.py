"""Prometheus's answers, windows, and which node an instance is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.audit.sources.prometheus import answer
from backstay.audit.sources.prometheus.answer import Answered, Labelled, Nonsense, Refused, parse
from backstay.audit.sources.prometheus.api import POINTS_LIMIT, VALUES_LIMIT, spans
from backstay.audit.sources.prometheus.mapping import By, Naming, as_scraped, scrapes_of
from backstay.audit.sources.prometheus.reading import Reader

ADDRESSES = {"web1": "10.0.0.1", "web2": "2001:db8::2", "db": "10.0.0.3"}
DAY_S = 86_400.0


def told(result: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


def series(instance: str, times_s: list[float], values: list[float], **labels: str) -> Labelled:
    return Labelled(labels={"instance": instance, **labels}, times_s=np.array(times_s), values=np.array(values))


def test_an_answer_is_its_series_and_its_warnings() -> None:
    one = {"metric": {"instance": "web1:9100"}, "values": [[1.5, "2"], [2.5, "NaN"], [3.5, "+Inf"]]}
    found = parse(told([one, {"metric": {}, "histograms": [[1, {}]]}], warnings=["half is away"], isPartial=True))
    assert found.series[0].labels == {"instance": "web1:9100"}
    assert found.series[0].times_s.tolist() == [1.5, 2.5, 3.5]
    assert found.series[0].values[0] == 2.0
    assert np.isnan(found.series[0].values[1])
    assert found.series[1].times_s.size == 0
    assert found.warnings == ("half is away", "a part of the storage did not answer")


@pytest.mark.parametrize(
    ("kind", "bad_query"), [("bad_data", True), ("execution", True), ("422", True), ("timeout", False), ("", False)]
)
def test_an_error_of_the_api_is_told_in_its_words(kind: str, bad_query: bool) -> None:
    body = json.dumps({"status": "error", "errorType": kind, "error": "parse error:\n at 1:9"}).encode()
    with pytest.raises(Refused, match="parse error: at 1:9") as caught:
        parse(body)
    assert caught.value.bad_query is bad_query


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"\xff", b"[]", b"null", b"{}", b'{"status": "success"}', b"[" * 100_000,
        b'{"status": "success", "data": {"resultType": "vector", "result": []}}',
        told("x"), told([1]), told([{}]), told([{"metric": 3, "values": []}]),
        told([{"metric": {}, "values": [[1]]}]), told([{"metric": {}, "values": [[1, "x"]]}]),
        told([{"metric": {}, "values": [["NaN", "1"]]}]), told([{"metric": {}, "values": 7}]),
    ],
)  # fmt: skip
def test_nonsense_is_called_so(body: bytes) -> None:
    with pytest.raises(Nonsense):
        parse(body)


def test_a_label_too_many_is_the_querys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "SERIES_LIMIT", 3)
    with pytest.raises(Refused, match="4 series, 3 at most: has it a label too many"):
        parse(told([{"metric": {"user": str(number)}, "values": []} for number in range(4)]))


@given(
    start_s=st.floats(0, 2e9),
    length_s=st.floats(0, 40 * DAY_S),
    step_s=st.sampled_from([1.0, 15.0, 60.0, 3600.0]),
    nodes=st.integers(0, 5_000),
)
def test_windows_cover_every_point_once_and_are_never_too_long(
    start_s: float, length_s: float, step_s: float, nodes: int
) -> None:
    end_s = start_s + length_s
    before_s = -1.0
    count = 0
    for span in spans(start_s, end_s, step_s, nodes):
        points = round((span.end_s - span.start_s) / step_s) + 1
        assert points <= min(POINTS_LIMIT, max(1, VALUES_LIMIT // max(1, nodes)))
        assert span.start_s > before_s
        before_s = span.end_s
        count += points
        if count > 20_000:
            return
    assert before_s <= end_s
    assert abs(count - (length_s / step_s)) <= 1.01


def test_the_same_time_asked_twice_gives_the_same_points() -> None:
    first = [span.start_s for span in spans(1_000.2, 2_000.0, 60.0, 4)]
    assert first == [span.start_s for span in spans(1_010.7, 2_030.0, 60.0, 4)] == [1_020.0]


@pytest.mark.parametrize(
    ("value", "by", "node"),
    [
        ("10.0.0.1:9100", By.ANY, "web1"),
        ("10.0.0.1", By.ADDRESS, "web1"),
        ("[2001:db8::2]:9100", By.ANY, "web2"),
        ("2001:DB8::2", By.ANY, "web2"),
        ("web1:9100", By.ANY, "web1"),
        ("WEB1.example.com:9100", By.NAME, "web1"),
        ("http://web1.example.com:80/metrics", By.NAME, "web1"),
        ("web1:9100", By.ADDRESS, None),
        ("10.0.0.1:9100", By.NAME, None),
        ("web3:9100", By.ANY, None),
        ("", By.ANY, None),
    ],
)
def test_an_instance_is_a_node_by_its_name_or_address(value: str, by: By, node: str | None) -> None:
    named = Naming(ADDRESSES, "instance", by).named([value])
    assert named.nodes.get(value) == node
    assert named.clashes == {}


def test_two_hosts_whose_names_begin_alike_are_nobodys() -> None:
    naming = Naming(ADDRESSES, "instance", By.ANY)
    named = naming.named(["web1.a.example.com:9100", "web1.b.example.com:9100", "db.a.example.com:9100"])
    assert named.nodes == {"db.a.example.com:9100": "db"}
    assert named.clashes == {"web1": ("web1.a.example.com", "web1.b.example.com")}


@pytest.mark.parametrize("whole", ["web1:9100", "10.0.0.1:9100"])
def test_a_whole_name_or_an_address_wins_over_one_that_begins_alike(whole: str) -> None:
    named = Naming(ADDRESSES, "instance", By.ANY).named([whole, "web1.b.example.com:9100"])
    assert named.nodes == {whole: "web1"}
    assert named.clashes == {}


def reader(*scraped: Labelled) -> Reader:
    return Reader(
        label="instance",
        naming=Naming(ADDRESSES, "instance", By.ANY),
        scrapes=scrapes_of(scraped, "instance"),
        wanted=frozenset(ADDRESSES),
    )


def test_several_series_of_a_node_are_told_and_none_is_used() -> None:
    found = reader().read(
        "free",
        Answered(
            series=(series("web1:1", [10.0], [1.0], path="/"), series("web1:1", [10.0], [2.0], path="/home")),
            warnings=(),
        ),
    )
    assert found.series == ()
    assert found.problems == (
        'free: web1 has 2 series: {path="/"} and {path="/home"}; none is used. '
        "Narrow the query down, or sum by (instance).",
    )


def test_a_node_that_could_be_two_hosts_is_told() -> None:
    both = ["web1.a:1", "web1.b:1"]
    found = reader().read("load", Answered(series=tuple(series(one, [1.0], [1.0]) for one in both), warnings=()))
    assert found.series == ()
    assert reader().missing(["web1"], [], found.seen) == [
        "web1: web1.a and web1.b could both be it, and none is used. "
        "Name the node as the label does, or choose one by `selector`."
    ]


def test_a_node_that_no_series_is_of_is_told_with_what_there_is() -> None:
    said = Naming(ADDRESSES, "host", By.NAME).unknown([f"x{number}" for number in range(9)])
    assert said.startswith("no series has its name as host. There is: x0, x1, x2, x3, x4 and 4 more.")


def test_a_value_that_was_not_scraped_anew_is_not_told_again() -> None:
    # Evaluated every 10 s; scraped at 8 and 28, and then no more.
    scrapes = scrapes_of([series("a", [10.0, 20.0, 30.0, 40.0], [8.0, 8.0, 28.0, 28.0])], "instance")
    found = as_scraped(series("a", [10.0, 20.0, 30.0, 40.0, 50.0], [5.0, 5.0, 9.0, 9.0, 9.0]), scrapes.times["a"])
    assert found[0].tolist() == [8.0, 28.0]
    assert found[1].tolist() == [5.0, 9.0]


def test_a_value_keeps_its_time_where_that_of_the_scrape_is_not_known() -> None:
    one = series("a", [10.0, 20.0], [5.0, 5.0])
    assert as_scraped(one, None)[0].tolist() == [10.0, 20.0]


def test_a_target_that_is_scraped_twice_is_seen() -> None:
    found = scrapes_of([series("a", [10.0], [8.0], job="x"), series("a", [10.0], [9.0], job="y")], "instance")
    assert found.twice == {"a": '{job="x"} and {job="y"}'}
    assert found.times == {}


def test_a_target_that_was_renamed_in_between_is_one() -> None:
    found = scrapes_of([series("a", [20.0], [19.0], job="x"), series("a", [10.0], [9.0], job="y")], "instance")
    assert found.twice == {}
    assert found.times["a"][1].tolist() == [9.0, 19.0]


def test_targets_without_the_label_are_none_of_ours() -> None:
    found = scrapes_of([series("a", [10.0], [9.0]), series("b", [10.0], [9.0])], "backend")
    assert (found.times, found.twice) == ({}, {})
