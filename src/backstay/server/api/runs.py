"""/api/v1/runs: run now. Begin one, follow it, read what a node's command printed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from typing_extensions import TypedDict

from backstay.journal.wire import format_time
from backstay.server.access.answers import once_by_key
from backstay.server.access.depends import AskedId, Operator, TheServer, Viewer
from backstay.server.api.common import After, Id, Key, Limit, Name, Reason, time_or_none, unknown
from backstay.server.problem import Problem
from backstay.server.runs.judge import sentence
from backstay.server.runs.model import NodeRun, Run, RunRefused
from backstay.server.runs.shell import Runs

router = APIRouter(prefix="/api/v1", tags=["runs"])


async def _runs(request: Request) -> Runs:
    runs = request.app.state.runs
    assert isinstance(runs, Runs)
    return runs


TheRuns = Annotated[Runs, Depends(_runs)]


class RunBody(Reason):
    """The command of the settings, on every node that `selector` means."""

    selector: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="node/NAME, nodes/GLOB, zone/NAME, region/NAME, cluster/NAME or path/NAME.",
            examples=["node/web2", "cluster/web"],
        ),
    ]


class NodeRunView(TypedDict):
    node: str
    state: str  # waiting, running; unchanged, changed, failed, timeout, unreachable, lost
    exit_code: int | None
    error: str
    started_at: str | None
    ended_at: str | None


class RunSummary(TypedDict):
    id: str
    selector: str
    command: str
    actor: str
    reason: str
    at: str
    ended_at: str | None  # null: under way
    sentence: str
    event: str  # the journal's


class RunView(RunSummary):
    nodes: list[NodeRunView]


class RunPage(TypedDict):
    items: list[RunSummary]  # newest first
    next: str | None


class OutputView(TypedDict):
    text: str  # so far; without control codes
    left_out: int  # characters that were too many


@router.post("/runs", status_code=201, summary="Run Puppet (or what the settings say) on some nodes, now.")
@once_by_key
async def begin_run(
    principal: Operator, server: TheServer, runs: TheRuns, key: Key, id: AskedId, body: RunBody
) -> RunView:
    try:
        run = await runs.begin(id, body.selector, body.reason, principal)
    except RunRefused as refused:
        raise Problem(422 if refused.code == "invalid" else 409, refused.code, str(refused)) from None
    return _view(run)


@router.get("/runs", summary="Runs, newest first.")
async def list_runs(
    principal: Viewer, server: TheServer, runs: TheRuns, limit: Limit = 100, after: After = None
) -> RunPage:
    found = await server.call(runs.store.newest, limit + 1, after)
    items = [_summary(run) for run in found[:limit]]
    return RunPage(items=items, next=items[-1]["id"] if len(found) > limit else None)


@router.get("/runs/{id}", summary="One run, node by node.")
async def show_run(principal: Viewer, server: TheServer, runs: TheRuns, id: Id) -> RunView:
    return _view(await find(server, runs, id))


@router.get("/runs/{id}/nodes/{node}/output", summary="What a node's command printed, so far.")
async def show_output(principal: Operator, server: TheServer, runs: TheRuns, id: Id, node: Name) -> OutputView:
    """Differences of files are in it, so that it is not for everybody who may look."""
    run = await find(server, runs, id)
    names = [each.node for each in run.nodes]
    if node not in names:
        raise unknown("node in this run", node, names)
    printed = await server.call(runs.store.printed, id, node)
    return OutputView(text=printed.text, left_out=printed.left_out)


async def find(server: TheServer, runs: Runs, id: str) -> Run:
    run = await server.call(runs.store.find, id)
    if run is None:
        raise Problem(404, "unknown", f"No run {id[:64]} here. What there is: /api/v1/runs")
    return run


def _summary(run: Run) -> RunSummary:
    return RunSummary(
        id=run.id,
        selector=run.selector,
        command=run.command,
        actor=run.actor,
        reason=run.reason,
        at=format_time(run.at),
        ended_at=time_or_none(run.ended_at),
        sentence=sentence(run),
        event=run.event,
    )


def _view(run: Run) -> RunView:
    return RunView(**_summary(run), nodes=[_node(each) for each in run.nodes])


def _node(each: NodeRun) -> NodeRunView:
    return NodeRunView(
        node=each.node,
        state=each.state.value,
        exit_code=each.exit_code,
        error=each.error,
        started_at=time_or_none(each.started_at),
        ended_at=time_or_none(each.ended_at),
    )
