"""N+1: what is left when a node, a failure path, a zone or a region is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.estate import Loaded, load_text, spare_left
from backstay.estate.spare import Group, Level, groups


def load(text: str) -> Loaded:
    return load_text(text, "backstay.yaml", Path())


def group(text: str, name: str) -> Group:
    return next(g for g in groups(load(text).estate) if f"{g.section}.{g.name}" == name)


@pytest.mark.parametrize(
    ("level", "name", "lost", "survives"),
    [
        (Level.NODE, "web1", 1, True),
        (Level.PATH, "dc1/power-a", 1, True),  # dc2 has a power-a of its own: another path
        (Level.ZONE, "dc1", 2, False),
        (Level.REGION, "home", 3, False),
    ],
)
def test_the_worst_loss_at_each_level(small: str, level: Level, name: str, lost: int, survives: bool) -> None:
    web = group(small, "clusters.web")
    loss = next(loss for loss in web.worst if loss.level is level)
    assert (loss.name, loss.lost, web.survives(level)) == (name, lost, survives)


def test_a_tier_needs_one_load_balancer(small: str) -> None:
    edge = group(small, "tiers.edge-1")
    assert edge.needed == 1
    assert edge.survives(Level.ZONE)
    assert not edge.survives(Level.REGION)


def test_members_on_one_failure_path_are_warned_of(small: str) -> None:
    text = small.replace("192.0.2.12, paths: [power-b]", "192.0.2.12, paths: [power-a]")
    (warning,) = load(text).warnings
    assert str(warning) == (
        'backstay.yaml:15:3 clusters.web: Losing the path "dc1/power-a" takes 2 of 3: 1 left, 2 needed. '
        "Spread it, or add a member."
    )


def test_a_zone_is_warned_of_when_no_downtime_is_promised_for_it(small: str) -> None:
    assert load(small).warnings == ()
    (warning,) = load(small + "promises: {zone: none}\n").warnings
    assert 'Losing the zone "dc1" takes 2 of 3' in warning.message
    assert "promises.zone says none" in warning.message
    assert load(small + "promises: {zone: 2h}\n").warnings == ()


def test_a_single_load_balancer_is_warned_of(small: str) -> None:
    (warning,) = load(small.replace("[lb1, lb2]", "[lb1]")).warnings
    assert 'Losing the node "lb1" takes 1 of 1' in warning.message


def test_a_node_on_no_path_of_a_zone_that_has_some_is_warned_of(small: str) -> None:
    (warning,) = load(small.replace("192.0.2.12, paths: [power-b]", "192.0.2.12")).warnings
    assert "On no failure path, though their zones have some: web2" in warning.message


def test_a_pool_that_no_service_uses_is_warned_of(small: str) -> None:
    (warning,) = load(small + "  idle: {cluster: web, port: 8001}\n").warnings
    assert warning.path == "pools.idle"


@pytest.mark.parametrize(
    ("out", "left"),
    [((), 1), (("web1",), 0), (("web1", "web1"), 0), (("web1", "web3"), -1), (("lb1", "nobody"), 1)],
)
def test_spare_left_counts_members_that_are_out(small: str, out: tuple[str, ...], left: int) -> None:
    assert spare_left(load(small).estate, "web", out) == left
