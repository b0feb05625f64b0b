"""From a scene to answers that JSON can carry: what differs, who differs, what explains it. Pure.

The same answers from files, from the store, and through the server's API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backstay.audit.compare import compare
from backstay.audit.desk.scene import NotSo, Scene, of_nodes, unread_besides, why_unread
from backstay.audit.differences import differences
from backstay.audit.examine import Examined, examine, normalised
from backstay.audit.explain import NODES_LIMIT
from backstay.audit.explain.since import lasting
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.knowing import explain_in, facts_of, fleet_spread
from backstay.audit.model import Cluster, FactChange, Finding, Grade, Grid, Knowledge
from backstay.audit.report.data import number, of_comparison, of_differences, of_finding, of_story
from backstay.audit.report.page import as_html
from backstay.audit.report.plots import POINTS_LIMIT, Chart, thin
from backstay.audit.report.render import as_markdown, as_text
from backstay.audit.report.story import sentence, tell_story
from backstay.audit.sources.history import History

Answer = dict[str, Any]
DAY = 1.0
COLLECT_FACTS = "Collect them (backstay audit collect --facts), or bring them in (backstay audit import FILE)."


def facts_diff(cluster: Cluster, history: History) -> Answer:
    """The facts that differ, by how they split the nodes. `history`: fleet-wide, for habits are learned there.

    Raises NotSo where fewer than two nodes of the cluster have facts.
    """
    known = set(history.table.nodes)
    have = [node for node in cluster.nodes if node in known]
    if len(have) < 2:
        raise NotSo(
            f"{len(have)} of {len(cluster.nodes)} nodes of {cluster.name} have facts: two are needed. {COLLECT_FACTS}"
        )
    habits = learn_habits(history.table, history.changes, days=max(history.days, DAY))
    mine = set(cluster.nodes)
    missing = [f"{node}: no facts of it." for node in cluster.nodes if node not in known]
    return {
        **of_differences(cluster.name, differences(history.table.rows(have), habits)),
        "unread_why": {node: dict(why) for node, why in history.unread.items() if node in mine and why},
        "problems": [*of_nodes(history.problems, cluster.nodes), *missing, *why_unread(unread_besides(history), have)],
    }


def compared(scene: Scene) -> Answer:
    """Every indicator of the cluster: who differs, and with facts what fits best."""
    rows = [_row(scene, name) for name in scene.here.grid.indicators]
    problems = [f"{row['indicator']}: {problem}" for row in rows for problem in row["problems"]]
    if scene.has_facts and len(scene.cluster.nodes) > NODES_LIMIT:
        problems.insert(0, f"more than {NODES_LIMIT} nodes: compared, and not explained")
    return {
        "cluster": scene.cluster.name,
        **_span(scene.here.grid),
        "indicators": rows,
        "problems": list(dict.fromkeys([*scene.problems, *problems])),
    }


def _row(scene: Scene, name: str) -> Answer:
    if not scene.has_facts or len(scene.cluster.nodes) > NODES_LIMIT:
        indicator = scene.here.indicator(name)
        normal = normalised(scene.cluster, scene.here.grid, indicator)
        return of_comparison(compare(scene.cluster.name, scene.cluster.nodes, normal, indicator))
    examined = examined_of(scene, name)
    return {**of_comparison(examined.comparison), "finding": of_finding(examined.finding)}


def examined_of(scene: Scene, name: str) -> Examined:
    """One indicator through all steps. Raises NotSo where there is no such indicator, or the cluster is too large."""
    if not scene.has_facts:
        raise NotSo(f"No facts of {scene.cluster.name}: nothing to explain it with. {COLLECT_FACTS}")
    if name not in scene.here.grid.indicators:
        there = ", ".join(scene.here.grid.indicators[:20]) or "none"
        raise NotSo(f'No indicator "{name[:60]}" of {scene.cluster.name} in this time. There is: {there}.')
    try:
        return explain_in(scene.here, name, scene.fleet)
    except ValueError as error:
        raise NotSo(str(error)) from None


def explained(scene: Scene, name: str) -> tuple[Answer, Finding]:
    """The story of one indicator with everything in it, and the finding. Raises NotSo."""
    looked = examined_of(scene, name)
    problems = (*scene.problems, *why_unread(scene.unread, scene.cluster.nodes), *looked.finding.problems)
    looked = replace(looked, finding=replace(looked.finding, problems=tuple(dict.fromkeys(problems))))
    grid, indicator = scene.here.grid, scene.here.indicator(name)
    by = scene.work if indicator.per_work else None
    story = tell_story(looked, grid, by)
    span = f"{grid.start:%Y-%m-%d %H:%M} to {grid.end:%Y-%m-%d %H:%M} UTC"
    answer = {
        **of_finding(looked.finding),
        "comparison": of_comparison(looked.comparison),
        **_span(grid),
        "unit": looked.comparison.unit,
        "work": by,
        "series": series_of(story.chart, grid, name),
        "changes": changes_within(scene, grid),
        "sections": of_story(story),
        "text": as_text(story),
        "markdown": as_markdown(story),
        "html": as_html(story, f"{', '.join(looked.finding.nodes)}; {span}"),
    }
    return answer, looked.finding


def at_a_glance(scenes: Sequence[Scene]) -> list[Answer]:
    """A row a cluster: its worst finding, the surest first, and of those the largest effect.

    `scenes`: of one fleet. What other clusters say is asked for the worst finding alone: a fleet has many clusters.
    """
    if not scenes:
        return []
    fleet, looks = scenes[0].fleet, [scene.here for scene in scenes]
    habits = learn_habits(fleet.table, fleet.changes, days=max(fleet.days, DAY))
    shared = {}
    for name in dict.fromkeys(name for look in looks for name in look.grid.indicators):
        measured = [look for look in looks if name in look.grid.indicators]
        spread = fleet_spread(measured, name, fleet, habits)
        shared[name] = Knowledge(spread=spread, habits=habits, changes=fleet.changes)
    return [_glance(scene, shared) for scene in scenes]


def _glance(scene: Scene, shared: Mapping[str, Knowledge]) -> Answer:
    here, findings, problems = scene.here, dict[str, Finding](), list(scene.problems)
    table = facts_of(here, scene.fleet)
    for one in here.grid.indicators:
        try:
            findings[one] = examine(here.cluster, here.grid, here.indicator(one), table, shared[one]).finding
        except ValueError as error:
            problems.append(f"{one}: {error}")
    name = max(findings, key=lambda one: _badness(findings[one]), default=None)
    found = name is not None and findings[name].grade is not Grade.NOTHING
    first = examined_of(scene, name) if found and name is not None else None
    return {
        "cluster": scene.cluster.name,
        "nodes": list(scene.cluster.nodes),
        "work": scene.work,
        "indicators": list(here.grid.indicators),
        "grade": (first.finding.grade if first else Grade.NOTHING).value,
        "indicator": name if first else None,
        "sentence": sentence(first.finding) if first else "No node stands out.",
        "differs": list(first.comparison.differs) if first else [],
        **_span(here.grid),
        "problems": list(dict.fromkeys(problems)),
    }


def unmeasured(cluster: Cluster) -> Answer:
    """The row of a cluster of which nothing was measured."""
    return {
        "cluster": cluster.name,
        "nodes": list(cluster.nodes),
        "work": None,
        "indicators": [],
        "grade": Grade.NOTHING.value,
        "indicator": None,
        "sentence": "Nothing was measured.",
        "differs": [],
        "from": None,
        "to": None,
        "step_s": None,
        "problems": [],
    }


def _badness(finding: Finding) -> tuple[int, float]:
    effect = finding.effect
    return finding.grade.rank, abs(effect.estimate) if effect is not None else 0.0


def of_change(change: FactChange) -> Answer:
    return {
        "node": change.node,
        "fact": change.fact,
        "before": change.before,
        "after": change.after,
        "time": change.time.isoformat(),
    }


def changes_within(scene: Scene, grid: Grid) -> list[Answer]:
    """Facts of the cluster's nodes that changed in the time looked at; what changes by itself is left out."""
    fleet = scene.fleet
    habits = learn_habits(fleet.table, fleet.changes, days=max(fleet.days, DAY))
    lasted = lasting(fleet.changes, frozenset(scene.cluster.nodes), habits)
    return [of_change(change) for change in lasted if grid.start <= change.time < grid.end]


def _span(grid: Grid) -> Answer:
    return {"from": grid.start.isoformat(), "to": grid.end.isoformat(), "step_s": grid.step_s}


def series_of(chart: Chart, grid: Grid, name: str) -> Answer:
    """The chart's lines (each node beside the others), and the same nodes as they were measured."""
    times_s = grid.start.timestamp() + grid.step_s * np.arange(grid.count)
    measured = dict(zip(grid.nodes, grid.of(name), strict=True))
    return {
        "times_s": list(thin(times_s, POINTS_LIMIT)),
        "nodes": [
            {
                "node": line.node,
                "group": line.group,
                "label": line.label,
                "absolute": [number(value) for value in thin(measured[line.node], POINTS_LIMIT)]
                if line.node in measured
                else [],
                "beside": [number(value) for value in line.values],
            }
            for line in chart.lines
        ],
    }
