"""The weekly review as an answer, and from files alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from backstay.audit.desk.answers import DAY, Answer
from backstay.audit.desk.filed import FileDesk
from backstay.audit.desk.scene import NotSo, Scene
from backstay.audit.explain.since import lasting
from backstay.audit.explain.volatility import learn_habits
from backstay.audit.model import FactChange, FactTable
from backstay.audit.report.week import of_review, review_html, review_markdown, review_text
from backstay.audit.review import Review, Watched, Week, review

YEARS = timedelta(days=2 * 366)
NAMELESS = "all"  # the cluster of files without an estate and without a name


def answer(found: Review, footer: str = "") -> Answer:
    """report.week.of_review, and "text", "markdown", "html". `footer`: of the page."""
    return {
        **of_review(found),
        "text": review_text(found),
        "markdown": review_markdown(found),
        "html": review_html(found, footer),
    }


def steady(table: FactTable, changes: Sequence[FactChange], days: float) -> tuple[FactChange, ...]:
    """Changes of facts that do not change by themselves. `days`: in which `changes` were seen."""
    return lasting(changes, frozenset(table.nodes), learn_habits(table, changes, days=max(days, DAY)))


async def review_files(desk: FileDesk, week: Week | None, clusters: Sequence[str] = ()) -> Answer:
    """The review of `week` (None: the seven days up to the last sample) of `clusters`.

    None of them: all of the estate, or all nodes in the files as one cluster. Raises NotSo, SourceError.
    """
    declared = tuple(desk.estate.clusters) if desk.estate is not None else (NAMELESS,)
    scenes, missing = _scenes(desk, clusters or declared, all_needed=bool(clusters))
    if not scenes:
        raise NotSo(f"Nothing to review: {'; '.join(missing)}")
    limits = desk.estate.audit.limits if desk.estate is not None else {}
    watched = [
        Watched(
            cluster=one.cluster,
            grid=one.here.grid,
            closed_loop=one.here.closed_loop,
            limits=limits,
            natures=one.here.natures,
        )
        for one in scenes
    ]
    week = week or Week.until(max(one.grid.end for one in watched))
    fleet = scenes[0].fleet
    changes = steady(fleet.table, fleet.changes, fleet.days)
    found = review(watched, week, changes=changes, problems=(*scenes[0].problems, *missing))
    files = ", ".join(str(path) for path in (desk.indicators, desk.facts) if path is not None)
    return answer(found, files)


def _scenes(desk: FileDesk, names: Sequence[str], *, all_needed: bool) -> tuple[list[Scene], list[str]]:
    """What the files have of each cluster, and why some are left out."""
    scenes, missing = [], []
    for name in names:
        try:
            scenes.append(desk.scene(name, YEARS))
        except NotSo as error:
            if all_needed:
                raise
            missing.append(f"{name}: {error}")
    return scenes, missing
