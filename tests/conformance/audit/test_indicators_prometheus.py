"""The kind `prometheus`: a real Prometheus that scrapes a real node_exporter, and a server that answers badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indicators_servers import Server, answer
from indicators_worlds import around

from backstay.audit.model import Series
from backstay.audit.ports import SourceError
from backstay.audit.sources import exporter, prometheus
from backstay.audit.sources.hosts.table import FORMULAS
from backstay.audit.sources.prometheus import api
from real_prometheus import NodeExporter, Prometheus, needs_node_exporter, needs_prometheus

DEADLINE_S = 60.0
SPAN = timedelta(seconds=30)
WEB1 = {"web1": "127.0.0.1"}


async def read(source: Any, *nodes: str, step_s: float = 1.0, **more: Any) -> list[Series]:
    now = datetime.now(UTC)
    span = {"start": now - SPAN, "end": now, "timeout_s": 30.0} | more
    return list(await source.read(nodes, step_s=step_s, **span))


@needs_prometheus
@needs_node_exporter
async def test_what_prometheus_has_is_what_the_exporter_says(tmp_path: Path) -> None:
    with (
        NodeExporter(tmp_path / "exporter", "127.0.0.1") as node,
        Prometheus(tmp_path / "prometheus", [node.target]) as server,
    ):
        queries = {
            "load_15m": "node_load15",
            "broken": "sum by (",
            "nowhere": "no_such_metric",
            "nobodys": "sum(node_load1)",
        }
        stored = prometheus.indicators({"url": server.url, "queries": queries}, around(tmp_path, WEB1))
        async with asyncio.timeout(DEADLINE_S):
            while not (series := await read(stored, "web1")) or max(one.times_s.size for one in series) < 2:
                await asyncio.sleep(0.2)
        now = await read(exporter.indicators({"port": node.port}, around(tmp_path, WEB1)), "web1")
    assert {one.indicator for one in series} == {one.indicator for one in now} | {"load_15m"}
    assert {one.indicator for one in now} <= FORMULAS.keys()
    said = {one.indicator: one for one in now}
    for one in series:
        assert (np.diff(one.times_s) > 0.0).all()  # once a scrape, at its time
        if one.indicator in said:
            assert one.kind is said[one.indicator].kind
            if one.indicator.endswith("_total"):
                assert (np.diff(one.values) >= 0.0).all()
                assert one.values[-1] <= said[one.indicator].values[0]
    problems = "\n".join(stored.problems)
    assert "broken: the query is refused: bad_data: 1:" in problems
    assert "nowhere: the query gives nothing" in problems
    assert "nobodys: a series has no label instance. Write sum by (instance)" in problems


def exposition(lines: list[str]) -> str:
    return "\n".join(["# TYPE node_load1 gauge", *lines, "# EOF", ""])


@needs_prometheus
async def test_a_long_time_is_asked_for_in_windows(tmp_path: Path) -> None:
    """Prometheus refuses more than 11,000 points at once."""
    end_s = int((datetime.now(UTC) - timedelta(hours=6)).timestamp())
    start_s, count = end_s - 12_000, 12_000
    lines = [f'node_load1{{instance="127.0.0.1:9100"}} {at % 7} {start_s + at}' for at in range(count)]
    with Prometheus(tmp_path / "prometheus", history=exposition(lines)) as server:
        settings = {"url": server.url, "usual": False, "queries": {"load": "node_load1"}}
        source = prometheus.indicators(settings, around(tmp_path, WEB1))
        span = {"start": datetime.fromtimestamp(start_s, UTC), "end": datetime.fromtimestamp(end_s, UTC)}
        (load,) = await read(source, "web1", step_s=1.0, **span)
    assert source.problems == ()
    assert load.times_s.tolist() == [start_s + at for at in range(count)]
    assert load.values.tolist() == [at % 7 for at in range(count)]


@needs_prometheus
async def test_a_node_that_is_scraped_twice_is_told_and_a_selector_helps(tmp_path: Path) -> None:
    end_s = int((datetime.now(UTC) - timedelta(hours=3)).timestamp())
    lines = [
        f'node_load1{{instance="{instance}",job="{job}"}} 2 {at}'
        for instance, job in (("127.0.0.1:9100", "a"), ("127.0.0.1:9100", "b"), ("web2.example.com:9100", "a"))
        for at in range(end_s - 60, end_s, 5)
    ]
    nodes = {**WEB1, "web2": "10.0.0.2"}
    with Prometheus(tmp_path / "prometheus", history=exposition(lines)) as server:
        end = datetime.fromtimestamp(end_s, UTC)
        span = {"start": end - timedelta(minutes=1), "end": end, "step_s": 5.0}
        plain = prometheus.indicators({"url": server.url}, around(tmp_path, nodes))
        assert {one.node for one in await read(plain, **span)} == {"web2"}
        assert plain.problems == (
            'web1: it is scraped twice, as {job="a"} and {job="b"}, and a sum would count it twice. '
            "Choose one by `selector`.",
        )
        chosen = prometheus.indicators({"url": server.url, "selector": 'job="a"'}, around(tmp_path, nodes))
        found = await read(chosen, **span)
    assert {one.node for one in found} == {"web1", "web2"}
    assert all((one.values == 2.0).all() for one in found)
    assert chosen.problems == ()


# A server that answers badly


def api_error(kind: str, words: str) -> str:
    return json.dumps({"status": "error", "errorType": kind, "error": words})


def matrix(*result: Any, **more: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more})


ENDLESS = (
    '{"status": "success", "data": {"resultType": "matrix", "result": [' + '{"metric": {}, "values": []},' * 50_000
)
MANY = [{"metric": {"instance": f"user-{number}"}, "values": [[1.0, "1"]]} for number in range(30_000)]

BAD = {
    "no credentials": (401, "no", r"does not let us in \(HTTP 401\)\. Give it bearer or basic"),
    "not allowed": (403, "no", r"does not let us in \(HTTP 403\)"),
    "another path": (404, "404 page not found", r"is not there \(HTTP 404\)\. Is the path right"),
    "broken": (500, "oops\nand more", r"HTTP 500: oops and more\. Look into its log"),
    "too busy": (503, "no healthy upstream", r"too busy \(HTTP 503: no healthy upstream\)"),
    "its own timeout": (503, api_error("timeout", "query timed out"), r"could not answer: timeout: query timed out"),
    "a page": (200, "<html>Sign in</html>", r"answered no JSON: '<html>Sign in</html>'\. Is `url` that of a query API"),
    "another API": (200, '{"ok": true}', r"JSON without a status"),
    "an instant answer": (200, matrix().replace("matrix", "vector"), r"no matrix of series"),
    "a series that is none": (200, matrix({"metric": {}, "values": [["x", "y"]]}), r"a series that is none"),
    "all queries refused": (422, api_error("execution", "too many samples"), r"refuses even timestamp\(node_load1\)"),
    "a million labels": (200, matrix(*MANY), r"30000 series, 20000 at most: has it a label too many"),
    "no end": (200, ENDLESS, r"answers more than 1000000 bytes: has a metric a label too many"),
}


@pytest.fixture
def server() -> Iterator[Server]:
    """Told in the test what to say, and started there."""
    yield Server(lambda _, writer: answer(writer, 200, matrix()))


async def source_of(server: Server, folder: Path, **settings: Any) -> prometheus.PrometheusIndicators:
    if not server.port:
        await server.start()
    return prometheus.indicators({"url": f"http://127.0.0.1:{server.port}/", **settings}, around(folder, WEB1))


@pytest.mark.parametrize("case", BAD)
async def test_an_answer_that_is_none_is_told_in_words(
    server: Server, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, body, said = BAD[case]
    if case == "no end":
        monkeypatch.setattr(api, "ANSWER_LIMIT_BYTES", 1_000_000)
    server.say = lambda _, writer: answer(writer, status, body)
    source = await source_of(server, tmp_path)
    try:
        with pytest.raises(SourceError, match=said):
            await read(source, "web1")
    finally:
        await server.stop()


async def test_a_server_that_is_cut_off_redirects_hangs_or_is_not_there(server: Server, tmp_path: Path) -> None:
    server.say = lambda _, writer: answer(writer, 200, matrix(), length=10_000)
    source = await source_of(server, tmp_path, timeout_s=1.0)
    with pytest.raises(SourceError, match="was cut short"):
        await read(source, "web1")
    server.say = lambda _, writer: answer(writer, 302, "", more="Location: https://sso.example.com/\r\n")
    with pytest.raises(SourceError, match=r"redirects to https://sso\.example\.com/\. Write that"):
        await read(source, "web1")
    server.say = lambda _, writer: writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    with pytest.raises(SourceError, match="Does it listen there"):
        await read(source, "web1")
    server.hangs = True
    with pytest.raises(SourceError, match=r"no answer from http.* within 1 s"):
        await read(source, "web1")
    with pytest.raises(SourceError, match=r"did not answer \d+ queries within 0\.2 s"):
        await read(source, "web1", timeout_s=0.2)
    await server.stop()
    with pytest.raises(SourceError, match="Connect call failed"):
        await read(source, "web1")


async def test_an_answer_that_may_not_be_whole_is_a_problem(server: Server, tmp_path: Path) -> None:
    now_s = datetime.now(UTC).timestamp()
    one = {"metric": {"instance": "web1:1"}, "values": [[now_s - 2.0, str(now_s - 3.0)]]}
    server.say = lambda _, writer: answer(writer, 200, matrix(one, warnings=["store eu-2 is away"]))
    source = await source_of(server, tmp_path)
    assert await read(source, "web1")
    await server.stop()
    assert source.problems[0] == "it warns: store eu-2 is away"
    assert "load: it warns: store eu-2 is away" in source.problems


async def test_one_refused_query_does_not_cost_the_others(server: Server, tmp_path: Path) -> None:
    now_s = datetime.now(UTC).timestamp()
    good = matrix({"metric": {"instance": "web1:1"}, "values": [[now_s - 2.0, str(now_s - 3.0)]]})

    def say(head: str, writer: Any) -> None:
        refused = "node_load5" in head
        answer(writer, 422 if refused else 200, api_error("execution", "too many samples") if refused else good)

    server.say = say
    source = await source_of(server, tmp_path)
    found = await read(source, "web1")
    await server.stop()
    assert {one.indicator for one in found} == FORMULAS.keys() - {"load_5m"}
    assert source.problems == ("load_5m: the query is refused: execution: too many samples",)


async def test_a_server_that_fails_halfway_is_told_once(server: Server, tmp_path: Path) -> None:
    server.say = lambda head, writer: answer(writer, 200 if "timestamp" in head else 500, matrix())
    source = await source_of(server, tmp_path)
    with pytest.raises(SourceError, match="HTTP 500"):
        await read(source, "web1")
    await server.stop()


@pytest.mark.parametrize(
    ("access", "sent"),
    [
        ({"bearer": {"file": "secret"}}, "Authorization: Bearer s3cret"),
        ({"basic": {"user": "ann", "password": {"file": "secret"}}}, "Authorization: Basic YW5uOnMzY3JldA=="),
    ],
)
async def test_secrets_are_references_and_let_us_in(
    server: Server, tmp_path: Path, access: dict[str, Any], sent: str
) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    source = await source_of(server, tmp_path, **access)
    await read(source, "web1")
    assert all(sent in head for head in server.heads)
    (tmp_path / "secret").unlink()
    with pytest.raises(SourceError, match="secret: No such file"):
        await read(source, "web1")
    await server.stop()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "url: missing"),
        ({"url": "prometheus:9090"}, "url: "),
        ({"url": "http://x", "querys": {}}, "querys: unknown"),
        ({"url": "http://x", "bearer": "s3cret"}, "bearer: write {file: PATH}"),
        ({"url": "http://x", "bearer": {"env": "A"}, "basic": {"user": "a", "password": {"env": "B"}}}, "choose one"),
        ({"url": "http://x", "selector": "job=node"}, "selector: 'job=node' is no matcher"),
        ({"url": "http://x", "usual": False}, "leave nothing to ask"),
        ({"url": "http://x", "by": "ip"}, "by: "),
    ],
)
def test_settings_that_it_does_not_take_are_told(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        prometheus.indicators(settings, around(tmp_path, WEB1))
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_time_that_is_too_long_for_its_step_is_told(tmp_path: Path) -> None:
    source = prometheus.indicators({"url": "http://127.0.0.1:9"}, around(tmp_path, WEB1))
    now = datetime.now(UTC)
    with pytest.raises(SourceError, match="Ask for a shorter time, or a longer step"):
        await read(source, "web1", start=now - timedelta(days=3650), end=now)
