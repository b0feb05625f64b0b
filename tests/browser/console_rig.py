"""The console as people meet it: the real application under uvicorn, over a temporary SQLite, with synthetic agents.

    with Console(tmp_path, SERVERDENSITY) as console:
        console.add_user("alice", Role.ADMIN)
        browser.goto(console.url)

The agents follow what is desired within a fraction of a second, as real ones do, and report it. `console.scenes` moves
what they see: backends that are down, who holds an address, a suspicion.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from backstay.change import Change, ChangeKind
from backstay.estate import Estate
from backstay.journal import new_id
from backstay.journal.model import Event
from backstay.link.wire import OrderKind, OrderOutcome, Report
from backstay.server.access.registry import Registry
from backstay.server.app import create_app
from backstay.server.audit.shell import Auditing
from backstay.server.model import Role, ServerChange, ServerOrder
from backstay.server.settings import Settings
from backstay.server.shell import Server
from backstay.server.tasks import Tasks
from server_agents import report_for
from server_rig import adopt, enrol

T = TypeVar("T")

PASSWORD = "correct horse battery staple"
REPORT_EVERY_S = 0.4
START_S = 20.0


@dataclass
class Scenes:
    """What the synthetic agents see; tests move it."""

    silent: set[str] = field(default_factory=set)  # load balancers whose agents are away
    down: set[str] = field(default_factory=set)  # backends
    owners: dict[str, str] = field(default_factory=dict)  # global IP -> load balancer
    quarantined: dict[str, str] = field(default_factory=dict)  # load balancer -> since when
    suspicion: tuple[str, str] | None = None  # who suspected whom, of the first address


class Console:
    """`port`: where another one was before it, with the same `tmp_path`: it goes on with its database."""

    def __init__(self, tmp_path: Path, estate_text: str | None, port: int = 0) -> None:
        self.port = port
        self.scenes = Scenes()
        self._tmp_path = tmp_path
        self._estate_text = estate_text
        self._started = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    def __enter__(self) -> Console:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread.start()
        assert self._started.wait(START_S), "the server did not start"
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._web.should_exit = True
        self._thread.join(START_S)
        assert not self._thread.is_alive(), "the server did not end"

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def add_user(self, name: str, role: Role) -> None:
        registry = Registry(self.server.database)
        registry.add_user(name, role, actor="test", reason="a test")
        registry.set_password(name, PASSWORD, actor="test", reason="a test")

    def record(self, *events: Event) -> None:
        self.server.journal.append_many(list(events))

    # --- the process ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failed = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = Server.open(f"sqlite:///{self._tmp_path / 'console.db'}")
        settings = Settings(state_dir=self._tmp_path, base_url=self.url, port=self.port)
        try:
            if self._estate_text is not None and self.server.snapshot().adopted is None:
                await adopt(self.server, self._estate_text)
                estate = self.server.snapshot().estate
                assert estate is not None
                await enrol(self.server, *(lb for tier in estate.tiers.values() for lb in tier.members))
                await self._report_all()
            app = create_app(self.server, settings)
            self.auditing: Auditing = app.state.audit
            self._web = uvicorn.Server(
                uvicorn.Config(
                    app,
                    host="127.0.0.1",
                    port=self.port,
                    log_level="critical",
                    access_log=False,
                    timeout_graceful_shutdown=1,
                )
            )
            self._web.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
            agents = asyncio.create_task(self._agents())
            async with Tasks(self.server).running():
                ready = asyncio.create_task(self._tell_when_ready())
                await self._web.serve()
                ready.cancel()
                agents.cancel()
        finally:
            self.server.close()

    async def _tell_when_ready(self) -> None:
        while not self._web.started:
            await asyncio.sleep(0.01)
        self._started.set()

    # --- the agents -------------------------------------------------------------------------------------------------

    async def _agents(self) -> None:
        while True:
            before = self.server.snapshot()
            await self.server.wait(before.revision, REPORT_EVERY_S)
            await self._report_all()

    async def _report_all(self) -> None:
        snapshot = self.server.snapshot()
        if snapshot.estate is None:
            return
        for lb, record in snapshot.agents.items():
            if record.revoked_at is None and lb not in self.scenes.silent:
                await self.server.report(lb, self._report(snapshot.estate, lb))

    def _report(self, estate: Estate, lb: str) -> Report:
        snapshot, scenes = self.server.snapshot(), self.scenes
        orders = [self._carry_out(one) for one in snapshot.orders if one.lb == lb and one.outcome is None]
        since = scenes.quarantined.get(lb)
        report = report_for(
            estate,
            lb,
            revision=snapshot.revision,
            at=self.server.now(),
            changes=[_local(one) for one in snapshot.changes if one.kind is not ChangeKind.PARAMETER],
            orders=orders,
            down=scenes.down,
            owners=scenes.owners,
            quarantined=dict.fromkeys(estate.global_ips, since) if since else None,
        )
        if scenes.suspicion is not None and scenes.suspicion[0] == lb:
            _suspect(report, scenes.suspicion[1])
        return report

    def _carry_out(self, one: ServerOrder) -> OrderOutcome:
        order = one.order
        if order.kind is OrderKind.MOVE and order.to is not None:
            self.scenes.owners[order.ip] = order.to
        if order.kind is OrderKind.REARM:
            self.scenes.quarantined.pop(one.lb, None)
        return OrderOutcome(id=order.id, done=True, detail=f"{order.kind} carried out by {one.lb}")


def _local(change: ServerChange) -> Change:
    """As an agent keeps it."""
    return Change(
        id=change.id,
        kind=change.kind,
        node=change.node,
        pool=change.pool,
        factor=change.factor,
        actor=change.actor,
        reason=change.reason,
        created_at=change.created_at,
        forced=change.forced,
    )


def _suspect(report: Report, of: str) -> None:
    """Give the report the trace of a suspicion that convinced: a host that fell silent."""
    for ip in report.ips:
        steps = [0.1 * step for step in range(1, 25)]
        ip["trace"] = [
            {
                "of": of,
                "ago_s": round(62.4 - step, 2),
                "death": "host",
                "silent_s": step,
                "patience_s": 1.2,
                "log_likelihood": round(16.0 * (1.0 - math.exp(-step)), 2),
                "threshold": 11.5,
                "packet_loss": 0.0001,
                "misses": {"icmp": int(step * 20), "http": int(step * 10)},
                "answers": {},
                "convincing": step > 1.3,
            }
            for step in steps
        ]
        for candidate in ip["candidates_seen"]:
            if candidate["lb"] == of:
                for probe in candidate["probes"]:
                    probe["strip"] = [*probe["strip"][:45], *([t, "timed_out"] for t, _ in probe["strip"][45:])]
                    probe["outcome"], probe["detail"] = "timed_out", "no answer within 0.25 s"


def event(kind: str, subject: str, reason: str, *, actor: str = "agent/lb1", **more: Any) -> Event:
    """An event of now, as an agent delivers it."""
    from datetime import UTC, datetime

    return Event(id=new_id(), time=datetime.now(UTC), kind=kind, subject=subject, actor=actor, reason=reason, **more)
