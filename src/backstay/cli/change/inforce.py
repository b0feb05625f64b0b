"""Changes that are in force: list, show, undo, finish; over all load balancers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from backstay.change.durations import format_duration
from backstay.change.rollout import Answer, Reply, load_balancers_in_scope, worst
from backstay.change.wire import UndoRequest, request_from_json
from backstay.cli.change.rollout import answer_rows, proof_rows
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.output import Exit, Row
from backstay.cli.report import Report

if TYPE_CHECKING:
    from backstay.cli.served.way import Site
    from backstay.link.views import ChangeView

Copies = Mapping[str, "ChangeView"]  # load balancer -> the change as it stands there

_DRAINS = ("drain", "maintenance")


async def listed(site: Site, *, ended: bool) -> Report:
    """Every change once, with the load balancers where it is in force."""
    async with Fleet(site) as fleet:
        by_id, answers = await _gather(fleet)
    shown = {
        change_id: copies
        for change_id, copies in by_id.items()
        if ended or any("ended" not in copy for copy in copies.values())
    }
    silent = [answer for answer in answers if answer.reply is not Reply.DONE]
    data = [dict(_any(copies)) | {"in_force_on": _in_force(copies)} for copies in shown.values()]
    return Report(
        data=data,
        rows=[_row(copies, site, silent) for copies in shown.values()],
        notes=_silent_notes(silent),
        code=EXIT_OF[worst(answers)],
    )


async def shown(site: Site, change_id: str) -> Report:
    """One change, load balancer by load balancer; its proof when it is a drain."""
    async with Fleet(site) as fleet:
        by_id, answers = await _gather(fleet)
        copies = by_id.get(change_id)
        if copies is None:
            return _unknown(change_id, answers)
        drains = _any(copies)["kind"] in _DRAINS
        proofs, _ = await fleet.ask(lambda agent: agent.proof(change_id), list(copies) if drains else [])
    flat = [proof for of_lb in proofs.values() for proof in of_lb]
    silent = [answer for answer in answers if answer.reply is not Reply.DONE]
    row = _row(copies, site, silent)
    data = dict(_any(copies)) | {"in_force_on": _in_force(copies), "load_balancers": dict(copies), "proof": flat}
    words = "; ".join(f"{key}: {value}" for key, value in row.items() if value)
    notes = [words, *_silent_notes(silent)]
    rows = proof_rows(flat) if flat else [{"load balancer": lb, **_state(copy)} for lb, copy in copies.items()]
    return Report(data=data, rows=rows, notes=notes, code=EXIT_OF[worst(answers)])


async def undo(site: Site, change_id: str, request: UndoRequest) -> Report:
    """End one change wherever it is in force. Ended already: done."""
    async with Fleet(site) as fleet:
        by_id, answers = await _gather(fleet)
        if change_id not in by_id:
            return _unknown(change_id, answers)
        return await _undo(fleet, {change_id: by_id[change_id]}, answers, request)


async def undrain(site: Site, node: str, pool: str | None, request: UndoRequest, *, dry_run: bool) -> Report:
    """End every drain and maintenance of `node` (with `pool`: those of that pool alone)."""
    if node not in site.estate.nodes:
        nodes = ", ".join(site.estate.nodes)
        return Report(
            data=None, notes=[f'"{node}" is no node of {site.estate.estate}. Nodes: {nodes}.'], code=Exit.USAGE
        )
    scope = load_balancers_in_scope(site.estate, node, pool)
    async with Fleet(site, scope or None) as fleet:
        by_id, answers = await _gather(fleet)
        drains = {
            change_id: copies
            for change_id, copies in by_id.items()
            if (change := _any(copies))["node"] == node and change["kind"] in _DRAINS and _in_force(copies)
        }
        mine = {key: copies for key, copies in drains.items() if pool is None or _any(copies)["pool"] == pool}
        wider = [key for key in drains if key not in mine and _any(drains[key])["pool"] is None]
        if wider:
            told = f"{node} is drained in all of its pools, not in {pool} alone: backstay undrain {node} without --pool"
            return Report(data=None, notes=[told], code=Exit.USAGE)
        if dry_run:
            told = f"Would end {len(mine)} changes. Nothing was changed (--dry-run)."
            rows = [_row(copies, site, []) for copies in mine.values()]
            return Report(data=rows, notes=[*_silent_notes(_silent(answers)), told], code=EXIT_OF[worst(answers)])
        return await _undo(fleet, mine, answers, request)


async def finish(site: Site, change_id: str) -> Report:
    """Put a change in force where it lacks, for what remains of it."""
    async with Fleet(site) as fleet:
        by_id, answers = await _gather(fleet)
        copies = by_id.get(change_id)
        if copies is None:
            return _unknown(change_id, answers)
        there = _in_force(copies)
        if not there:
            return Report(data=None, notes=[f"Change {change_id} is over; it is in force nowhere."], code=Exit.FAILED)
        request = request_from_json(copies[there[0]])
        scope = load_balancers_in_scope(site.estate, request.node, request.pool)
        lacking = [lb for lb in scope if lb not in copies and lb not in {one.lb for one in _silent(answers)}]
        _, put = await fleet.ask(lambda agent: agent.put_change(request), lacking)
    told = [one for one in answers if one.lb in scope and one.reply is not Reply.DONE] + put
    was = [Answer(lb=lb, reply=Reply.DONE, detail="was in force already") for lb in there]
    every = sorted([*told, *was], key=lambda one: list(fleet.agents).index(one.lb))
    data = {"change": request.to_json(), "load_balancers": answer_rows(every)}
    return Report(data=data, rows=answer_rows(every), code=EXIT_OF[worst(every)])


async def _gather(fleet: Fleet) -> tuple[dict[str, dict[str, ChangeView]], list[Answer]]:
    """All changes by id, then by load balancer; oldest first. And what each load balancer answered."""
    said, answers = await fleet.ask(lambda agent: agent.changes())
    found = [(change, lb) for lb, changes in said.items() for change in changes]
    by_id: dict[str, dict[str, ChangeView]] = {}
    for change, lb in sorted(found, key=lambda pair: pair[0]["created_at"]):
        by_id.setdefault(change["id"], {})[lb] = change
    kept, _ = await fleet.ask(lambda agent: agent.changes(), fleet.keepers)
    for keeper, views in kept.items():
        for view in views:
            by_id.setdefault(view["id"], {keeper: view})
    return by_id, answers


async def _undo(fleet: Fleet, by_id: Mapping[str, Copies], answers: list[Answer], request: UndoRequest) -> Report:
    results: list[Row] = []
    replies = list(answers)
    for change_id, copies in by_id.items():
        _, undone = await fleet.ask(lambda agent, one=change_id: agent.undo(one, request), _in_force(copies))  # type: ignore[misc]
        replies += undone
        results += [{"change": change_id, **row} for row in answer_rows(undone)]
    silent = _silent(answers)
    notes = _silent_notes(silent)
    if silent and results:
        notes.append(f"Undo it there when they answer again: backstay changes undo {' '.join(by_id)}")
    if not results:
        notes.append("Nothing to undo: no such change is in force on the load balancers that answered.")
    return Report(data=results, notes=notes, code=EXIT_OF[worst(replies)])


def _row(copies: Copies, site: Site, silent: Sequence[Answer]) -> Row:
    """One change as a line of the table."""
    change = _any(copies)
    there = _in_force(copies)
    parameter = change.get("parameter")
    scope = load_balancers_in_scope(site.estate, change["node"], change["pool"]) if parameter is None else ()
    lacking = [lb for lb in scope if lb not in there and lb not in {answer.lb for answer in silent}]
    what = "" if change["factor"] is None else f" {change['factor']:g}"
    if parameter is not None:
        what = f" {parameter}={json.dumps(change.get('value'))}"
    return {
        "id": change["id"],
        "change": change["kind"] + what,
        "node": change["node"],
        "pool": change["pool"] or ("all" if parameter is None else ""),
        "by": change["actor"],
        "reason": change["reason"],
        **_state(change),
        "on": ", ".join(there),
        "lacks on": ", ".join(lacking) if there else "",
    }


def _state(change: ChangeView) -> Row:
    ended = change.get("ended")
    if ended is not None:
        return {"until": f"{ended['by']} {ended['at']}" + (f" by {ended['actor']}" if ended["by"] == "undone" else "")}
    left = change["remaining_s"]
    return {"until": "undone" if left is None else f"in {format_duration(left)}"}


def _any(copies: Copies) -> ChangeView:
    """One copy to speak of: one that is in force, when there is one."""
    return next((copy for copy in copies.values() if "ended" not in copy), next(iter(copies.values())))


def _in_force(copies: Copies) -> list[str]:
    return [lb for lb, copy in copies.items() if "ended" not in copy]


def _silent(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.reply is not Reply.DONE]


def _silent_notes(silent: Sequence[Answer]) -> list[str]:
    return [f"{answer.lb}: {answer.detail}" for answer in silent]


def _unknown(change_id: str, answers: Sequence[Answer]) -> Report:
    silent = _silent(answers)
    told = f"No load balancer that answered knows a change {change_id[:64]}. What there is: backstay changes --ended"
    return Report(data=None, notes=[*_silent_notes(silent), told], code=EXIT_OF[worst(answers)] or Exit.FAILED)
