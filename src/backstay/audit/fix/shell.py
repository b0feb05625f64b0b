"""Fixes over a store of records and a journal: register, verify, list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from backstay.audit.fix.model import Fix, FixRefused, Outcome
from backstay.audit.fix.record import fix_of, of_fix, of_verdict
from backstay.audit.fix.story import expectation, sentence
from backstay.audit.fix.verify import Verified, verify
from backstay.audit.knowing import Fleet, Look
from backstay.audit.model import FactTable
from backstay.audit.ports import RecordStore
from backstay.journal import Event, new_id

KIND = "fix"
FIXES_LIMIT = 10_000
TIMEOUT_S = 10.0
NEVER_LESS_THAN = -1.0  # a relative change: nothing falls by more than all of it
MOST = 10.0
WORDS_LIMIT = 500


class Fixes:
    """`record`: where events go, as Journal.append; None: there is no journal."""

    def __init__(
        self, records: RecordStore, *, clock: Callable[[], datetime], record: Callable[[Event], None] | None = None
    ) -> None:
        self._records = records
        self._clock = clock
        self._record = record

    async def all(self) -> list[Fix]:
        """Every fix, the newest first. Raises FixRefused for a record that is damaged, StoreError."""
        found = []
        for name, record in (await self._records.all(KIND, timeout_s=TIMEOUT_S)).items():
            try:
                found.append(fix_of(record))
            except (KeyError, TypeError, ValueError) as error:
                raise FixRefused(f"the record of the fix {name[:60]} is damaged ({error!r}): take it out.") from None
        return found[::-1]

    async def get(self, fix_id: str) -> Fix:
        """Raises FixRefused where there is none of this name."""
        fixes = await self.all()
        found = next((fix for fix in fixes if fix.id == fix_id), None)
        if found is None:
            there = ", ".join(fix.id for fix in fixes[:10]) or "none"
            raise FixRefused(f'"{fix_id[:60]}" is no fix. Fixes: {there}.')
        return found

    async def register(self, planned: Fix, cluster: Sequence[str], table: FactTable) -> Fix:
        """Keep `planned` (its id and time are given here), once: the same again is the one that is there.

        `cluster`: the nodes of its cluster. `table`: their facts now. Raises FixRefused, with what to do instead.
        """
        now = self._clock()
        check(planned, cluster, table, now)
        fixes = await self.all()
        known = next((fix for fix in fixes if _same(fix, planned) and fix.outcome is not Outcome.REOPENED), None)
        if known is not None:
            return known
        if len(fixes) >= FIXES_LIMIT:
            raise FixRefused(f"{FIXES_LIMIT} fixes are registered: that is the limit.")
        stem = f"{planned.cluster}-{planned.indicator}"
        taken = {fix.id for fix in fixes}
        number = next(n for n in range(1, FIXES_LIMIT + 2) if f"{stem}-{n}" not in taken)
        fix = replace(planned, id=f"{stem}-{number}", registered=now)
        # The journal first: an expectation that was kept and not journaled could have been told afterwards.
        self._note("audit.fix_registered", fix, fix.actor, fix.reason, {**of_fix(fix), "expects": expectation(fix)})
        await self._records.put(KIND, fix.id, of_fix(fix), timeout_s=TIMEOUT_S)
        return fix

    async def verify(self, fix: Fix, look: Look, fleet: Fleet, *, actor: str) -> Verified:
        """Judge it, and keep the verdict. A verdict is journaled when it is another than before. Raises KeyError where
        the look has not its indicator."""
        before = fix.verdict
        done = verify(fix, look, fleet, self._clock())
        verdict = done.fix.verdict
        assert verdict is not None
        if before is None or (before.outcome, before.reason) != (verdict.outcome, verdict.reason):
            data = {"fix": fix.id, "cluster": fix.cluster, "indicator": fix.indicator, "fact": fix.fact}
            said = sentence(done.fix, verdict)
            self._note("audit.fix_verified", fix, actor, said, {**data, **of_verdict(verdict)})
        await self._records.put(KIND, fix.id, of_fix(done.fix), timeout_s=TIMEOUT_S)
        return done

    def _note(self, kind: str, fix: Fix, actor: str, reason: str, data: dict[str, object]) -> None:
        if self._record is not None:
            subject = f"cluster/{fix.cluster}"
            now = self._clock()
            self._record(
                Event(id=new_id(), time=now, kind=kind, subject=subject, actor=actor, reason=reason, data=data)
            )


def check(planned: Fix, cluster: Sequence[str], table: FactTable, now: datetime) -> None:
    """Can this be registered, and ever be verified? Raises FixRefused."""
    strangers = [node for node in planned.nodes if node not in cluster]
    if not planned.nodes or strangers:
        what = f'"{strangers[0][:60]}" is no node of {planned.cluster}' if strangers else "no node is named"
        raise FixRefused(f"{what}. Nodes: {', '.join(cluster[:20])}.")
    if len(set(planned.nodes)) >= len(set(cluster)):
        raise FixRefused(f"every node of {planned.cluster} would change: leave one as it is, to compare with.")
    if len(set(planned.nodes)) < len(planned.nodes):
        raise FixRefused("a node is named twice: name each once.")
    if planned.fact not in table.columns:
        near = ", ".join(fact for fact in table.columns if planned.fact.split(".")[0] in fact)[:200] or "none like it"
        raise FixRefused(f'no node of {planned.cluster} has a fact "{planned.fact[:60]}". There is: {near}.')
    for node in planned.nodes:
        column = table.columns[planned.fact]
        have = column.text(table.nodes.index(node)) if node in table.nodes else None
        if planned.value is not None and have == planned.value:
            raise FixRefused(f"{planned.fact} of {node} is {have[:60]} already: leave {node} out.")
    change = planned.expected
    if change is not None and not (NEVER_LESS_THAN < change <= MOST and abs(change) >= 0.001):
        raise FixRefused(f"an expected change of {change:+.1%} cannot be verified: give 0.1% or more, above -100%.")
    if planned.by <= now:
        raise FixRefused(f"{planned.by:%Y-%m-%d %H:%M} UTC is over: say by when it will be done.")
    if not planned.reason.strip() or len(planned.reason) > WORDS_LIMIT:
        raise FixRefused(f"give a reason, of {WORDS_LIMIT} letters at most.")


def _same(one: Fix, other: Fix) -> bool:
    def told(fix: Fix) -> tuple[object, ...]:
        nodes = tuple(sorted(fix.nodes))
        return (fix.cluster, fix.indicator, fix.fact, nodes, fix.value, fix.expected)

    return told(one) == told(other)
