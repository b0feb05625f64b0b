"""Puts one change on every load balancer that it concerns: ask all, put on all, wait for the proof, tell each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from backstay.change.rollout import Answer, Reach, Reply, Stop, decide_go, load_balancers_in_scope, reach, worst
from backstay.change.wire import ChangeRequest
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.output import Exit, Row
from backstay.cli.report import Report

if TYPE_CHECKING:
    from backstay.cli.served.way import Site
    from backstay.estate.model import Estate
    from backstay.link.views import ChangeAnswer, ProofView

POLL_S = 0.3

_COUNTS = ("in_flight_at_start", "in_flight", "finished", "cut", "refused")


async def put(
    site: Site, request: ChangeRequest, *, dry_run: bool, wait_s: float | None, go_on: Callable[[str], None]
) -> Report:
    """Ask every guard, then put the change on all load balancers; with `wait_s`, wait that long for its proof.

    `go_on` is called with a question when some do not answer; it ends the command when the answer is no.
    """
    lbs = load_balancers_in_scope(site.estate, request.node, request.pool)
    if not lbs:
        return Report(data=None, notes=[_no_scope(site.estate, request)], code=Exit.USAGE)
    async with Fleet(site, lbs) as fleet:
        weighed = await _weigh(fleet, request)
        decided = decide_go(weighed)
        if isinstance(decided, Stop):
            notes = [*decided.sentences, "Nothing was changed on any load balancer."]
            return _report(request, weighed, notes, EXIT_OF[decided.reply])
        if dry_run:
            notes = [*decided.notes, "Nothing was changed (--dry-run)."]
            return _report(request, weighed, notes, EXIT_OF[worst(weighed)])
        silent = [answer for answer in weighed if answer.reply is Reply.UNREACHABLE]
        if silent:
            go_on("\n".join([*(f"{one.lb}: {one.detail}" for one in silent), f"Go on without {_names(silent)}?"]))
        asked = [answer.lb for answer in weighed if answer.reply is Reply.DONE]
        _, answers = await fleet.ask(lambda agent: agent.put_change(request), asked)
        answers = sorted([*silent, *answers], key=lambda answer: lbs.index(answer.lb))
        report = _report(request, answers, [*decided.notes, *_reached(request, answers)], EXIT_OF[worst(answers)])
        reached = [answer.lb for answer in answers if answer.reply is Reply.DONE]
        if wait_s is None or not reached:
            return report
        proofs = await _wait(fleet, request.id, reached, wait_s)
    return _with_proof(report, request, proofs, reached, wait_s)


async def _weigh(fleet: Fleet, request: ChangeRequest) -> list[Answer]:
    """What every load balancer's guard says."""
    said, answers = await fleet.ask(lambda agent: agent.put_change(request, dry_run=True))
    return [_weighed(answer, said.get(answer.lb)) for answer in answers]


def _weighed(answer: Answer, said: ChangeAnswer | None) -> Answer:
    if said is None:
        return answer
    verdict = said["verdict"]
    if not verdict["allowed"]:
        return Answer(lb=answer.lb, reply=Reply.REFUSED, detail=verdict.get("sentence", verdict["code"]))
    overridden = [f"overridden: {one.get('sentence', one['code'])}" for one in verdict.get("overridden", [])]
    return Answer(lb=answer.lb, reply=Reply.DONE, notes=(*verdict.get("notes", []), *overridden))


async def _wait(fleet: Fleet, change_id: str, lbs: Sequence[str], wait_s: float) -> list[ProofView]:
    """The newest proof of each load balancer: when all are done, or when the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    newest: dict[str, list[ProofView]] = {}
    while True:
        said, _ = await fleet.ask(lambda agent: agent.proof(change_id), lbs)
        newest |= said
        proofs = [proof for lb in lbs for proof in newest.get(lb, [])]
        if is_done(proofs, lbs) or loop.time() + POLL_S > end:
            return proofs
        await asyncio.sleep(POLL_S)


def is_done(proofs: Sequence[ProofView], lbs: Sequence[str]) -> bool:
    """Is nothing in flight any more, on any of `lbs`? A load balancer without a proof is not done."""
    return set(lbs) <= {proof["lb"] for proof in proofs} and all(proof["done"] for proof in proofs)


def proof_rows(proofs: Sequence[ProofView]) -> list[Row]:
    """A row for each load balancer (and pool), and their sum."""
    rows: list[Row] = [
        {"load balancer": proof["lb"]}
        | {name.replace("_", " "): proof[name] for name in _COUNTS}  # type: ignore[literal-required]
        | {"done": "yes" if proof["done"] else "no", "detail": proof["detail"]}
        for proof in proofs
    ]
    total = {name.replace("_", " "): sum(row[name.replace("_", " ")] for row in rows) for name in _COUNTS}
    done = "yes" if proofs and all(proof["done"] for proof in proofs) else "no"
    return [*rows, {"load balancer": "all"} | total | {"done": done}]


def answer_rows(answers: Sequence[Answer]) -> list[Row]:
    """A row for each load balancer: what became of it there."""
    return [{"load balancer": one.lb, "result": one.reply.value, "detail": one.detail} for one in answers]


def _report(request: ChangeRequest, answers: Sequence[Answer], notes: Sequence[str], code: Exit) -> Report:
    data = {
        "change": request.to_json(),
        "reach": reach(answers).value,
        "load_balancers": [{"lb": one.lb, "result": one.reply.value, "detail": one.detail} for one in answers],
    }
    rows = [{"load balancer": one.lb, "result": one.reply.value} for one in answers]  # the notes tell the details
    return Report(data=data, rows=rows, title=_title(request), notes=notes, code=code)


def _with_proof(
    report: Report, request: ChangeRequest, proofs: Sequence[ProofView], lbs: Sequence[str], wait_s: float
) -> Report:
    lost = sum(proof["cut"] + proof["refused"] for proof in proofs)
    notes, code = list(report.notes), report.code
    if not is_done(proofs, lbs):
        left = sum(proof["in_flight"] for proof in proofs)
        notes.append(
            f"Not done within {wait_s:g} s: {left} still in flight. The {request.kind} stays in force; "
            f"see how it goes on: backstay changes show {request.id}"
        )
        code = code or Exit.FAILED
    if lost:
        notes.append(f"{lost} requests were cut or refused.")
        code = code or Exit.FINDINGS
    data = report.data | {"proof": list(proofs)}
    return Report(data=data, rows=proof_rows(proofs), title=report.title, notes=notes, code=code)


def _reached(request: ChangeRequest, answers: Sequence[Answer]) -> list[str]:
    """Where it is in force; when that is not everywhere, what next."""
    far = reach(answers)
    if far is Reach.ALL:
        lasts = "until undone" if request.duration_s is None else "then it ends by itself"
        return [f"In force on {_names(answers)}, {lasts}. Undo: backstay changes undo {request.id}"]
    lacking = [one for one in answers if one.reply is not Reply.DONE]
    told = [f"{one.lb}: {one.detail}" for one in lacking]
    if far is Reach.NONE:
        return [*told, "It is in force on no load balancer."]
    return [
        *told,
        f"It reached only {_names([one for one in answers if one.reply is Reply.DONE])}, not {_names(lacking)}. "
        f"Finish it: backstay changes finish {request.id}   or undo it: backstay changes undo {request.id}",
    ]


def _no_scope(estate: Estate, request: ChangeRequest) -> str:
    """Why no load balancer is concerned."""
    from backstay.estate.select import pools_of_node

    if request.node not in estate.nodes:
        return f'"{request.node}" is no node of estate {estate.estate}. Nodes: {", ".join(estate.nodes)}.'
    pools = pools_of_node(estate, request.node)
    if not pools:
        return f"{request.node} serves in no pool. Pools: {', '.join(estate.pools) or 'none'}."
    if request.pool is not None and request.pool not in pools:
        return f"{request.node} does not serve in pool {request.pool}. It serves in: {', '.join(pools)}."
    return f"No service of any tier uses pool {request.pool or ', '.join(pools)}, so no load balancer carries it."


def _title(request: ChangeRequest) -> str:
    factor = "" if request.factor is None else f" {request.factor:g}"
    pool = "" if request.pool is None else f" in pool {request.pool}"
    return f"{request.kind.value} {request.node}{factor}{pool}"


def _names(answers: Sequence[Answer]) -> str:
    return ", ".join(answer.lb for answer in answers)
