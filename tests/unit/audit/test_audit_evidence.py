"""Evidence beyond one look: changes, their reversal, other clusters, and fleets."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from audit_scenes import START, a_grid, facts, find

from backstay.audit.explain.natural import difference_in_differences, from_changes
from backstay.audit.explain.replicate import pool
from backstay.audit.fleet import associate, benjamini_hochberg, discoveries, screen
from backstay.audit.model import Cluster, EvidenceKind, FactChange, FactTable

FACT = "kernel.release"


def series(seed: int, steps: dict[int, float]) -> np.ndarray:
    """Four nodes over 400 cells with a shared cycle; on web1, from each cell of `steps` on, the level is that."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.0, 0.02, (4, 400)) + 0.3 * np.sin(np.arange(400) / 30.0)
    before = 0.0
    for cell, level in sorted(steps.items()):
        values[0, cell:] += level - before
        before = level
    return values


def change(cell: int, before: str, after: str, node: str = "web1") -> FactChange:
    return FactChange(node=node, fact=FACT, before=before, after=after, time=START + timedelta(seconds=60.0 * cell + 1))


def test_a_change_that_moved_one_node_is_evidence_worth_at_most_its_placebos() -> None:
    found = difference_in_differences(series(1, {200: 0.2}), [0], 200)
    assert found is not None
    assert found.effect.low < 0.2 < found.effect.high
    assert 2.3 < found.log_odds <= np.log(len(found.placebos) + 1)
    assert found.p < 0.05


def test_a_change_that_did_nothing_counts_against() -> None:
    found = difference_in_differences(series(2, {}), [0], 200)
    assert found is not None
    assert found.log_odds < 0.0


def test_a_shock_that_hits_everybody_is_no_effect() -> None:
    values = series(3, {})
    values[:, 200:] += 0.5
    found = difference_in_differences(values, [0], 200)
    assert found is not None
    assert abs(found.effect.estimate) < 0.02


@pytest.mark.parametrize(("changed", "cell"), [([0, 1, 2, 3], 200), ([], 200), ([0], 3), ([0], 397)])
def test_without_peers_or_time_nothing_can_be_said(changed: list[int], cell: int) -> None:
    assert difference_in_differences(series(4, {}), changed, cell) is None


def test_changed_back_and_the_effect_went_is_a_reversal() -> None:
    values = series(5, {150: 0.2, 300: 0.0})
    grid = a_grid(values[None])
    evidence = from_changes(values, grid, grid.nodes, [change(150, "6.1", "6.2"), change(300, "6.2", "6.1")])
    assert [one.kind for one in evidence] == [EvidenceKind.CHANGE, EvidenceKind.REVERSAL]
    assert all(one.log_odds > 2.0 for one in evidence)


def test_changed_back_and_the_effect_stayed_is_none() -> None:
    values = series(6, {150: 0.2})
    grid = a_grid(values[None])
    evidence = from_changes(values, grid, grid.nodes, [change(150, "6.1", "6.2"), change(300, "6.2", "6.1")])
    assert evidence[1].kind is EvidenceKind.REVERSAL
    assert evidence[1].log_odds <= 0.0


def test_changes_outside_the_grid_or_of_other_nodes_say_nothing() -> None:
    values = series(7, {})
    grid = a_grid(values[None])
    assert (
        from_changes(values, grid, grid.nodes, [change(-5, "a", "b"), change(900, "a", "b"), change(9, "a", "b", "x")])
        == ()
    )


APART = facts(cpu_model_name=("V1", "V2", "V2", "V1"), package_java=("8", "8", "11", "11"))


def test_other_clusters_tell_aliased_facts_apart() -> None:
    there = [find((0.0, 0.3, 0.3, 0.0), APART, cluster=f"there{at}") for at in range(3)]
    cpu, java = (pool(there, fact, "load").evidence() for fact in ("cpu.model name", "package.java"))
    assert cpu.log_odds > 1.0 > 0.0 > java.log_odds
    assert cpu.detail == "3 other clusters with the effect, 0 without"


def test_a_cluster_where_the_fact_differs_without_the_effect_counts_against() -> None:
    with_it = [find((0.0, 0.3, 0.3, 0.0), APART, cluster=f"c{at}") for at in range(2)]
    without = find((0.0, 0.0, 0.001, 0.001), APART, cluster="d")
    both = pool([*with_it, without], "cpu.model name", "load")
    assert both.clusters_against == ("d",)
    assert both.log_odds < pool(with_it, "cpu.model name", "load").log_odds


def test_the_effect_the_other_way_round_counts_against() -> None:
    findings = [find((0.0, 0.3, 0.3, 0.0), APART, cluster=f"c{at}") for at in range(2)]
    contrary = find((0.3, 0.0, 0.0, 0.3), APART, cluster="d")
    assert "d" in pool([*findings, contrary], "cpu.model name", "load").clusters_against


def test_effects_are_pooled_with_an_interval_over_clusters() -> None:
    effect = pool(
        [find((0.0, e, e, 0.0), APART, cluster=f"c{e}") for e in (0.25, 0.3, 0.35)], "cpu.model name", "load"
    ).effect
    assert effect is not None
    assert effect.estimate == pytest.approx(0.3, abs=0.01)
    assert effect.low < 0.25
    assert effect.high > 0.35


def a_fleet(nodes: int, seed: int = 1) -> tuple[FactTable, np.ndarray, np.ndarray]:
    """A firmware that makes 30% of its nodes bad, and a board that only goes with a model that is worse anyway."""
    rng = np.random.default_rng(seed)
    model = rng.integers(0, 2, nodes)
    firmware = rng.integers(0, 2, nodes)
    bad = rng.random(nodes) < 0.02 + 0.2 * model + 0.3 * firmware
    values = {
        f"n{at}": {
            "firmware": f"f{firmware[at]}",
            "board": f"b{model[at]}",
            "noise": f"x{rng.integers(3)}",
            "id": str(at),
        }
        for at in range(nodes)
    }
    return FactTable.of(values), bad, model


def test_within_a_hardware_model_only_the_real_cause_is_found() -> None:
    table, bad, model = a_fleet(2000)
    assert {one.fact for one in associate(table, bad) if one.found} == {"firmware", "board"}
    within = [one for one in associate(table, bad, model) if one.found]
    assert {one.fact for one in within} == {"firmware"}
    worst = within[0] if within[0].ratio > 1 else within[1]
    assert worst.value == "f1"
    assert 1.0 < worst.low < worst.ratio < worst.high


def test_noise_is_rarely_discovered() -> None:
    rng = np.random.default_rng(2)
    table = FactTable.of({f"n{at}": {f"f{k}": str(rng.integers(3)) for k in range(40)} for at in range(400)})
    assert sum(one.found for one in associate(table, rng.random(400) < 0.1)) <= 1


def test_a_label_on_every_node_and_a_wrong_shape_are_handled() -> None:
    table, bad, _ = a_fleet(300)
    assert all(one.fact != "id" for one in associate(table, bad))
    with pytest.raises(ValueError, match="one entry for each"):
        associate(table, bad[:5])


def test_adjusted_p_are_benjamini_and_hochbergs_and_gaps_stay_gaps() -> None:
    adjusted = benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03, 0.5]))
    assert adjusted == pytest.approx([0.04, 0.0533333, np.nan, 0.0533333, 0.5], nan_ok=True)
    assert discoveries(np.array([0.01, np.nan]), 0.05).tolist() == [True, False]
    assert benjamini_hochberg(np.array([])).tolist() == []


def test_a_screen_finds_the_odd_nodes_of_clusters_of_any_size() -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(0.0, 0.02, (1, 60, 168))
    values[0, [5, 47]] *= 2.0
    grid = a_grid(values, step_s=3600.0)
    clusters = [Cluster(name="a", nodes=grid.nodes[:20]), Cluster(name="b", nodes=grid.nodes[20:50])]
    alone = Cluster(name="c", nodes=(grid.nodes[55], "gone"))
    found = screen(grid, "load", [*clusters, alone])
    assert [grid.nodes[at] for at in np.flatnonzero(found.differs)] == ["web6", "web48"]
    assert np.isnan(found.p[50:]).all()
