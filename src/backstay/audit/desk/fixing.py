"""Fixes over the store: registered with the facts as they are, verified with what was measured before and after."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from backstay.audit.desk.answers import series_of
from backstay.audit.desk.scene import NotSo, Scene, declared
from backstay.audit.desk.stored import TIMEOUT_S, Stored
from backstay.audit.fix import Fix, FixRefused
from backstay.audit.fix.record import of_fix
from backstay.audit.fix.shell import Fixes
from backstay.audit.fix.story import sentence
from backstay.audit.report.data import of_finding, of_story
from backstay.audit.report.page import as_html
from backstay.audit.report.render import as_markdown, as_text
from backstay.audit.store import AuditStore
from backstay.estate import Estate

Answer = dict[str, Any]
BEFORE = timedelta(days=14)  # of the time before the fix was registered that is looked at
LONGEST = timedelta(days=365)


async def register(fixes: Fixes, store: AuditStore, estate: Estate, planned: Fix) -> Answer:
    """Raises NotSo, StoreError."""
    nodes = declared(estate, planned.cluster).nodes
    names = await store.indicators.names(nodes, timeout_s=TIMEOUT_S)
    if planned.indicator not in names:
        there = ", ".join(names[:20]) or "none"
        raise NotSo(f'No indicator "{planned.indicator[:60]}" of {planned.cluster} in the store. There is: {there}.')
    table = await store.facts.table(nodes, timeout_s=TIMEOUT_S)
    try:
        return told(await fixes.register(planned, nodes, table))
    except FixRefused as error:
        raise NotSo(str(error)) from None


async def verify(fixes: Fixes, stored: Stored, fix_id: str, now: datetime, actor: str) -> Answer:
    """Raises NotSo, StoreError."""
    fix = await one_of(fixes, fix_id)
    since = min(now - fix.registered + BEFORE, LONGEST)
    return await judged(fixes, fix, await stored.scene(fix.cluster, since, fix.indicator), actor)


async def one_of(fixes: Fixes, fix_id: str) -> Fix:
    """Raises NotSo."""
    try:
        return await fixes.get(fix_id)
    except FixRefused as error:
        raise NotSo(str(error)) from None


async def judged(fixes: Fixes, fix: Fix, scene: Scene, actor: str) -> Answer:
    """The fix with the verdict that `scene` allows, kept. Raises NotSo."""
    try:
        done = await fixes.verify(fix, scene.here, scene.fleet, actor=actor)
    except KeyError as error:
        raise NotSo(str(error.args[0])) from None
    return {
        **told(done.fix),
        "finding": of_finding(done.finding) if done.finding is not None else None,
        "problems": list(scene.problems),
        "series": series_of(done.story.chart, scene.here.grid, fix.indicator),
        "sections": of_story(done.story),
        "text": as_text(done.story),
        "markdown": as_markdown(done.story),
        "html": as_html(done.story),
    }


async def everything(fixes: Fixes) -> list[Answer]:
    """The newest first. Raises NotSo for a damaged record, StoreError."""
    try:
        return [told(fix) for fix in await fixes.all()]
    except FixRefused as error:
        raise NotSo(str(error)) from None


def told(fix: Fix) -> Answer:
    return {**of_fix(fix), "sentence": sentence(fix, fix.verdict) if fix.verdict else "Registered; not verified yet."}
