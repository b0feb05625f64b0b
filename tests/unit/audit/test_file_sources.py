"""Facts and indicators from files: every form, and every fault told as file:line with what to do next."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.audit.model import UNREAD, SeriesKind
from backstay.audit.ports import SourceError
from backstay.audit.sources import samplefile
from backstay.audit.sources.factfile import read_facts
from backstay.audit.sources.file import FileFacts, FileIndicators, read_series
from backstay.audit.sources.history import fold

NOW = datetime(2026, 3, 10, tzinfo=UTC)
LONG = "time,node,indicator,value\n"


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


def facts(path: Path) -> dict[str, dict[str, str]]:
    return {report.node: dict(report.values) for report in read_facts(path, NOW)}


# Facts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.jsonl", '{"node": "web1", "facts": {"cpu": {"model name": "V1", "ht": true}, "gone": null}}\n\n'),
        ("f.json", '{"web1": {"cpu.model name": "V1", "cpu.ht": "true"}}'),
        ("f.json", '[{"node": "web1", "facts": {"cpu.model name": "V1", "cpu.ht": true}}]'),
        ("f.yaml", "web1:\n  cpu: {model name: V1, ht: true}\n"),
    ],
)
def test_every_form_gives_the_same_facts(tmp_path: Path, name: str, content: str) -> None:
    expected = {"web1": {"cpu.model name": "V1", "cpu.ht": "true"}}
    assert facts(written(tmp_path, name, content)) == expected
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    assert facts(packed) == expected


def test_values_stay_as_they_are_written(tmp_path: Path) -> None:
    assert facts(written(tmp_path, "f.json", '{"a": {"version": 1.10, "flags": ["x", "y"], "big": 1e400}}')) == {
        "a": {"version": "1.10", "flags": "x, y", "big": "1e400"}
    }
    assert facts(written(tmp_path, "f.yml", "a: {governor: on, version: 1.10}")) == {
        "a": {"governor": "on", "version": "1.10"}
    }


def test_a_folder_has_a_file_a_node_from_any_tool(tmp_path: Path) -> None:
    children = [{"field": "Model name:", "data": "V2"}]
    lscpu = {"lscpu": [{"field": "Vendor ID:", "data": "X", "children": children}]}
    written(tmp_path, "web1.json", json.dumps({"processors": {"models": ["V1", "V1"]}}))
    written(tmp_path, "web2.json", json.dumps({"ansible_facts": {"kernel": "6.1"}}))
    written(tmp_path, "web3", json.dumps(lscpu))
    assert facts(tmp_path) == {
        "web1": {"processors.models": "V1, V1"},
        "web2": {"ansible.kernel": "6.1"},
        "web3": {"cpu.vendor id": "X", "cpu.model name": "V2"},
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("f.jsonl", '{"node": "a", "facts": {}}\n{"node": "b"', r"f\.jsonl:2 this is no JSON .*Write a report a line"),
        ("f.jsonl", '{"node": "a"}\n[]\n', r"f\.jsonl:1 this is no report(.|\n)*f\.jsonl:2 this is no report"),
        ("f.jsonl", '{"node": "", "facts": {"a": 1}}', r":1 no name of a node"),
        ("f.jsonl", '{"node": "a\\u001b[2J", "facts": {"a": 1}}', r":1 no name of a node"),
        ("f.jsonl", '{"node": "a", "facts": {"a": 1}, "fact": {}}', r":1 fact: unknown here"),
        ("f.jsonl", '{"node": "a", "time": "soon", "facts": {}}', r':1 "soon" is no time. Write 2026'),
        ("f.jsonl", '{"node": "a", "time": "2027-01-01", "facts": {}}', r":1 a was read at 2027.* later than now"),
        ("f.jsonl", '{"node":"a","facts":{"x":1}}\n{"node":"a","facts":{"x":2}}', r":2 a has x twice, \"1\" and \"2\""),
        ("f.json", '{\n"a": {,}}', r"f\.json:2 this is no JSON"),
        ("f.json", '{"a": 5}', r'"a" has no facts'),
        ("f.json", "[" * 100_000, r"nested too deeply"),
        ("f.json", "7", r"neither nodes nor a list"),
        ("f.yaml", "a:\n  b: [", r"f\.yaml:\d+ this is no JSON .*as YAML"),
        ("f.yaml", "", r"neither nodes nor a list"),
        ("f.jsonl", "", r"no facts in it"),
        ("f.txt", "", r"by its name this is no file of facts"),
    ],
)
def test_a_fault_says_where_it_is_and_what_next(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read_facts(written(tmp_path, name, content), NOW)


def test_a_yaml_bomb_and_a_torn_archive_are_faults(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} {{p: *{old}, q: *{old}, r: *{old}, s: *{old}}}\n"
        for old, new in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
    with pytest.raises(SourceError, match="more than 50000 facts"):
        read_facts(written(tmp_path, "f.yaml", bomb.replace("a: &a [x,x,x,x,x,x,x,x,x]", "a: &a {z: 1}")), NOW)
    torn = tmp_path / "f.jsonl.gz"
    torn.write_bytes(gzip.compress(b'{"node": "a", "facts": {"x": "1"}}' * 100)[:40])
    with pytest.raises(SourceError, match="damaged or cut short"):
        read_facts(torn, NOW)


def test_a_missing_file_and_a_device_are_faults(tmp_path: Path) -> None:
    endless = tmp_path / "f.csv"
    endless.symlink_to("/dev/zero")
    with pytest.raises(SourceError, match="No such file"):
        read_facts(tmp_path / "f.jsonl", NOW)
    with pytest.raises(SourceError, match="no regular file"):
        read_series(endless)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="and 80 faults more"):
        read_facts(written(tmp_path, "f.jsonl", "no\n" * 100), NOW)


def test_reports_with_times_show_what_changed(tmp_path: Path) -> None:
    lines = [
        {"node": "a", "time": "2026-03-01", "facts": {"cpu": "V1", "bios": "1", "old": "x"}},
        {"node": "a", "time": "2026-03-03T00:00:00+00:00", "facts": {"cpu": "V2"}, "unread": {"bios": "needs root"}},
    ]
    history = fold(read_facts(written(tmp_path, "f.jsonl", "\n".join(map(json.dumps, lines))), NOW))
    assert [(one.fact, one.before, one.after) for one in history.changes] == [("cpu", "V1", "V2"), ("old", "x", None)]
    assert history.days == 2.0
    assert history.unread["a"] == {"bios": "needs root"}


async def test_a_node_that_the_file_has_not_is_unread_not_absent(tmp_path: Path) -> None:
    path = written(tmp_path, "f.jsonl", '{"node": "a", "facts": {"x": "1"}}\n{"node": "c", "facts": {"x": "2"}}')
    source = FileFacts(path, lambda: NOW)
    reports = await source.read(["a", "b"], timeout_s=30.0)
    assert [(report.node, bool(report.problem)) for report in reports] == [("a", False), ("b", True)]
    assert fold(reports).table.columns["x"].codes.tolist() == [0, UNREAD]
    await source.close()


# Indicators


def test_long_and_wide_are_the_same(tmp_path: Path) -> None:
    long = written(tmp_path, "l.csv", LONG + "2026-03-01T00:00:00Z,a,load,1\n2026-03-01T00:00:00Z,a,drops_total,7\n")
    wide = written(tmp_path, "w.csv", "\ufefftime,node,load,drops_total\n1772323200,a,1,7\n")
    for path in (long, wide):
        found = {one.indicator: one for one in read_series(path)}
        assert found["load"].times_s.tolist() == [1772323200.0]
        assert found["drops_total"].kind is SeriesKind.COUNTER
        assert found["load"].kind is SeriesKind.GAUGE


def test_gaps_and_infinities_are_kept_for_whoever_counts_them(tmp_path: Path) -> None:
    rows = "".join(f"{at},a,load,{value}\n" for at, value in enumerate(["", "NaN", "inf", "null", "-1e999", "2"]))
    values = read_series(written(tmp_path, "i.csv", LONG + rows))[0].values
    assert np.isfinite(values).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"the header has no column time and no node"),
        ("time;node;load\n", r"i\.csv:1 columns are not separated by commas"),
        ("time,load\n", r":1 the header has no column node"),
        ("time,node\n", r":1 the header names no indicator"),
        ("time,node,load,load\n", r":1 the header has a column twice"),
        ("time,node,indicator,value,zone\n", r":1 the header mixes both forms"),
        (LONG, r"no samples in it"),
        (LONG + "0,a,load\n", r":2 3 columns; the header has 4"),
        (LONG + "0,a,load,x\n1,a,load,1_000\n", r':2 load: "x" is no number(.|\n)*:3 load: "1_000" is no number'),
        (LONG + "yesterday,a,load,1\n", r':2 "yesterday" is no time'),
        (LONG + "9e99,a,load,1\n", r':2 "9e99" is no time'),
        (LONG + "-5,a,load,1\n", r':2 "-5" is no time'),
        (LONG + "0,,load,1\n", r":2 .*need a printable name"),
        (LONG + '0,a,"load,1\n', r"this is no CSV"),
    ],
)
def test_a_fault_in_csv_says_its_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read_series(written(tmp_path, "i.csv", content))


def test_a_million_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplefile, "INDICATORS_LIMIT", 10)
    rows = "".join(f"0,a,load{{request={at}}},1\n" for at in range(50))
    with pytest.raises(SourceError, match=r":12 more than 10 indicators .*are labels part of the names"):
        read_series(written(tmp_path, "i.csv", LONG + rows))


def test_rows_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplefile, "ROWS_LIMIT", 3)
    with pytest.raises(SourceError, match=r":5 more than 3 rows"):
        read_series(written(tmp_path, "i.csv", LONG + "0,a,load,1\n" * 5))


def test_a_counter_that_is_none_of_the_indicators_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "i.csv", LONG + "0,a,load,1\n")
    with pytest.raises(SourceError, match="no indicator drops in it, which is said to be a counter"):
        read_series(path, ["drops"])
    assert read_series(path, ["load"])[0].kind is SeriesKind.COUNTER


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200), st.sampled_from(["f.csv", "f.jsonl", "f.json", "f.yaml"]))
def test_nonsense_is_a_fault_never_a_traceback(tmp_path: Path, content: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((LONG if name == "f.csv" else "").encode() + content.encode(errors="surrogatepass"))
    try:
        found = read_series(path) if name == "f.csv" else read_facts(path, NOW)
        assert found
    except SourceError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("time", ["TIMESTAMP '2026-03-01 00:00:00'", "1772323200"])
def test_parquet_is_read_long_and_wide(tmp_path: Path, time: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    base = f"SELECT {time} AS time, 'a' AS node"
    for name, columns in (
        ("long", "'load' AS indicator, 1.5::DOUBLE AS value UNION ALL "
         f"SELECT {time}, 'a', 'drops_total', NULL"),
        ("wide", "1.5::DOUBLE AS load, NULL::BIGINT AS drops_total"),
    ):  # fmt: skip
        path = tmp_path / f"{name}.parquet"
        duckdb.sql(f"{base}, {columns}").write_parquet(str(path))
        found = {one.indicator: one for one in read_series(path)}
        assert (found["load"].times_s.tolist(), found["load"].values.tolist()) == ([1772323200.0], [1.5])
        assert found["drops_total"].kind is SeriesKind.COUNTER
        assert np.isnan(found["drops_total"].values).all()


def test_faults_of_parquet_are_told(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with pytest.raises(SourceError, match="not readable as Parquet"):
        read_series(written(tmp_path, "i.parquet", "nonsense"))
    with pytest.raises(SourceError, match="no such file"):
        read_series(tmp_path / "none.parquet")
    for query, said in (
        ("SELECT 1 AS time, 2 AS load", "no column node"),
        ("SELECT 'x' AS time, 'a' AS node, 2 AS load", "Write it as TIMESTAMP"),
        ("SELECT 1 AS time, 'a' AS node, 'b' AS load", "load is no number"),
        ("SELECT 1 AS time, 'a' AS node, 2 AS load LIMIT 0", "no samples in it"),
    ):
        path = tmp_path / "q.parquet"
        duckdb.sql(query).write_parquet(str(path))
        with pytest.raises(SourceError, match=said):
            read_series(path)


async def test_the_source_gives_the_nodes_and_the_time_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "i.csv", LONG + "".join(f"{at},{node},load,1\n" for at in range(5) for node in "ab"))
    start, end = (datetime.fromtimestamp(at, UTC) for at in (1, 3))
    found = await FileIndicators(path).read(["b"], start=start, end=end, step_s=60.0, timeout_s=30.0)
    assert [(one.node, one.times_s.tolist()) for one in found] == [("b", [1.0, 2.0])]
