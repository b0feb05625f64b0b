"""`FileFixes`: fixes from files alone. What was expected is kept in a file beside those of facts and indicators."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from backstay.audit.desk import fixing
from backstay.audit.desk.answers import Answer
from backstay.audit.desk.filed import FileDesk
from backstay.audit.desk.scene import NotSo
from backstay.audit.explain.since import table_at
from backstay.audit.fix import Fix, FixRefused
from backstay.audit.fix.files import FileRecords
from backstay.audit.fix.shell import Fixes
from backstay.audit.planned import Planned


class FileFixes:
    """Answers as Desk does. `told`: when a fix that is registered was told; nobody but a journal can prove it."""

    def __init__(self, desk: FileDesk, path: Path, told: datetime) -> None:
        self._desk = desk
        self._fixes = Fixes(FileRecords(path), clock=lambda: desk.now)
        self._told = Fixes(FileRecords(path), clock=lambda: told)
        self._told_at = told

    async def register(self, planned: Planned) -> Answer:
        """As Desk.register. Facts that changed since it was told are taken as they were. Raises NotSo, SourceError."""
        scene = self._desk.scene(planned.cluster, fixing.LONGEST)
        if planned.indicator not in scene.here.grid.indicators:
            there = ", ".join(scene.here.grid.indicators[:20]) or "none"
            raise NotSo(f'No indicator "{planned.indicator[:60]}" of {planned.cluster} in the file. There is: {there}.')
        fix = Fix.of(planned, self._told_at)
        have = set(scene.fleet.table.nodes)
        table = scene.fleet.table.rows([node for node in scene.cluster.nodes if node in have])
        table = table_at(table, scene.fleet.changes, self._told_at)
        try:
            return fixing.told(await self._told.register(fix, scene.cluster.nodes, table))
        except FixRefused as error:
            raise NotSo(str(error)) from None

    async def verify(self, fix_id: str, *, actor: str) -> Answer:
        """As Desk.verify. Raises NotSo, SourceError."""
        fix = await fixing.one_of(self._fixes, fix_id)
        known = await self._fixes.all()
        scene = self._desk.scene(fix.cluster, self._desk.now - fix.registered + fixing.BEFORE)
        scene = replace(scene, fleet=replace(scene.fleet, fixes=known))
        return await fixing.judged(self._fixes, fix, scene, actor)

    async def fixes(self) -> list[Answer]:
        """As Desk.fixes. Raises NotSo, SourceError."""
        return await fixing.everything(self._fixes)

    async def close(self) -> None:
        """Nothing is held open."""
