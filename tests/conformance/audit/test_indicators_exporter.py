"""The kinds that ask each node: `exporter` and `ssh`, beside a real node_exporter; and nodes that answer badly."""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from indicators_servers import Server, answer
from indicators_worlds import around
from prometheus_client.parser import text_string_to_metric_families

from agent_certificates import Authority
from backstay.audit.model import Series, SeriesKind
from backstay.audit.ports import SourceError
from backstay.audit.sources import counters, exporter
from backstay.audit.sources.counters.source import SCRIPT
from backstay.audit.sources.hosts import exposition
from backstay.audit.sources.hosts.table import FORMULAS
from real_prometheus import NodeExporter, needs_node_exporter
from real_sshd import Sshd, needs_sshd

WEB1 = {"web1": "127.0.0.1"}
GOOD = "# TYPE node_load1 gauge\nnode_load1 0.5\n"


async def read(source: Any, *nodes: str, timeout_s: float = 30.0) -> dict[tuple[str, str], Series]:
    now = datetime.now(UTC)
    found = await source.read(nodes, start=now - timedelta(minutes=1), end=now, step_s=60.0, timeout_s=timeout_s)
    return {(one.node, one.indicator): one for one in found}


def ssh_settings(sshd: Sshd, folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "known_hosts").write_text(f"[web1]:{sshd.port} {sshd.host_key}\n")
    login = {"user": sshd.user, "key": {"file": str(sshd.key)}, "known_hosts": "known_hosts", "port": sshd.port}
    return login | more


@needs_node_exporter
@needs_sshd
async def test_ssh_counts_what_node_exporter_counts(tmp_path: Path) -> None:
    """Read between two scrapes, every counter is between both: the same metric, the same devices, the same unit."""
    with NodeExporter(tmp_path / "node", "127.0.0.1") as node, Sshd(tmp_path / "sshd", ["127.0.0.1"]) as sshd:
        scraped = exporter.indicators({"port": node.port}, around(tmp_path, WEB1))
        by_ssh = counters.indicators(ssh_settings(sshd, tmp_path), around(tmp_path, WEB1))
        before, between, after = await read(scraped), await read(by_ssh), await read(scraped)
    assert (scraped.problems, by_ssh.problems) == ((), ())
    assert before.keys() == after.keys()
    usual = {key for key in between if key[1] in FORMULAS}
    assert usual == before.keys()
    for key in usual:
        low, value, high = (float(one[key].values[0]) for one in (before, between, after))
        assert between[key].kind is before[key].kind
        if before[key].kind is SeriesKind.COUNTER:
            assert low - 0.02 <= value <= high + 0.02, key  # a tick, where seconds are ticks
        elif key[1] == "memory_used_bytes":
            assert value == pytest.approx(high, rel=0.5)


@needs_node_exporter
def test_a_page_is_read_as_the_clients_own_parser_does(tmp_path: Path) -> None:
    with NodeExporter(tmp_path / "node", "127.0.0.1") as node, urllib.request.urlopen(f"{node.url}/metrics") as said:
        text = said.read().decode()
    expected = [one for family in text_string_to_metric_families(text) for one in family.samples]
    found = exposition.read(text, {one.name for one in expected})
    assert len(found) > 500
    assert [(one.metric, one.labels, repr(one.value)) for one in found] == [
        (one.name, one.labels, repr(float(one.value))) for one in expected
    ]


BAD = {
    "closed": ("127.0.0.72", None, "Does it listen there"),
    "forbidden": ("127.0.0.73", (401, "no", {}), r"does not let us in (HTTP 401)"),
    "broken": ("127.0.0.74", (500, "oops", {}), "HTTP 500: oops"),
    "page": ("127.0.0.75", (200, "<html>It works</html>", {}), "line 1, '<html>It works</html>', is no sample"),
    "cut": ("127.0.0.76", (200, GOOD, {"length": 5_000}), "was cut short"),
    "other": ("127.0.0.77", (200, "other_metric 1\n", {}), "none of the metrics that are asked for"),
    "binary": ("127.0.0.78", (200, "node_load1 \x00\n", {}), "is no sample"),
    "moved": ("127.0.0.79", (301, "", {"more": "Location: /other\r\n"}), "redirects to /other"),
    "endless": ("127.0.0.80", (200, 'x{user="1"} 1\n' * 100_000, {}), "answers more than 1000000 bytes"),
    "labels": (
        "127.0.0.81",
        (200, "".join(f'node_load1{{user="{number}"}} 1\n' for number in range(20_000)), {}),
        "more than 10000 samples of the metrics that are asked for, node_load1 the last",
    ),
}


@pytest.fixture
def server() -> Iterator[Server]:
    yield Server(lambda _, writer: answer(writer, 200, GOOD))


async def test_nodes_that_answer_badly_are_told_one_by_one_and_the_good_one_is_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "ANSWER_LIMIT_BYTES", 1_000_000)
    monkeypatch.setattr("backstay.audit.sources.hosts.exposition.SAMPLES_LIMIT", 10_000)
    says = {address: said for address, said, _ in BAD.values()}

    def say(head: str, writer: asyncio.StreamWriter) -> None:
        host = next(line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Host: "))
        status, body, more = says.get(host.split(":")[0]) or (200, GOOD, {})
        answer(writer, status, body, **more)

    server.say = say
    await server.start("127.0.0.1")
    others = [Server(say) for address, said in says.items() if said]
    for other, address in zip(others, (address for address, said in says.items() if said), strict=True):
        await other.start(address, server.port)
    nodes = {"web1": "127.0.0.1"} | {node: address for node, (address, _, _) in BAD.items()}
    source = exporter.indicators({"port": server.port}, around(tmp_path, nodes))
    found = await read(source)
    await asyncio.gather(server.stop(), *(other.stop() for other in others))
    assert found.keys() == {("web1", "load")}
    told = dict(problem.split(": ", 1) for problem in source.problems)
    assert told.keys() == BAD.keys()
    for node, (_, _, said) in BAD.items():
        assert said in told[node], told[node]


async def test_other_metrics_may_be_selected(server: Server, tmp_path: Path) -> None:
    text = 'jobs_done_total{queue="mail"} 3\njobs_done_total{queue="web"} 4\njobs_done_total{queue="old"} 9\n'
    server.say = lambda _, writer: answer(writer, 200, text)
    await server.start()
    settings = {"port": server.port, "usual": False, "metrics": {"jobs_total": 'jobs_done_total{queue!="old"}'}}
    found = await read(exporter.indicators(settings, around(tmp_path, WEB1)))
    await server.stop()
    assert found["web1", "jobs_total"].values.tolist() == [7.0]
    assert found["web1", "jobs_total"].kind is SeriesKind.COUNTER


async def test_https_wants_a_certificate_of_the_node_and_credentials_go_to_it_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.pair(tmp_path / "web1.crt", tmp_path / "web1.key", "web1")
    (tmp_path / "token").write_text("s3cret")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "web1.crt", tmp_path / "web1.key")
    server = await Server(lambda _, writer: answer(writer, 200, GOOD)).start(tls=tls)
    settings = {"scheme": "https", "port": server.port, "bearer": {"file": "token"}}
    nodes = {**WEB1, "web2": "127.0.0.1"}  # the machine that answers there is not web2
    trusting = exporter.indicators(settings | {"ca": "ca.crt"}, around(tmp_path, nodes))
    found = await read(trusting)
    assert found.keys() == {("web1", "load")}
    assert "web2: the certificate of https://127.0.0.1" in trusting.problems[0]
    assert [head for head in server.heads if "Authorization: Bearer s3cret" in head] == server.heads
    assert len(server.heads) == 1
    distrustful = exporter.indicators(settings, around(tmp_path, WEB1))
    assert not await read(distrustful)
    assert "is not trusted" in distrustful.problems[0]
    broken = exporter.indicators(settings | {"ca": "token"}, around(tmp_path, WEB1))
    with pytest.raises(SourceError, match="must be a PEM file of certificates"):
        await read(broken)
    await server.stop()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 0}, "port: "),
        ({"scheme": "ftp"}, "scheme: "),
        ({"metrics": {"x": "sum(y)"}}, "metrics.x: 'sum(y)' selects no metric"),
        ({"usual": False}, "leave nothing to read"),
        ({"hosts": []}, "hosts: unknown"),
    ],
)
def test_settings_that_it_does_not_take_are_told(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        exporter.indicators(settings, around(tmp_path, WEB1))
    assert said in str(caught.value)


@needs_sshd
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo maintenance", "its counters were not read to their end: does `sh` run there?"),
        ("sh | head -c 3000", "its counters were not read to their end"),
        ("echo '#### end'", "nothing of /proc could be read. Is it Linux?"),
        ("cat /dev/zero", "it printed more than"),
    ],
)
async def test_a_node_that_prints_something_else_is_told(tmp_path: Path, command: str, said: str) -> None:
    with Sshd(tmp_path / "sshd", ["127.0.0.1"]) as sshd:
        authorized = sshd.folder / "authorized"
        authorized.write_text(f'command="{command}" ' + authorized.read_text())
        source = counters.indicators(ssh_settings(sshd, tmp_path), around(tmp_path, WEB1))
        assert not await read(source)
    assert said in source.problems[0]
    assert len(source.problems) == 1


@needs_sshd
async def test_a_node_that_is_half_read_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd", ["127.0.0.1"]) as sshd:
        authorized = sshd.folder / "authorized"
        authorized.write_text(f'command="sed s,/proc/,/nowhere/,1 | sed s,net/dev,, | sh" {authorized.read_text()}')
        nothing = counters.indicators(ssh_settings(sshd, tmp_path), around(tmp_path, WEB1))
        assert not await read(nothing)
        assert "nothing of /proc could be read" in "\n".join(nothing.problems)
        authorized.write_text(authorized.read_text().replace("s,/proc/,/nowhere/,1", "s,vmstat,nothing,1"))
        half = counters.indicators(ssh_settings(sshd, tmp_path), around(tmp_path, WEB1))
        found = await read(half)
    assert ("web1", "load") in found
    assert ("web1", "oom_kills_total") not in found
    assert half.problems == (
        f"web1: not read: /proc/vmstat is empty or not there; /proc/net/dev is empty or not there. "
        f"May {sshd.user} read it?",
    )


def test_the_script_alters_nothing() -> None:
    assert b">" not in SCRIPT.replace(b"2>/dev/null", b"")
