"""`./run bench server`: from a change to the last of 1,000 agents that hears of it; what the server needs; page times.

The server is `backstay server run` with TLS. The agents are simulated by one process over TLS as well, with a report
each as the real agent's code makes it; it shares the machine's cores with the server, and its own work is in the times.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastapi import APIRouter

from benches.harness import Bench, quantile
from benches.server_world import NoPostgres, World, agents_of, enrol, reports_of, world

KINDS = ("SQLite", "PostgreSQL")
TOLD_GOAL_S = 1.0
PAGE_GOAL_S = 0.1
REST_S = 22.0
BETWEEN_CHANGES_S = 2.0  # each finds all agents at rest again; of changes that follow at once, agents hear together
HEARD_S = 60.0
LEFT_OUT = ("/api/", "/static/", "/login", "/logout", "/welcome", "/healthz")


def sizes(bench: Bench) -> tuple[int, ...]:
    return (100,) if bench.short else (100, 300, 1_000)


@asynccontextmanager
async def with_agents(kind: str, size: int) -> AsyncIterator[tuple[World, asyncio.StreamReader]]:
    """A server with that many backends and load balancers, whose agents all wait and have all reported once."""
    async with world(kind, size) as found:
        reports = reports_of(size)
        agents = enrol(found.made, list(reports), reports)
        async with agents_of(found, agents) as said:
            yield found, said


async def agents(bench: Bench) -> None:
    """100, 300 and 1,000 agents hold long polls (TLS, one connection each) and report. From the moment at which a
    change is asked for until the agents have it; CPU and memory of the server while nothing changes. One agent's
    report stands for those of its tier."""
    for kind in KINDS:
        for size in sizes(bench):
            subject = f"{kind}, {size:,} agents"
            try:
                async with with_agents(kind, size) as (found, said):
                    await _measure(bench, subject, size, found, said)
            except NoPostgres as reason:
                bench.note(f"{subject}: not measured, no PostgreSQL: {reason}")
    largest = f"{sizes(bench)[-1]:,}"
    for kind in KINDS:
        name = f"{kind}, {largest} agents"
        found_s = bench.value("agents", name, "told_ms_p99") / 1e3
        bench.check("agents", f"{name}: 99% told within 1 s", met=found_s < TOLD_GOAL_S, measured=f"{found_s:.3f} s")
    for kind in KINDS:
        first, last = sizes(bench)[0], sizes(bench)[-1]
        if first != last:
            for figure in ("told_ms_p99", "resident_mb", "cpu_percent_at_rest"):
                bench.ratio("agents", figure, f"{kind}, {last:,} agents", f"{kind}, {first:,} agents")


async def _measure(bench: Bench, subject: str, size: int, found: World, said: asyncio.StreamReader) -> None:
    rest_s = 10.0 if bench.short else REST_S
    await asyncio.sleep(rest_s)  # every agent has reported once: memory is as it stays
    cpu_began = found.cpu_s()
    await asyncio.sleep(rest_s)
    cpu_percent = (found.cpu_s() - cpu_began) / rest_s * 100
    changes = 5 if bench.short else 20
    told: list[float] = []
    last: list[float] = []
    clicks: list[float] = []
    faults = 0
    cpu_began = found.cpu_s()
    for number in range(changes):
        revision, began, took_s = await found.put(f"web{number * (size // changes)}")
        clicks.append(took_s)
        while True:
            line = json.loads(await asyncio.wait_for(said.readline(), HEARD_S))
            if line.get("revision") == revision:
                break
        faults = line["faults"]
        times = [at - began for at in line["times"]]
        told += times
        last.append(max(times))
        await asyncio.sleep(BETWEEN_CHANGES_S)
    bench.record(
        "agents",
        subject,
        changes=changes,
        cpu_ms_per_change=(found.cpu_s() - cpu_began) / changes * 1e3,
        told_ms_p50=quantile(told, 0.5) * 1e3,
        told_ms_p99=quantile(told, 0.99) * 1e3,
        last_told_ms_p50=quantile(last, 0.5) * 1e3,
        last_told_ms_max=max(last) * 1e3,
        answer_ms_p50=quantile(clicks, 0.5) * 1e3,
        cpu_percent_at_rest=cpu_percent,
        resident_mb=found.resident_mb(),
        faults=faults,
    )


async def pages(bench: Bench) -> None:
    """Every page of the console that the program has, with 1,000 backends, 1,000 load balancers and their agents, asked
    one after the other by a browser that is logged in (TLS, loopback: a little more than the server's own time)."""
    size = sizes(bench)[-1]
    rounds = 5 if bench.short else 21
    for kind in KINDS:
        try:
            async with with_agents(kind, size) as (found, _):
                await asyncio.sleep(10.0 if bench.short else REST_S)
                await _measure_pages(bench, kind, found, rounds)
        except NoPostgres as reason:
            bench.note(f"{kind}: not measured, no PostgreSQL: {reason}")


async def _measure_pages(bench: Bench, kind: str, found: World, rounds: int) -> None:
    slow: list[str] = []
    for number in range(10):
        await found.put(f"web{number}")
    for path in await page_paths(found):
        cpu_began = found.cpu_s()
        answers = [await found.page(path) for _ in range(rounds)]
        cpu_s = (found.cpu_s() - cpu_began) / rounds
        status, size, _ = answers[-1]
        if status != 200:
            bench.note(f"{kind}: {path} answered {status}")
            continue
        times = [took_s for _, _, took_s in answers[1:]]  # the first one compiles the template
        bench.record(
            "pages",
            f"{kind}: {_template(path)}",
            ms_p50=quantile(times, 0.5) * 1e3,
            ms_p95=quantile(times, 0.95) * 1e3,
            cpu_ms=cpu_s * 1e3,
            kb=size / 1024,
        )
        if quantile(times, 0.5) >= PAGE_GOAL_S:
            slow.append(path)
    bench.check(
        "pages", f"{kind}: each page under 100 ms at the median", met=not slow, measured=", ".join(slow) or "all"
    )


async def page_paths(found: World) -> list[str]:
    """An address of each GET route that is a page, from the application's own list."""
    from backstay.server.app import routers

    headers = {"Authorization": f"Bearer {found.token}"}
    async with found.session.get(f"{found.url}/api/v1/changes", headers=headers) as response:
        change = (await response.json())["items"][0]
    given = {"node": "web0", "pool": "p0", "ip": "ip0", "lb": "lb0", "batch": change["batch"], "id": change["id"]}
    given |= {"event_id": change["event"], "cluster": "web-0", "tier": "t0", "zone": "z0", "region": "r0"}
    paths: list[str] = []
    for router in routers():
        for path in _get_paths(router):
            if path.startswith(LEFT_OUT):
                continue
            filled = re.sub(r"{(\w+)(:\w+)?}", lambda match: given.get(match[1], match[0]), path)
            if "{" not in filled:
                paths.append(filled)
    return list(dict.fromkeys(paths))


def _get_paths(router: APIRouter) -> Iterator[str]:
    """Of its own routes, and of those that it includes."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _get_paths(inner)
        elif "GET" in (getattr(route, "methods", None) or ()):
            yield str(getattr(route, "path", ""))


def _template(path: str) -> str:
    """Ids are long, and new in each run."""
    return re.sub(r"/[0-9A-Z]{26}", "/ID", path)


if __name__ == "__main__":
    bench = Bench(
        "server",
        "from a change to the last of 1,000 agents, and page times",
        cases={"agents": agents, "pages": pages},
        libraries=("fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "psycopg"),
    )
    sys.exit(bench.run())
