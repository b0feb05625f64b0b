"""The text format, as the client library's own parser reads it."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from backstay.exposition import counter, gauge, one, render, summary

STRANGE = 'a "name" with \\ and\na second line, {braces} and ü'


def test_every_kind_is_read_back_by_the_client_librarys_parser() -> None:
    families = [
        one("up", "Whether\nit is \\ up.", 1.0),
        gauge("weight", "Weights.", ["pool", "backend"], [(("web", STRANGE), 0.25), (("web", "b"), math.inf)]),
        counter("requests", "Requests.", ["code"], [(("200",), 9007199254740991)]),
        summary("latency_seconds", "Latencies.", ["route"], [(("/",), 3, 0.75)]),
    ]
    read = {family.name: family for family in text_string_to_metric_families(render(families).decode())}
    assert {name: family.type for name, family in read.items()} == {
        "up": "gauge",
        "weight": "gauge",
        "requests": "counter",
        "latency_seconds": "summary",
    }
    assert read["up"].documentation == "Whether\nit is \\ up."
    assert [(sample.labels["backend"], sample.value) for sample in read["weight"].samples] == [
        (STRANGE, 0.25),
        ("b", math.inf),
    ]
    assert read["requests"].samples[0].value == 9007199254740991
    assert {sample.name: sample.value for sample in read["latency_seconds"].samples} == {
        "latency_seconds_count": 3,
        "latency_seconds_sum": 0.75,
    }


def test_no_number_is_said_as_such() -> None:
    assert render([one("age", "Age.", math.nan)]).endswith(b"age NaN\n")
