"""What people ask of the candidates of a global IP, reported load balancer by load balancer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstay.change.rollout import Answer, worst
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.ip.standing import holder_in
from backstay.cli.output import Row
from backstay.cli.planning import complaints
from backstay.cli.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backstay.cli.served.way import Site
    from backstay.link.views import IpView


async def move_report(site: Site, name: str, to: str, actor: str, reason: str) -> Report:
    """The others are told first, so that nobody takes it for a loss; then the target takes it.

    A candidate whose agent is not reached is told nothing: it quarantines itself when it held the address, and the
    report says so.
    """
    candidates = site.estate.global_ips[name].candidates
    async with Fleet(site, candidates) as fleet:
        views, _ = await fleet.ask(lambda agent: agent.ip(name))
        holder = holder_in(views)
        others = [lb for lb in candidates if lb != to]
        _, told = await fleet.ask(
            lambda agent: agent.expect_move(name, to=to, actor=actor, reason=reason), lbs=others
        )  # fmt: skip
        moved, answers = await fleet.ask(lambda agent: agent.move_ip(name, actor=actor, reason=reason), lbs=[to])
    notes = [*complaints(answers), *complaints(told)]
    if any(answer.lb == holder and answer.detail for answer in told):
        notes.append(f"{holder} was not told: it will be quarantined. Then: backstay ip rearm {name} {holder}")
    rows = [{"ip": name, "from": holder, "to": to, "holder": view["owner"]} for view in moved.values()]
    return Report(data=rows, rows=rows, notes=notes, code=EXIT_OF[worst(answers)])


async def rearm_report(site: Site, name: str, lb: str, actor: str, reason: str, *, false_alarm: bool = False) -> Report:
    async with Fleet(site, [lb]) as fleet:
        views, answers = await fleet.ask(
            lambda agent: agent.rearm_ip(name, actor=actor, reason=reason, false_alarm=false_alarm)
        )
    return _standing(views, answers)


async def freeze_report(site: Site, name: str, for_s: float, actor: str, reason: str) -> Report:
    candidates = site.estate.global_ips[name].candidates
    async with Fleet(site, candidates) as fleet:
        views, answers = await fleet.ask(
            lambda agent: agent.freeze_ip(name, for_s=for_s, actor=actor, reason=reason)
        )  # fmt: skip
    return _standing(views, answers)


def _standing(views: Mapping[str, IpView], answers: list[Answer]) -> Report:
    rows: list[Row] = [
        {
            "lb": lb,
            "quarantined": "yes" if view["quarantined"] else "no",
            "took it": "yes" if view["took"] else "no",
            "frozen for": "" if view["frozen_for_s"] is None else f"{view['frozen_for_s']:.0f} s",
        }
        for lb, view in views.items()
    ]
    return Report(
        data=[dict(view) for view in views.values()],
        rows=rows,
        notes=complaints(answers),
        code=EXIT_OF[worst(answers)],
    )
