"""One handler a route: parse, call, view. docs/agent.md lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from aiohttp import web

from backstay.agent.control.app import Trouble, answer, parse, read_json
from backstay.agent.control.ips import IpRoutes
from backstay.agent.control.metrics import CONTENT_TYPE, Metrics
from backstay.agent.control.views import Views
from backstay.agent.host.parse import EstateRefused
from backstay.agent.loops.changing import Changes
from backstay.agent.loops.estates import ApplyFailed, Estates, PlanStale
from backstay.agent.world import World
from backstay.balance.model import Applied
from backstay.balance.ports import ConfigRefused, EngineFailed
from backstay.change import (
    Change,
    ChangeError,
    ChangeInvalid,
    ChangeUnknown,
    Ended,
    Refused,
    parse_request,
    parse_undo,
    read_clock,
    verdict_json,
)
from backstay.journal.model import JournalError
from backstay.journal.wire import event_json
from backstay.link.views import AckBody, AppliedView, ApplyBody, ChangeAnswer, PlanBody, VerdictView

EVENTS_LIMIT = 1_000


class Routes:
    """The handlers, over what they need of the agent."""

    def __init__(
        self, world: World, views: Views, changes: Changes, estates: Estates, metrics: Metrics, ips: IpRoutes
    ) -> None:
        self._world = world
        self._ips = ips
        self._views = views
        self._changes = changes
        self._estates = estates
        self._metrics = metrics

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.healthz),
            web.get("/metrics", self.metrics),
            web.get("/v1/status", self.status),
            web.get("/v1/pools", self.pools),
            web.get("/v1/pools/{pool}", self.pool),
            web.get("/v1/pools/{pool}/explain", self.explain),
            web.get("/v1/pools/{pool}/signals", self.signals),
            web.get("/v1/plan", self.plan),
            web.post("/v1/plan", self.plan),
            web.post("/v1/apply", self.apply),
            web.get("/v1/changes", self.list_changes),
            web.post("/v1/changes", self.put_change),
            web.get("/v1/changes/{id}/proof", self.proof),
            web.post("/v1/changes/{id}/undo", self.undo),
            web.get("/v1/events", self.events),
            web.post("/v1/events/ack", self.ack),
            *self._ips.table(),
        ]

    # --- what is -------------------------------------------------------------------------------------------------

    async def healthz(self, request: web.Request) -> web.Response:
        faults = self._metrics.faults()
        if faults:
            raise Trouble(503, "; ".join(faults))
        return answer({"status": "ok"})

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def status(self, request: web.Request) -> web.Response:
        return answer(self._views.status())

    async def pools(self, request: web.Request) -> web.Response:
        return answer(self._views.pools())

    async def pool(self, request: web.Request) -> web.Response:
        return answer(self._views.pool(self._pool_of(request)))

    async def explain(self, request: web.Request) -> web.Response:
        return answer(self._views.explain(self._pool_of(request)))

    async def signals(self, request: web.Request) -> web.Response:
        view = self._views.signals(self._pool_of(request))
        if view is None:
            raise Trouble(503, "no window was closed yet. Ask again after a step of the rescaler.")
        return answer(view)

    async def events(self, request: web.Request) -> web.Response:
        limit = _number(request, "limit", EVENTS_LIMIT, EVENTS_LIMIT)
        with _not_now(JournalError):
            found = self._world.record.spool.read(request.query.get("after"), limit)
        return answer([event_json(event) for event in found])

    async def ack(self, request: web.Request) -> web.Response:
        body = await parse(request, AckBody)
        with _not_now(JournalError):
            self._world.record.spool.ack(body.through)
        return web.Response(status=204)

    # --- what shall be -------------------------------------------------------------------------------------------

    async def plan(self, request: web.Request) -> web.Response:
        text = (await parse(request, PlanBody)).estate if request.method == "POST" else None
        return answer(await _accepted(self._estates.plan(text)))

    async def apply(self, request: web.Request) -> web.Response:
        body = await parse(request, ApplyBody)
        work = self._estates.apply(body.estate, plan=body.plan, actor=body.actor, reason=body.reason)
        try:
            applied: Applied = await _accepted(work)
        except PlanStale as stale:
            raise Trouble(409, str(stale), code="stale_plan") from None
        except (ApplyFailed, OSError) as failed:
            raise Trouble(503, str(failed)) from None
        return answer(
            AppliedView(
                lb=self._world.lb,
                revision=applied.revision,
                how=applied.how.value,
                expected_resets=applied.expected_resets,
                took_s=round(applied.took_s, 4),
                detail=applied.detail,
            )
        )

    async def list_changes(self, request: web.Request) -> web.Response:
        return answer(self._views.changes())

    async def put_change(self, request: web.Request) -> web.Response:
        body = await read_json(request)
        if (
            not isinstance(body, dict)
            or body.keys() - {"change", "dry_run"}
            or not isinstance(body.get("dry_run", False), bool)
        ):
            raise Trouble(422, 'the body is {"change": {...}, "dry_run": false}. See docs/agent.md.')
        dry_run = body.get("dry_run", False)
        with _change_errors():
            change = parse_request(body.get("change")).to_change(read_clock())
            verdict = self._changes.weigh(change) if dry_run else self._changes.put(change)
        if isinstance(verdict, Refused) and not dry_run:
            status = 409 if verdict.overridable else 422
            raise Trouble(status, verdict.sentence, code=verdict.reason.value, figures=verdict.figures)
        known: Change | Ended = change if dry_run else self._world.book.get(change.id) or change
        found = ChangeAnswer(
            lb=self._world.lb,
            change=self._views.change(known),
            verdict=cast(VerdictView, verdict_json(verdict)),
            dry_run=dry_run,
        )
        return answer(found)

    async def undo(self, request: web.Request) -> web.Response:
        asked = await read_json(request)
        with _change_errors():
            body = parse_undo(asked)
            ended = self._changes.undo(request.match_info["id"], actor=body.actor, reason=body.reason)
        return answer(self._views.change(ended))

    async def proof(self, request: web.Request) -> web.Response:
        change_id = request.match_info["id"]
        if self._world.book.get(change_id) is None:
            raise Trouble(404, f"no change {change_id[:64]} on {self._world.lb}. What there is: backstay changes")
        return answer(self._views.proof(change_id))

    def _pool_of(self, request: web.Request) -> str:
        name = request.match_info["pool"]
        known = self._world.pools()
        if name not in known:
            raise Trouble(404, f"{self._world.lb} carries no pool {name[:64]}. Pools: {', '.join(known) or 'none'}.")
        return name


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise Trouble(422, f"{name} is a number from 1 to {most}.")
    return min(int(text), most)


async def _accepted(work: Awaitable[Any]) -> Any:
    """The outcome of a plan or an apply; a bad estate is 422 with every fault."""
    try:
        return await work
    except (EstateRefused, ConfigRefused) as refused:
        raise Trouble(422, str(refused), code="estate_refused") from None
    except EngineFailed as failed:
        raise Trouble(503, str(failed)) from None


@contextmanager
def _not_now(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise Trouble(503, str(error)) from None


@contextmanager
def _change_errors() -> Iterator[None]:
    """Errors of the change room as statuses."""
    try:
        yield
    except ChangeInvalid as error:
        raise Trouble(422, str(error), code="invalid") from None
    except ChangeUnknown as error:
        raise Trouble(404, str(error), code="unknown") from None
    except ChangeError as error:  # the book is full, or could not be saved
        raise Trouble(503, str(error)) from None
