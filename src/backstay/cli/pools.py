"""What the load balancers say of themselves and their pools, as reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backstay.change.rollout import worst
from backstay.cli.fleet import EXIT_OF, Fleet
from backstay.cli.output import Exit, Row
from backstay.cli.planning import complaints
from backstay.cli.report import Report

if TYPE_CHECKING:
    from backstay.cli.served.way import Site
    from backstay.link.views import ServerView, StatusView


async def status_report(site: Site, lbs: Sequence[str]) -> Report:
    """A row for each load balancer; exit code 3 when one that answered needs somebody."""
    async with Fleet(site, lbs) as fleet:
        views, answers = await fleet.ask(lambda agent: agent.status())
    code = EXIT_OF[worst(answers)]
    if code is Exit.DONE and any(_state(view) != "ok" for view in views.values()):
        code = Exit.FINDINGS
    data: list[dict[str, Any]] = [
        {"reached": True, **views[answer.lb]}
        if answer.lb in views
        else {"reached": False, "lb": answer.lb, "error": answer.detail}
        for answer in answers
    ]
    rows = [_status_row(answer.lb, views.get(answer.lb)) for answer in answers]
    notes = [f"{lb}: {view['error']}" for lb, view in views.items() if view["error"]]
    servers = {lb: view.get("server") for lb, view in views.items()}
    notes += [f"{lb}: {server['error']}" for lb, server in servers.items() if server and server["error"]]
    notes += [f"{lb}: {warning}" for lb, view in views.items() for warning in view["warnings"]]
    return Report(data=data, rows=rows, notes=[*complaints(answers), *notes], code=code)


def _state(view: StatusView) -> str:
    if not view["engine"]["running"]:
        return "ENGINE DOWN"
    if view["error"]:
        return "APPLY FAILED"
    return "ok" if view["in_sync"] else "NOT IN SYNC"


def _status_row(lb: str, view: StatusView | None) -> Row:
    if view is None:
        return {"lb": lb, "state": "NOT REACHED"}
    engine, server = view["engine"], view.get("server")  # an older agent says nothing of it
    return {
        "lb": lb,
        "tier": view["tier"],
        "state": _state(view),
        "engine": f"{engine['kind']} {engine['version']} ({engine['origin']})",
        "revision": view["revision"],
        "connections": engine["client_connections"],
        "active backends": ", ".join(f"{pool['pool']} {pool['active']}/{pool['backends']}" for pool in view["pools"]),
        "changes": view["changes"],
        "applied": view["applied_at"],
        "memory": f"{view['agent']['resident_mb']:.0f} MB",
        **({"server": _server(server)} if server is not None else {}),
    }


def _server(server: ServerView) -> str:
    """How the link stands, in a few words; why is among the notes."""
    since = f" since {server['since'][11:16]}" if server["since"] is not None else ""
    if not server["connected"]:
        return f"NOT FOLLOWED{since}, was at {server['revision']}"
    return f"follows {server['revision']}{since}" + (f", {server['refusals']} refused" if server["refusals"] else "")


async def list_report(site: Site, lbs: Sequence[str]) -> Report:
    """A row for each pool on each load balancer, pool by pool."""
    async with Fleet(site, lbs) as fleet:
        said, answers = await fleet.ask(lambda agent: agent.pools())
    data = [{"lb": lb, **view} for lb, views in said.items() for view in views]
    columns = ("pool", "lb", "protocol", "balance", "backends", "active", "draining", "down", "fail_open")
    rows = [{column: row[column] for column in columns} for row in data]
    rows.sort(key=lambda row: str(row["pool"]))
    return Report(data=data, rows=rows, notes=complaints(answers), code=EXIT_OF[worst(answers)])


async def show_report(site: Site, lbs: Sequence[str], pool: str) -> Report:
    """A row for each backend of the pool on each load balancer."""
    async with Fleet(site, lbs) as fleet:
        views, answers = await fleet.ask(lambda agent: agent.pool(pool))
    rows = [{"lb": lb, **member} for lb, view in views.items() for member in view["members"]]
    notes = [
        f"{lb}: {pool} fails open: every backend is down, the last set is kept serving."
        for lb, view in views.items()
        if view["fail_open"]
    ]
    data = [{"lb": lb, **view} for lb, view in views.items()]
    return Report(data=data, rows=rows, notes=[*complaints(answers), *notes], code=EXIT_OF[worst(answers)])


async def explain_report(site: Site, lbs: Sequence[str], pool: str) -> Report:
    """A row for each backend of the pool on each load balancer: what the rescaler's last step weighed and did."""
    async with Fleet(site, lbs) as fleet:
        views, answers = await fleet.ask(lambda agent: agent.explain(pool))
    rows = [{"lb": lb, **row} for lb, view in views.items() for row in view["rows"]]
    notes = complaints(answers)
    for lb, view in views.items():
        if view["at"] is None:
            notes.append(f"{lb}: no step yet: shares are as they were declared.")
        elif view["frozen"]:
            notes.append(f"{lb}: no share moved: {view['frozen']}")
    return Report(data=list(views.values()), rows=rows, notes=notes, code=EXIT_OF[worst(answers)])
