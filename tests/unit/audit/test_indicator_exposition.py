"""Text of exporters -> samples; selectors as PromQL has them; the table of a host's indicators."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.audit.catalogue import indicator_of
from backstay.audit.model import Resource, SeriesKind
from backstay.audit.sources.hosts import exposition
from backstay.audit.sources.hosts.exposition import read
from backstay.audit.sources.hosts.selector import Matcher, Sample, Selector, selector
from backstay.audit.sources.hosts.table import FORMULAS, Formula, kind_of, values
from backstay.exposition import gauge, render

TEXT = """\
# HELP node_load1 1m load average.
# TYPE node_load1 gauge
node_load1 0.21
node_cpu_seconds_total{cpu="0",mode="idle"} 8.3e+03
node_cpu_seconds_total{cpu="0",mode="user",} 5 1395066363000

# a comment
other{path="C:\\\\dir\\n",said="a \\"b\\" }, c"} +Inf
with_exemplar_bucket{le="+Inf"} 17 # {trace="x"} 0.67 1.5
not_a_number NaN
# EOF
"""
ALL = frozenset(
    {"node_load1", "node_cpu_seconds_total", "other", "with_exemplar_bucket", "not_a_number"},
)


def test_an_exposition_is_read_with_labels_timestamps_and_exemplars() -> None:
    samples = {sample.metric: sample for sample in read(TEXT, ALL)}
    assert samples["node_load1"] == Sample("node_load1", {}, 0.21)
    assert samples["node_cpu_seconds_total"] == Sample("node_cpu_seconds_total", {"cpu": "0", "mode": "user"}, 5.0)
    assert samples["other"].labels == {"path": "C:\\dir\n", "said": 'a "b" }, c'}
    assert samples["other"].value == math.inf
    assert samples["with_exemplar_bucket"].value == 17.0
    assert math.isnan(samples["not_a_number"].value)


def test_what_is_not_wanted_is_not_taken_apart() -> None:
    assert [sample.metric for sample in read(TEXT + "broken{{{ \n", {"node_load1"})] == ["node_load1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html><body>It works!</body></html>", "line 1, '<html><body>It works!</body></html>', is no sample"),
        ('{"status": "ok"}', "is no sample"),
        ("node_load1 low", "is no sample"),
        ("node_load1", "is no sample"),
        ('node_load1{a="b"', "is no sample"),
        ("node_load1{a=b} 1", "line 1, 'a=b', is no label"),
    ],
)
def test_nonsense_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("{", r"\{")):
        read(text, {"node_load1"})


def test_too_many_samples_of_what_is_wanted_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "SAMPLES_LIMIT", 10)
    text = "\n".join(f'node_load1{{user="{number}"}} 1' for number in range(11))
    assert len(read(text, {"other"})) == 0
    with pytest.raises(ValueError, match="node_load1 the last: has it a label too many"):
        read(text, {"node_load1"})


@given(st.text(max_size=200))
def test_no_text_does_anything_but_give_samples_or_a_reason(text: str) -> None:
    try:
        samples = read(text, {"a", "b"})
    except ValueError as error:
        assert "line" in str(error)
    else:
        assert all(sample.metric in ("a", "b") for sample in samples)


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, st.text(max_size=8), max_size=3), st.floats()), max_size=5))
def test_what_our_own_programs_tell_is_read_back(told: list[tuple[str, dict[str, str], float]]) -> None:
    text = "".join(
        render(
            [gauge(name, "Some figure.", sorted(labels), [([labels[key] for key in sorted(labels)], value)])]
        ).decode()
        for name, labels, value in told
    )
    found = read(text, {name for name, _, _ in told})
    assert [(one.metric, one.labels) for one in found] == [(name, labels) for name, labels, _ in told]
    assert [repr(one.value) for one in found] == [repr(value) for _, _, value in told]


@pytest.mark.parametrize(
    ("text", "labels", "fits"),
    [
        ("m", {"x": "1"}, True),
        ('m{x="1"}', {"x": "1"}, True),
        ('m{x="1"}', {"x": "2"}, False),
        ('m{x!="1"}', {}, True),
        ('m{x=""}', {}, True),
        ('m{x=~"1|2"}', {"x": "2"}, True),
        ('m{x=~"1"}', {"x": "11"}, False),
        ('m{x!~"lo|veth.*", y="a b"}', {"x": "eth0", "y": "a b"}, True),
        ('m{x!~"lo|veth.*",}', {"x": "veth12"}, False),
        ('m{x="a\\"b"}', {"x": 'a"b'}, True),
    ],
)
def test_a_selector_selects_as_promql_does(text: str, labels: dict[str, str], fits: bool) -> None:
    assert selector(text).fits(Sample("m", labels, 1.0)) is fits
    assert not selector(text).fits(Sample("n", labels, 1.0))
    assert selector(str(selector(text))) == selector(text)


@pytest.mark.parametrize("text", ["", "1x", "m{x}", "m{x=1}", 'm{x=~"("}', 'm{x="1" y="2"}', "m{", "sum(m)"])
def test_what_selects_nothing_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"Write|is no pattern"):
        selector(text)


def test_a_formula_is_a_sum_less_another_and_none_without_all_its_parts() -> None:
    formula = Formula((Selector("total"),), (Selector("free", (Matcher("of", "=", "a"),)),))
    samples = [Sample("total", {}, 10.0), Sample("free", {"of": "a"}, 2.0), Sample("free", {"of": "a"}, 1.0)]
    assert values({"used": formula}, samples) == {"used": 7.0}
    assert values({"used": formula}, samples[:1]) == {}
    assert formula.promql("node", (Matcher("job", "=", "n"),)) == (
        'sum by (node) (total{job="n"}) - sum by (node) (free{of="a",job="n"})'
    )


@pytest.mark.parametrize(
    ("device", "counts"),
    [("eth0", True), ("enp3s0f1", True), ("lo", False), ("veth1a2b", False), ("bond0", False), ("eth0.100", False),
     ("br-42", False), ("br0", False), ("brocade0", True), ("ifb0", False), ("wlan0", True)],
)  # fmt: skip
def test_what_another_card_has_carried_is_not_counted_twice(device: str, counts: bool) -> None:
    sample = Sample("node_network_receive_bytes_total", {"device": device}, 5.0)
    assert ("network_receive_bytes_total" in values(FORMULAS, [sample])) is counts


@pytest.mark.parametrize(
    ("device", "counts"),
    [("sda", True), ("sda1", False), ("nvme0n1", True), ("nvme0n1p2", False), ("dm-0", False), ("md127", False),
     ("vda", True), ("mmcblk0", True), ("loop3", False), ("zram0", False)],
)  # fmt: skip
def test_partitions_and_what_is_made_of_disks_are_not_counted_twice(device: str, counts: bool) -> None:
    sample = Sample("node_disk_reads_completed_total", {"device": device}, 5.0)
    assert ("disk_reads_total" in values(FORMULAS, [sample])) is counts


def test_every_indicator_of_a_host_is_known_by_its_name() -> None:
    parts = {
        "cpu_": Resource.CPU,
        "memory_": Resource.MEMORY,
        "swap_": Resource.MEMORY,
        "disk_": Resource.STORAGE,
        "network_": Resource.NETWORK,
        "tcp_": Resource.NETWORK,
        "udp_": Resource.NETWORK,
        "nic_": Resource.NETWORK,
    }
    for name in [*FORMULAS, "nic_rx_missed_errors_total", "nic_rx_discards_phy_total", "nic_tx_timeout_total"]:
        expected = [resource for prefix, resource in parts.items() if name.startswith(prefix)]
        found = indicator_of(name)
        if expected and "iowait" not in name:
            assert found.resource is expected[0], name
        losses = ("error", "drop", "retransmit", "timeout", "overflow", "squeeze", "miss", "discard")
        if any(word in name for word in losses):
            assert (found.per_work, found.higher_is_worse) == (True, True), name


@pytest.mark.parametrize(
    ("name", "resource", "per_work", "worse"),
    [
        ("cpu_busy_seconds_total", Resource.CPU, True, True),
        ("cpu_idle_seconds_total", Resource.CPU, False, False),
        ("cpu_iowait_seconds_total", Resource.STORAGE, True, True),
        ("cpu_steal_seconds_total", Resource.CPU, False, True),
        ("interrupts_total", Resource.CPU, True, True),
        ("processes_blocked", Resource.STORAGE, True, True),
        ("disk_read_seconds_total", Resource.STORAGE, True, True),
        ("disk_read_bytes_total", Resource.STORAGE, True, None),
        ("memory_used_bytes", Resource.MEMORY, False, None),
        ("memory_major_faults_total", Resource.MEMORY, True, True),
        ("tcp_connections", Resource.NETWORK, True, None),
        ("requests_total", Resource.SERVICE, False, None),
        ("request_errors_total", Resource.SERVICE, True, True),
        ("response_seconds_total", Resource.SERVICE, True, True),
        ("requests_in_flight", Resource.SERVICE, True, True),
    ],
)
def test_what_an_indicator_is(name: str, resource: Resource, per_work: bool, worse: bool | None) -> None:
    found = indicator_of(name)
    assert (found.resource, found.per_work, found.higher_is_worse) == (resource, per_work, worse)


def test_counters_are_told_by_their_names() -> None:
    assert {name for name in FORMULAS if kind_of(name) is SeriesKind.GAUGE} == {
        "load", "load_5m", "processes_runnable", "processes_blocked", "memory_used_bytes", "memory_cached_bytes",
        "memory_dirty_bytes", "swap_used_bytes", "tcp_connections",
    }  # fmt: skip
