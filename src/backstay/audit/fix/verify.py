"""One fix, looked at: the verdict, the finding as it was before, and the report. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from backstay.audit.examine import normalised
from backstay.audit.explain.since import lasting
from backstay.audit.fix.judge import Scene, judge
from backstay.audit.fix.model import Fix, Outcome, Verdict
from backstay.audit.fix.story import tell_fix
from backstay.audit.knowing import Fleet, Look, explain_in, facts_of
from backstay.audit.model import Finding, Grid
from backstay.audit.report.story import Section, Story, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    fix: Fix  # with the verdict
    story: Story
    finding: Finding | None = None  # of the time before the first change, with the proof: for a confirmed fix


def verify(fix: Fix, look: Look, fleet: Fleet, now: datetime) -> Verified:
    """Judge `fix` at `now` by what was measured in its cluster. Raises KeyError where the grid has not the indicator.

    Idempotent: with the same data the same verdict, whatever was found before, but that a confirmed one stays so until
    its effect went.
    """
    cluster, grid = look.cluster, look.grid
    normal = normalised(cluster, grid, look.indicator(fix.indicator))
    changes = lasting(fleet.changes, set(cluster.nodes), {})
    scene = Scene(nodes=cluster.nodes, grid=grid, normal=normal, table=facts_of(look, fleet), changes=changes)
    verdict = judge(fix, scene, now)
    confirmed = verdict if verdict.outcome is Outcome.CONFIRMED else fix.confirmed
    judged = replace(fix, verdict=verdict, confirmed=fix.confirmed or confirmed)
    story, finding = tell_fix(judged, scene), _finding(judged, verdict, look, fleet)
    if finding is not None:
        closed = Section(heading="The finding that it closes", lines=(sentence(finding),))
        story = replace(story, sections=(closed, *story.sections))
    return Verified(fix=judged, story=story, finding=finding)


def _finding(fix: Fix, verdict: Verdict, look: Look, fleet: Fleet) -> Finding | None:
    """What was to be explained before the fix, with the fix for proof."""
    if verdict.outcome is not Outcome.CONFIRMED:
        return None
    first = min(one.changed for one in verdict.nodes)
    cell = min(max(look.grid.cell(first), 1), look.grid.count)
    before = replace(look, grid=_cut(look.grid, cell))
    others = [one for one in fleet.fixes if one.id != fix.id]
    return explain_in(before, fix.indicator, replace(fleet, fixes=[*others, fix])).finding


def _cut(grid: Grid, cells: int) -> Grid:
    return replace(grid, values=grid.values[:, :, :cells])
