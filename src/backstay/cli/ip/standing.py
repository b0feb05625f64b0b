"""What the candidates of a global IP say, as reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backstay.change.rollout import worst
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.output import Exit, Row
from backstay.cli.planning import complaints
from backstay.cli.report import Report

if TYPE_CHECKING:
    from backstay.cli.served.way import Site
    from backstay.link.views import EventView, IpView

FINE = {"active", "watching"}


async def list_report(site: Site) -> Report:
    """A row an address; exit code 3 when one needs a person."""
    ips = site.estate.global_ips
    lbs = list(dict.fromkeys(lb for declared in ips.values() for lb in declared.candidates))
    async with Fleet(site, lbs) as fleet:
        said, answers = await fleet.ask(lambda agent: agent.ips())
    views = {name: {lb: view for lb, all_ in said.items() for view in all_ if view["ip"] == name} for name in ips}
    rows = [
        {
            "ip": name,
            "address": str(declared.address),
            "holder": holder_in(views[name]),
            "candidates": ", ".join(f"{lb} {_word(views[name].get(lb))}" for lb in declared.candidates),
        }
        for name, declared in ips.items()
    ]
    return Report(data=rows, rows=rows, notes=complaints(answers), code=_code(views, EXIT_OF[worst(answers)]))


async def show_report(site: Site, name: str) -> Report:
    """A row a candidate."""
    candidates = site.estate.global_ips[name].candidates
    async with Fleet(site, candidates) as fleet:
        views, answers = await fleet.ask(lambda agent: agent.ip(name))
    rows = [_row(lb, views.get(lb)) for lb in candidates]
    notes = [f"{lb}: the provider: {view['owner_error']}" for lb, view in views.items() if view["owner_error"]]
    notes += [f"{lb}: not on disk, only in memory" for lb, view in views.items() if not view["on_disk"]]
    data = [dict(view) for view in views.values()]
    code = _code({name: views}, EXIT_OF[worst(answers)])
    return Report(data=data, rows=rows, notes=[*complaints(answers), *notes], code=code)


async def history_report(site: Site, name: str, limit: int) -> Report:
    """The events of all candidates, merged by their ids, which are in the order of time."""
    candidates = site.estate.global_ips[name].candidates
    async with Fleet(site, candidates) as fleet:
        said, answers = await fleet.ask(lambda agent: agent.ip_history(name))
    events: list[EventView] = sorted((event for one in said.values() for event in one), key=lambda event: event["id"])
    rows: list[Row] = [
        {"time": event["time"][:23], "who": event["actor"], "what": event["kind"], "reason": event["reason"]}
        for event in events[-limit:]
    ]
    return Report(
        data=[dict(event) for event in events[-limit:]],
        rows=rows,
        notes=complaints(answers),
        code=EXIT_OF[worst(answers)],
    )


def holder_in(views: Mapping[str, IpView]) -> str | None:
    """Who holds it, by the newest word of the provider that any candidate has."""
    known = [view for view in views.values() if view["owner_known"]]
    newest = max(known, key=lambda view: view["owner_at"] or "", default=None)
    return newest["owner"] if newest else None


def _code(views: Mapping[str, Mapping[str, Any]], code: Exit) -> Exit:
    needs = any(view["state"] not in FINE or view["owner_error"] for one in views.values() for view in one.values())
    return Exit.FINDINGS if code is Exit.DONE and needs else code


def _word(view: IpView | None) -> str:
    return "(not reached)" if view is None else f"({view['state']})"


def _row(lb: str, view: IpView | None) -> Row:
    if view is None:
        return {"lb": lb, "state": "NOT REACHED"}
    frozen = view["frozen_for_s"]
    return {
        "lb": lb,
        "state": view["state"],
        "reason": view["reason"],
        "holder": view["owner"] if view["owner_known"] else "unknown",
        "as of": (view["owner_at"] or "")[:19],
        "took it": "yes" if view["took"] else "",
        "quarantined since": (view["quarantined"] or "")[:19],
        "frozen for": f"{frozen:.0f} s" if frozen is not None else "",
        "verified": view["verified"],
    }
