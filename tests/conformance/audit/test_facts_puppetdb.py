"""PuppetDB over HTTP and HTTPS: queries, pages, certificates, tokens, and a server that is not well."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from facts_puppetdb import Mood, PuppetDbServer

from agent_certificates import Authority
from backstay.audit.model import FactReport
from backstay.audit.ports import SourceError, Surroundings
from backstay.audit.sources import puppetdb

NOW = datetime(2026, 3, 10, tzinfo=UTC)  # the server's facts are of 20 minutes before
TIMEOUT_S = 20.0


@asynccontextmanager
async def a_server(tls: ssl.SSLContext | None = None, **more: Any) -> AsyncIterator[PuppetDbServer]:
    server = PuppetDbServer(**more)
    await server.start(tls)
    try:
        yield server
    finally:
        await server.stop()


async def read(
    server: PuppetDbServer, folder: Path, *nodes: str, scheme: str = "http", timeout_s: float = TIMEOUT_S, **more: Any
) -> dict[str, FactReport]:
    around = Surroundings(addresses={}, base=folder, clock=lambda: NOW)
    url = f"{scheme}://{'localhost' if scheme == 'https' else '127.0.0.1'}:{server.port}"
    source = puppetdb.facts({"url": url} | more, around)
    return {report.node: report for report in await source.read(nodes, timeout_s=timeout_s)}


@pytest.mark.parametrize("endpoint", ["inventory", "factsets"])
async def test_structured_facts_get_dotted_names(tmp_path: Path, endpoint: str) -> None:
    facts = {"processors": {"models": ["V1", "V1"]}, "dmi": {"bios": {"version": "2.9"}}, "uptime": None}
    async with a_server(nodes={"web1": facts}) as server:
        report = (await read(server, tmp_path, "web1", endpoint=endpoint))["web1"]
    assert report.values == {"processors.models": "V1, V1", "dmi.bios.version": "2.9"}
    assert report.time == datetime(2026, 3, 9, 23, 40, tzinfo=UTC)


async def test_a_fleet_is_asked_for_in_batches_and_pages(tmp_path: Path) -> None:
    fleet = {f"web{at}.example.com": {"kernel": "Linux", "number": at} for at in range(230)}
    async with a_server(nodes=fleet) as server:
        wanted = [f"web{at}" for at in range(0, 230, 2)]
        found = await read(server, tmp_path, *wanted, page=25)
        assert {node: report.values["number"] for node, report in found.items()} == {
            f"web{at}": str(at) for at in range(0, 230, 2)
        }
        assert len(server.asked) == 3 * 2  # 40, 40 and 35 nodes, 25 to a page
        server.asked.clear()
        assert len(await read(server, tmp_path, page=100)) == 230
        assert [asked["offset"] for asked in server.asked] == ["0", "100", "200"]


async def test_a_name_is_not_taken_for_another_that_begins_alike(tmp_path: Path) -> None:
    nodes = {"web1.example.com": {"a": "1"}, "web10.example.com": {"a": "10"}, "web1-old.example.com": {"a": "old"}}
    async with a_server(nodes=nodes) as server:
        found = await read(server, tmp_path, "web1", "we.1")
    assert found["web1"].values == {"a": "1"}
    assert found["we.1"].problem.startswith("not in PuppetDB")


async def test_two_certificates_of_one_name_are_nobodys(tmp_path: Path) -> None:
    async with a_server(nodes={"web1.a.example.com": {"a": "1"}, "web1.b.example.com": {"a": "2"}}) as server:
        problem = (await read(server, tmp_path, "web1"))["web1"].problem
    assert problem.startswith("any of web1.a.example.com, web1.b.example.com in PuppetDB may be it")


async def test_facts_that_are_old_or_none_or_nonsense_are_that_nodes_problem_alone(tmp_path: Path) -> None:
    nodes = {
        "old": {"a": "1"},
        "none": {},
        "list": [1, 2],
        "evil": {"a\x1b[2J": "1"},
        "many": {f"fact{at}": "1" for at in range(50_001)},
        "well": {"a": "x\x1b[2Jy"},
    }
    async with a_server(nodes=nodes, times={"old": "2026-01-01T00:00:00Z"}) as server:
        found = await read(server, tmp_path, *nodes)
    said = {node: report.problem for node, report in found.items()}
    assert "its facts are of 2026-01-01" in said["old"]
    assert said["none"] == "PuppetDB has no facts of it. Does its agent run?"
    assert "no JSON object" in said["list"]
    assert "is no name of a fact" in said["evil"]
    assert "more than 50000 facts" in said["many"]
    assert found["well"].values == {"a": "x\\x1b[2Jy"}


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        (Mood.BROKEN, "answered HTTP 500: java.lang.OutOfMemoryError"),
        (Mood.NONSENSE, "answers no JSON ('<html>Welcome to nginx!</html>'). Is this PuppetDB's address?"),
        (Mood.CUT, "was cut short"),
        (Mood.SLOW, "within"),
    ],
)
async def test_a_puppetdb_that_is_not_well_is_told_as_a_whole(tmp_path: Path, mood: Mood, said: str) -> None:
    async with a_server(nodes={"web1": {"a": "1"}}, mood=mood) as server:
        with pytest.raises(SourceError) as error:
            await read(server, tmp_path, "web1", timeout_s=TIMEOUT_S if mood is not Mood.SLOW else 0.5)
    assert said in str(error.value)
    assert "source puppetdb: " in str(error.value)


@pytest.mark.parametrize(
    "answer", ["null", "{}", '[{"certname": 5}]', '[{"certname": "web1"}]', '["web1"]', "[" * 100_000]
)
async def test_json_that_is_something_else_is_refused(
    tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dumps:
        dumps = staticmethod(lambda _: answer)
        loads = staticmethod(json.loads)

    monkeypatch.setattr("facts_puppetdb.json", Dumps)
    async with a_server(nodes={"web1": {"a": "1"}}) as server:
        with pytest.raises(SourceError, match="Is this PuppetDB's address"):
            await read(server, tmp_path, "web1")


async def test_a_batch_that_fails_is_the_problem_of_its_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puppetdb, "BATCH", 1)
    async with a_server(nodes={name: {"a": "1"} for name in ("web1", "web2", "web3")}) as server:
        whole: Callable[[Any], list[str]] = server._page

        def page(query: Any) -> list[str]:
            if "web2" in query["query"]:
                raise ValueError("the database is locked")
            return whole(query)

        monkeypatch.setattr(server, "_page", page)
        found = await read(server, tmp_path, "web1", "web2", "web3")
    assert [bool(found[node].problem) for node in ("web1", "web2", "web3")] == [False, True, False]
    assert "HTTP 400: the database is locked" in found["web2"].problem


async def test_who_has_no_token_is_told_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    async with a_server(nodes={"web1": {"a": "1"}}, token="right") as server:
        assert (await read(server, tmp_path, "web1", token={"file": "token"}))["web1"].values == {"a": "1"}
        others: list[dict[str, Any]] = [{}, {"token": {"file": "wrong"}}]
        for more in others:
            with pytest.raises(SourceError, match=r"HTTP 401\). Give certificate and key .* or a token") as error:
                await read(server, tmp_path, "web1", **more)
            assert "wrong" not in str(error.value)


async def test_a_client_certificate_lets_in_and_the_servers_is_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.pair(tmp_path / "server.crt", tmp_path / "server.key", "localhost")
    authority.pair(tmp_path / "client.crt", tmp_path / "client.key", "backstay")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    pair: dict[str, Any] = {"certificate": "client.crt", "key": {"file": "client.key"}}
    async with a_server(tls, nodes={"web1": {"a": "1"}}) as server:
        found = await read(server, tmp_path, "web1", scheme="https", ca="ca.crt", **pair)
        assert found["web1"].values == {"a": "1"}
        with pytest.raises(SourceError, match="is not trusted"):
            await read(server, tmp_path, "web1", scheme="https", **pair)
        with pytest.raises(SourceError, match="source puppetdb: "):  # no certificate of ours
            await read(server, tmp_path, "web1", scheme="https", ca="ca.crt")
    (tmp_path / "client.key").write_text("no key")
    with pytest.raises(SourceError, match=r"certificate, key: .*Both are PEM files"):
        await read(server, tmp_path, "web1", scheme="https", ca="ca.crt", **pair)


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    async with a_server() as server:
        pass
    with pytest.raises(SourceError, match="Does it listen there"):
        await read(server, tmp_path, "web1")
