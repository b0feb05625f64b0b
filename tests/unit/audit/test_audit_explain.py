"""Which alias class explains the levels, and how sure that is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from audit_scenes import LOAD, START, TIGHT, a_grid, facts, find, levels, proof
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.audit.catalogue import indicator_of
from backstay.audit.compare import compare_levels
from backstay.audit.examine import examine
from backstay.audit.explain import NODES_LIMIT, explain
from backstay.audit.explain.dose import dose_factor, order_of
from backstay.audit.explain.grade import arrangements
from backstay.audit.explain.mechanism import Part, class_weight, mechanism_of, part_of
from backstay.audit.explain.partitions import alias_classes
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.forms import alike_forms, likely_forms
from backstay.audit.marginal import WIDE, log_marginals
from backstay.audit.model import (
    Cluster,
    EvidenceKind,
    ExperimentKind,
    FactChange,
    FactTable,
    Grade,
    HypothesisKind,
    Knowledge,
    Mechanism,
    Partition,
    Resource,
)
from backstay.audit.report.story import likely

STORY = (0.0, 0.3, 0.302, 0.45)
QUEUE = facts(
    cpu_model_name=("V1", "V2", "V2", "V3"),
    cpu_flags=("a", "b", "b", "c"),
    system_serial_number=("s1", "s2", "s3", "s4"),
    nic_driver=("d1", "d1", "d2", "d2"),
    kernel_release=("6.1", "6.1", "6.1", "6.1"),
)


def test_the_story_of_the_queue_servers() -> None:
    found = find(STORY, QUEUE)
    assert found.first is not None
    assert found.first.partition == Partition((0, 1, 1, 2))
    assert [fact.fact for fact in found.first.facts] == ["cpu.model name", "cpu.flags"]
    assert found.grade is Grade.CONSISTENT
    assert "one look at 4 nodes" in found.caps[0]
    assert found.effect is not None
    assert found.effect.low < 0.45 < found.effect.high
    assert found.experiments[0].detail == "put web1's CPU in web4"


def test_facts_that_are_unique_to_each_node_do_not_explain_everything() -> None:
    unique = next(one for one in find(STORY, QUEUE).hypotheses if one.partition == Partition((0, 1, 2, 3)))
    assert unique.posterior < 0.05


def test_every_explanation_leaves_room_for_what_nobody_measured() -> None:
    kinds = [one.kind for one in find(STORY, QUEUE).hypotheses]
    assert kinds.count(HypothesisKind.UNMEASURED) == 1
    assert kinds.count(HypothesisKind.NOTHING) == 1
    assert math.isclose(sum(one.posterior for one in find(STORY, QUEUE).hypotheses), 1.0)


def test_where_no_fact_splits_the_nodes_as_they_differ_the_cause_is_unmeasured() -> None:
    found = find((0.0, 0.3, 0.3, 0.0, 0.3, 0.0, 0.3, 0.0), facts(cpu_model_name=("V1",) * 7 + ("V2",)))
    assert found.hypotheses[0].kind is HypothesisKind.UNMEASURED
    assert found.grade is Grade.DIFFERS


def test_clones_that_differ_are_not_explained() -> None:
    found = find((0.0, 0.3, 0.3, 0.0), facts(cpu_model_name=("V1",) * 4))
    assert found.first is None
    assert found.grade is Grade.DIFFERS
    assert found.effect is None


def test_alike_nodes_give_no_finding_however_many_facts_differ() -> None:
    rng = np.random.default_rng(3)
    many = {f"package_p{k}": [str(v) for v in rng.integers(0, 2, 4)] for k in range(300)}
    found = find((0.001, 0.0, 0.002, 0.001), facts(cpu_model_name=("V1", "V2", "V2", "V3"), **many))
    assert found.grade is Grade.NOTHING
    assert found.experiments == ()


def test_the_more_classes_there_are_the_less_each_has() -> None:
    few = find(STORY, QUEUE).hypotheses[0].prior
    more = facts(
        cpu_model_name=("V1", "V2", "V2", "V3"),
        nic_driver=("d1", "d1", "d2", "d2"),
        memory_type=("a", "b", "a", "b"),
        storage_model=("a", "b", "b", "a"),
    )
    assert find(STORY, more).hypotheses[0].prior < few


def test_eight_nodes_with_enough_arrangements_may_be_probable() -> None:
    table = facts(cpu_model_name=("V1",) * 3 + ("V2",) * 5, nic_driver=("a", "b") * 4)
    found = find((0.0, 0.002, 0.001, 0.2, 0.201, 0.199, 0.2, 0.202), table)
    assert found.grade is Grade.PROBABLE


def test_one_odd_node_in_eight_stays_consistent_since_chance_would_do_it_once_in_eight() -> None:
    found = find((0.0, *(0.2,) * 7), facts(cpu_model_name=("V1",) + ("V2",) * 7))
    assert found.grade is Grade.CONSISTENT
    assert found.caps == ("a fact that does nothing would split these 8 nodes like this once in 8 times",)


def test_a_class_of_mere_labels_is_never_probable() -> None:
    found = find((0.0,) * 3 + (0.3,) * 5, facts(rack_name=("r1",) * 3 + ("r2",) * 5))
    assert found.grade.rank <= Grade.CONSISTENT.rank


@pytest.mark.parametrize(
    ("kinds", "grade"),
    [
        ((), Grade.CONSISTENT),
        ((EvidenceKind.CHANGE,), Grade.PROBABLE),
        ((EvidenceKind.CHANGE, EvidenceKind.REVERSAL), Grade.REPLICATED),
        ((EvidenceKind.REPLICATION,), Grade.REPLICATED),
        ((EvidenceKind.INTERVENTION,), Grade.CONFIRMED),
        ((EvidenceKind.DOSE,), Grade.CONSISTENT),
    ],
)
def test_the_grade_rises_with_evidence_from_elsewhere(kinds: tuple[EvidenceKind, ...], grade: Grade) -> None:
    assert find(STORY, QUEUE, evidence=[proof(kind) for kind in kinds]).grade is grade


def test_evidence_against_every_fact_of_a_class_takes_the_first_place_away() -> None:
    against = [proof(EvidenceKind.CHANGE, fact, log_odds=-12.0) for fact in ("cpu.model name", "cpu.flags")]
    assert find(STORY, QUEUE, evidence=against).hypotheses[0].partition != Partition((0, 1, 1, 2))


def test_a_class_does_not_fall_with_one_of_its_facts_but_that_fact_comes_last() -> None:
    found = find(STORY, QUEUE, evidence=[proof(EvidenceKind.CHANGE, log_odds=-12.0)])
    assert found.first is not None
    assert [fact.fact for fact in found.first.facts] == ["cpu.flags", "cpu.model name"]
    assert found.first.posterior < find(STORY, QUEUE).hypotheses[0].posterior


def test_ten_facts_of_one_part_are_no_ten_experiments() -> None:
    weak = [proof(EvidenceKind.REPLICATION, fact, log_odds=1.6) for fact in ("cpu.model name", "cpu.flags")]
    assert find(STORY, QUEUE, evidence=weak).grade is Grade.CONSISTENT


def test_a_fact_that_was_not_read_everywhere_is_left_out_and_is_the_cheapest_experiment() -> None:
    values = {f"web{at + 1}": {"cpu.model name": v} for at, v in enumerate(("V1", "V2", "V2", "V3"))}
    values["web1"]["dmi.bios version"] = "1.2"
    table = FactTable.of(values, {node: ["dmi.*"] for node in ("web2", "web3", "web4")})
    found = find(STORY, table)
    assert all(fact.fact != "dmi.bios version" for one in found.hypotheses for fact in one.facts)
    assert found.experiments[0].kind is ExperimentKind.READ
    assert "1 facts could not be read on every node" in found.problems[0]


def test_an_experiment_splits_the_class_where_another_part_is_aliased() -> None:
    table = facts(cpu_model_name=("V1", "V2", "V2", "V1"), sysctl_vm_swappiness=("1", "60", "60", "1"))
    found = find((0.0, 0.3, 0.3, 0.0), table)
    setting = found.experiments[0]
    assert (setting.kind, setting.fact) == (ExperimentKind.SET, "sysctl.vm swappiness")
    assert setting.splits == ("cpu.model name",)
    assert (setting.node, setting.donor, setting.value) == ("web2", "web1", "1")
    assert found.experiments[1].kind is ExperimentKind.SWAP


def test_measured_figures_that_jitter_are_one_value() -> None:
    classes = alias_classes(facts(cpu_bogomips=("4399.99", "4400.02", "5000.00", "4400.00")))
    assert list(classes.facts) == [Partition((0, 0, 1, 0))]


def test_an_absent_fact_is_a_value() -> None:
    assert list(alias_classes(facts(nic_driver=("a", None, None, "a"))).facts) == [Partition((0, 1, 1, 0))]


@pytest.mark.parametrize(
    ("fact", "part"),
    [
        ("cpu.model name", Part.CPU),
        ("processors.models", Part.CPU),
        ("cpu.cpu(s)", Part.SIZE),
        ("cpu.vulnerability spectre v2", Part.CPU_SETTING),
        ("cpufreq.scaling_governor", Part.CPU_SETTING),
        ("cpu.microcode", Part.CPU_SETTING),
        ("ethtool.eth0.driver", Part.NIC),
        ("nic.eth0.ring rx", Part.NIC_SETTING),
        ("system.serial number", Part.LABEL),
        ("networking.mac", Part.LABEL),
        ("host.name", Part.LABEL),
        ("net_host_ip_address", Part.LABEL),
        ("memory.speed", Part.MEMORY),
        ("memory.size", Part.SIZE),
        ("bios.version", Part.FIRMWARE),
        ("kernel.release", Part.KERNEL),
        ("package.openssl", Part.SOFTWARE),
        ("board.product name", Part.MACHINE),
        ("weather", Part.OTHER),
    ],
)
def test_the_part_is_read_from_the_name(fact: str, part: Part) -> None:
    assert part_of(fact) is part


@pytest.mark.parametrize(
    ("indicator", "resource"),
    [
        ("cpu_ops_per_s_full_1", Resource.CPU),
        ("node_load1", Resource.CPU),
        ("memory_read_mb_per_s", Resource.MEMORY),
        ("node_network_receive_drop_total", Resource.NETWORK),
        ("disk_read_bytes", Resource.STORAGE),
        ("redis_set_per_s", Resource.SERVICE),
        ("latency_ms_p99", Resource.SERVICE),
    ],
)
def test_the_resource_is_read_from_the_name_of_the_indicator(indicator: str, resource: Resource) -> None:
    assert indicator_of(indicator).resource is resource


def test_the_driver_comes_before_the_host_name_for_drops() -> None:
    assert mechanism_of("nic.eth0.driver", Resource.NETWORK) is Mechanism.DIRECT
    assert mechanism_of("hostname", Resource.NETWORK) is Mechanism.LABEL


def test_a_thousand_packages_weigh_as_much_as_one() -> None:
    one = [(Mechanism.NEAR, 0.1)]
    assert class_weight(one * 1000) == class_weight(one)
    assert class_weight([(Mechanism.DIRECT, 1.0)] * 4) == pytest.approx(16.0)


def test_what_speaks_for_one_fact_of_a_part_counts_once() -> None:
    assert class_weight([(Mechanism.DIRECT, 3.0)]) == pytest.approx(3.0)
    assert class_weight([(Mechanism.DIRECT, 3.0), (Mechanism.DIRECT, 1.0)]) == pytest.approx(3.0 * 2.0**2.0)


def test_nothing_is_certain_in_words() -> None:
    assert [likely(share) for share in (0.9999, 0.5, 0.001)] == ["over 99%", "50%", "under 1%"]


def test_a_dose_is_worth_little_and_an_unordered_fact_nothing() -> None:
    assert order_of(("V1", "V3", "V2")) is not None
    assert order_of(("Skylake", "Haswell", "Rome")) is None
    assert dose_factor(("V1", "V2", "V3"), (0.0, 0.3, 0.45)) == pytest.approx(2.0)
    assert dose_factor(("V1", "V2", "V3"), (0.3, 0.0, 0.45)) == pytest.approx(0.5)
    assert dose_factor(("V1", "V2"), (0.0, 0.3)) == 1.0


def test_a_clock_is_volatile_and_a_serial_number_an_identity_and_a_rollout_neither() -> None:
    nodes = {f"n{at}": {"uptime": str(at), "system.serial": f"s{at}", "kernel": "6.1"} for at in range(10)}
    changes = [
        FactChange(node=node, fact="uptime", before=str(day), after=str(day + 1), time=START)
        for node in nodes
        for day in range(7)
    ] + [FactChange(node=node, fact="kernel", before="6.0", after="6.1", time=START) for node in nodes]
    habits = learn_habits(FactTable.of(nodes), changes, days=7.0)
    assert habits["uptime"].volatile
    assert not habits["uptime"].identity
    assert habits["system.serial"].identity
    assert not habits["kernel"].volatile
    assert not habits["kernel"].identity


def test_a_volatile_fact_is_weighed_down_and_still_shown() -> None:
    habits = learn_habits(
        QUEUE,
        [
            FactChange(node=node, fact="cpu.flags", before="x", after="y", time=START)
            for node in QUEUE.nodes
            for _ in range(5)
        ],
        days=7.0,
    )
    found = explain(compare_levels("queue", LOAD, levels(STORY), TIGHT), QUEUE, LOAD, Knowledge(habits=habits))
    assert found.first is not None
    assert [(fact.fact, fact.volatile) for fact in found.first.facts] == [
        ("cpu.model name", False),
        ("cpu.flags", True),
    ]


def test_within_a_class_the_fact_that_changed_lately_comes_first() -> None:
    table = facts(kernel_release=("1", "2", "2", "1"), bios_version=("a", "b", "b", "a"))
    change = FactChange(node="web2", fact="kernel.release", before="1", after="2", time=START)
    comparison = compare_levels("queue", LOAD, levels((0.0, 0.3, 0.3, 0.0)), TIGHT)
    found = explain(comparison, table, LOAD, Knowledge(changes=[change]))
    assert found.first is not None
    assert found.first.facts[0].fact == "kernel.release"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=7), st.integers(0, 1000))
def test_the_forms_of_a_cause_are_a_distribution(codes: list[int], seed: int) -> None:
    """Never more than 1, since forms that the data could not favour are left out."""
    partition = Partition.of(codes)
    means = np.random.default_rng(seed).normal(size=len(codes))
    for forms in [alike_forms(means, 0.1), *([likely_forms(partition, means, 0.1)] if partition.groups > 1 else [])]:
        assert math.fsum(math.exp(weight) for weight in forms.values()) <= 1.0 + 1e-9
        assert all(Partition.of(form).labels == form for form in forms)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_the_nodes_does_not_matter(order: list[int]) -> None:
    means, partition = np.array(STORY), (0, 1, 1, 2)
    errors = np.full(4, 0.01)
    plain = log_marginals(means, errors, np.array([partition], np.int32), WIDE)
    mixed = np.array([Partition.of([partition[at] for at in order]).labels], np.int32)
    assert log_marginals(means[order], errors, mixed, WIDE)[0] == pytest.approx(plain[0], abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "ways"), [((0, 1, 1, 1), 4), ((0, 0, 1, 1), 3), ((0, 1, 2, 3), 1), ((0,) * 3 + (1,) * 5, 56)]
)
def test_arrangements_count_the_ways_to_deal_the_nodes(labels: tuple[int, ...], ways: int) -> None:
    assert arrangements(Partition(labels)) == ways
    dealt = {Partition.of(one).labels for one in itertools.permutations(labels)} if len(labels) < 6 else None
    assert dealt is None or len(dealt) == ways


def test_from_the_grid_to_the_finding() -> None:
    rng = np.random.default_rng(11)
    work = np.exp(0.5 * np.sin(np.arange(2000) / 200.0)) * rng.lognormal(0.0, 0.1, (4, 2000))
    load = work * np.exp(np.array(STORY))[:, None] * rng.lognormal(0.0, 0.1, (4, 2000))
    grid = a_grid(np.stack([load, work]), ("load", "requests"))
    cluster = Cluster(name="queue", nodes=grid.nodes, work="requests")
    found = examine(cluster, grid, LOAD, QUEUE, Knowledge(spread=TIGHT))
    assert found.finding.first is not None
    assert found.finding.first.facts[0].fact == "cpu.model name"
    assert found.finding.grade is Grade.CONSISTENT
    assert found.comparison.split == Partition((0, 1, 1, 2))


def test_more_nodes_than_a_cluster_has_are_a_fleet() -> None:
    many = [0.0] * (NODES_LIMIT + 1)
    table = FactTable.of({f"web{at + 1}": {"a.b": "c"} for at in range(len(many))})
    with pytest.raises(ValueError, match="compare a fleet instead"):
        find(many, table)
