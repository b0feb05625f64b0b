"""What Backstay adds to an engine's own check: planning (`desired`) and rendering 500 pools of 20 backends.

./run bench render [--short]
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import MappingProxyType

from backstay.balance.desired import View, desired
from backstay.balance.engines.binary import candidates, load_engine
from backstay.balance.engines.process import run
from backstay.balance.model import Desired, EngineVersion
from backstay.balance.ports import Engine
from backstay.estate.model import EngineKind, Estate
from benches.harness import Bench

POOLS = (50, 500)
BACKENDS = 20
GROWTH_LIMIT = 1.2  # exponent of time over size: 1.0 is linear


def estate_of(kind: EngineKind, pools: int) -> Estate:
    """One tier and `pools` clusters of 20 nodes, each with a host name, a pool and a check of its own."""
    nodes = {"lb1": {"zone": "z", "address": "10.0.0.1"}}
    clusters, services, described = {}, {}, {}
    for number in range(pools):
        names = [f"n{number}-{member}" for member in range(BACKENDS)]
        for member, name in enumerate(names, start=2):
            nodes[name] = {"zone": "z", "address": f"10.{1 + number // 250}.{number % 250}.{member}"}
        clusters[f"c{number}"] = {"members": names}
        route = {"path": "/", "pool": f"p{number}"}
        services[f"s{number}"] = {"hostnames": [f"s{number}.example.com"], "http_port": 18_080, "routes": [route]}
        described[f"p{number}"] = {"cluster": f"c{number}", "port": 8000, "check": {"path": "/healthz", "port": 8001}}
    return Estate.model_validate(
        {
            "estate": "bench",
            "regions": {"r": {"zones": {"z": {}}}},
            "nodes": nodes,
            "clusters": clusters,
            "tiers": {"edge": {"engine": kind.value, "members": ["lb1"]}},
            "services": services,
            "pools": described,
        }
    )


async def seconds(rounds: int, work: Callable[[], Awaitable[object]]) -> float:
    """The least time of `work`: what it takes when nothing else wants the processor."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - began)
    return min(taken)


async def measure(bench: Bench, version: EngineVersion, pools: int) -> None:
    """Plan, render and check `pools` pools; and the engine's own check of the same files by itself."""
    rounds = 4 if bench.short else 15
    estate = estate_of(version.kind, pools)
    view, folder = View(), Path(tempfile.mkdtemp(prefix="backstay-bench-"))
    engine: Engine = load_engine(version.kind)(folder / "engine", version)

    def plan() -> Desired:
        return desired(estate, "lb1", view, MappingProxyType({}))

    async def plan_again() -> None:
        plan()

    async def render_again() -> None:
        engine.render(wanted)

    async def whole() -> None:
        await engine.check(plan())

    async def engine_alone() -> None:
        ran = await run(argv, cwd=folder, timeout_s=120)
        assert ran.code == 0, ran.output

    wanted = plan()
    for path, text in engine.render(wanted).items():
        (folder / path).write_text(text)
    for name in ("run", "log", "temp"):  # nginx -t opens its logs
        (folder / name).mkdir()
    argv: tuple[str, ...] = (version.binary, "-c", "-f", "haproxy.cfg")
    if version.kind is EngineKind.NGINX:
        (folder / "generation.conf").touch()
        argv = (version.binary, "-t", "-q", "-p", "./", "-c", "nginx.conf")
    try:
        bench.record(
            str(version.kind),
            subject(pools),
            backends=pools * BACKENDS,
            plan_ms=1e3 * await seconds(rounds, plan_again),
            render_ms=1e3 * await seconds(rounds, render_again),
            whole_check_ms=1e3 * await seconds(rounds, whole),
            engine_alone_ms=1e3 * await seconds(rounds, engine_alone),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def subject(pools: int) -> str:
    return f"{pools} pools x {BACKENDS}"


async def _engine(bench: Bench, kind: EngineKind) -> None:
    usable = candidates(kind)
    if not usable:
        bench.note(f"No {kind} on this machine: its rows are missing.")
        return
    version = max(usable, key=lambda one: one.version)
    bench.version(str(kind), ".".join(str(part) for part in version.version))
    for pools in POOLS:
        await measure(bench, version, pools)
    judge(bench, str(kind))


def judge(bench: Bench, case: str) -> None:
    """Growth from the small to the large size, and our part of a check beside the engine's."""
    small, large = (subject(pools) for pools in POOLS)
    for figure in ("plan_ms", "render_ms", "whole_check_ms"):
        grown = bench.ratio(case, figure, large, small)
        exponent = math.log(grown) / math.log(POOLS[1] / POOLS[0])
        goal = f"{figure} grows near linearly (exponent at most {GROWTH_LIMIT})"
        bench.check(
            case, goal, met=exponent <= GROWTH_LIMIT, measured=f"{grown:.1f} times for 10, exponent {exponent:.2f}"
        )
    ours = bench.value(case, large, "whole_check_ms") - bench.value(case, large, "engine_alone_ms")
    share = ours / bench.value(case, large, "engine_alone_ms")
    bench.record(case, large, ours_to_engine=share)


async def nginx(bench: Bench) -> None:
    """Plan, render and `nginx -t` in a scratch folder; beside it `nginx -t` alone on the same file."""
    await _engine(bench, EngineKind.NGINX)


async def haproxy(bench: Bench) -> None:
    """Plan, render and `haproxy -c` in a scratch folder; beside it `haproxy -c` alone on the same files."""
    await _engine(bench, EngineKind.HAPROXY)


if __name__ == "__main__":
    cases = {"nginx": nginx, "haproxy": haproxy}
    sys.exit(Bench("render", "plan, render and check a large estate", cases=cases).run())
