"""Plans of all load balancers, the file that keeps them, and their application one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstay.change.rollout import Answer, Reply, worst
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.output import Exit, Format
from backstay.cli.report import Report
from backstay.estate.files import Unreadable, read_bytes
from backstay.estate.select import load_balancers

if TYPE_CHECKING:
    from backstay.cli.fleet import LoadBalancer
    from backstay.cli.served.way import Site
    from backstay.link.views import AppliedView, PlanView

PLAN_LIMIT_BYTES = 1_000_000


class NoPlan(Exception):
    """The file is no plan: why, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What `plan --out` wrote: of which estate, and each load balancer's digest."""

    file: Path
    estate_sha256: str
    digests: Mapping[str, str]


def estate_sha256(site: Site) -> str:
    return hashlib.sha256(site.text.encode()).hexdigest()


def write_plan(path: Path, site: Site, views: Mapping[str, PlanView]) -> None:
    """Keep the plans' digests. Raises OSError."""
    content = {
        "estate_sha256": estate_sha256(site),
        "digests": {lb: view["digest"] for lb, view in views.items()},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_plan(path: Path) -> Agreed:
    """Raises NoPlan."""
    again = f"`backstay plan --out {path}` writes one."
    try:
        content = json.loads(read_bytes(path, PLAN_LIMIT_BYTES))
        digests = {str(lb): str(digest) for lb, digest in content["digests"].items()}
        return Agreed(file=path, estate_sha256=str(content["estate_sha256"]), digests=digests)
    except Unreadable as unreadable:
        raise NoPlan(f"{path}: {unreadable} {again}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NoPlan(f"{path}: this is no plan. {again}") from None


async def plan_all(site: Site, lbs: Sequence[str]) -> tuple[dict[str, PlanView], list[Answer]]:
    """Every load balancer's plan, in order, and what became of those that gave none."""
    async with Fleet(site, lbs) as fleet:
        return await fleet.ask(lambda agent: agent.plan(site.text))


def plan_report(views: Mapping[str, PlanView], answers: Sequence[Answer], output: Format) -> Report:
    """All plans as data, or as text for people; exit code 3 when there are changes and all answered."""
    code = EXIT_OF[worst(answers)]
    if code is Exit.DONE and not all(view["in_sync"] for view in views.values()):
        code = Exit.FINDINGS
    data: Any = list(views.values())
    if output is Format.TABLE:
        data = in_words(views) if views else None
    return Report(data=data, notes=complaints(answers), code=code)


def complaints(answers: Sequence[Answer]) -> list[str]:
    """A line for each load balancer that did not do what was asked."""
    return [f"{answer.lb}: {answer.detail}" for answer in answers if answer.reply is not Reply.DONE]


def in_words(views: Mapping[str, PlanView]) -> str:
    """The plans as text; load balancers with the same plan are told together: a tier's often are."""
    same: dict[str, list[str]] = {}
    for lb, view in views.items():
        same.setdefault(_plan_text(view), []).append(lb)
    return "\n\n".join(f"{', '.join(lbs)}: {text}" for text, lbs in same.items())


def _plan_text(view: PlanView) -> str:
    if view["in_sync"]:
        return "nothing to alter"
    resets = view["expected_resets"]
    price = "" if resets is None else f", {resets} client connection{'s' * (resets != 1)} expected to be reset"
    lines = [f"{view['how']}{price}"]
    lines += [f"  {words}" for words in view["words"]]
    if view["diff"]:
        lines.append(view["diff"].rstrip("\n"))
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """May it be applied? `stop` says why not; else `digests` are what to apply, load balancer by load balancer."""

    stop: Report | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    changes: str = ""  # in words; empty when nothing would alter
    unreached: Sequence[Answer] = ()

    @property
    def code(self) -> Exit:
        return Exit.UNREACHABLE if self.unreached else Exit.DONE


async def weigh(site: Site, lbs: Sequence[str], agreed: Agreed | None) -> Weighed:
    """Plan anew on all, and hold it against what was agreed to. One that fails, or is stale, stops it for all."""
    if agreed is not None and agreed.estate_sha256 != estate_sha256(site):
        what = f"{site.name} changed since {agreed.file}. Run `backstay plan --out {agreed.file}` again."
        return Weighed(stop=Report(data=None, notes=[what], code=Exit.REFUSED))
    views, answers = await plan_all(site, lbs)
    broken = [answer for answer in answers if answer.reply in (Reply.FAILED, Reply.REFUSED)]
    if broken or not views:
        notes = [*complaints(answers), "Nothing was applied."]
        return Weighed(stop=Report(data=None, notes=notes, code=EXIT_OF[worst(broken or answers)]))
    stale = [lb for lb, view in views.items() if agreed is not None and view["digest"] != agreed.digests[lb]]
    if stale and agreed is not None:
        what = f"{', '.join(stale)}: changed since the plan. Nothing was applied."
        notes = [*complaints(answers), what, f"Run `backstay plan --out {agreed.file}` again."]
        return Weighed(stop=Report(data=None, notes=notes, code=Exit.REFUSED))
    return Weighed(
        digests={lb: view["digest"] for lb, view in views.items()},
        changes="" if all(view["in_sync"] for view in views.values()) else in_words(views),
        unreached=[answer for answer in answers if answer.reply is Reply.UNREACHABLE],
    )


async def apply_all(site: Site, weighed: Weighed, *, actor: str, reason: str) -> Report:
    """Apply what was weighed, one load balancer after the other; the first that refuses or fails ends the round."""

    async def apply(agent: LoadBalancer) -> AppliedView:
        return await agent.apply(site.text, plan=weighed.digests[agent.lb], actor=actor, reason=reason)

    answers = list(weighed.unreached)
    done: dict[str, AppliedView] = {}
    async with Fleet(site, tuple(weighed.digests)) as fleet:
        for lb in weighed.digests:
            said, given = await fleet.ask(apply, [lb])
            done |= said
            answers += given
            if given[0].reply in (Reply.FAILED, Reply.REFUSED):
                break
    untried = [lb for lb in weighed.digests if lb not in {answer.lb for answer in answers}]
    notes = complaints(answers)
    if untried:
        notes.append(f"Not tried after that: {', '.join(untried)}. They run what they ran before.")
    if weighed.unreached and done:
        notes.append(f"Only some have it: {', '.join(done)}. Run `backstay apply` again when the others are back.")
    rows = [_row(answer, done.get(answer.lb)) for answer in answers]
    rows += [{"lb": lb, "result": "not tried"} for lb in untried]
    order = load_balancers(site.estate)
    rows.sort(key=lambda row: order.index(row["lb"]))
    return Report(data=rows, notes=notes, code=EXIT_OF[worst(answers)])


def _row(answer: Answer, view: AppliedView | None) -> dict[str, Any]:
    if view is None:
        return {"lb": answer.lb, "result": answer.reply.value, "detail": answer.detail}
    return {
        "lb": answer.lb,
        "result": "applied",
        "how": view["how"],
        "expected_resets": view["expected_resets"],
        "took_s": view["took_s"],
        "revision": view["revision"],
        "detail": view["detail"],
    }
