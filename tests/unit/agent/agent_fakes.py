"""An engine without a process, and a World over it in a test's folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from backstay.agent.host.adoption import Adoption
from backstay.agent.host.certificates import Certificates
from backstay.agent.host.parse import parse_here
from backstay.agent.paths import StateFiles
from backstay.agent.record import Recorder
from backstay.agent.world import World
from backstay.balance.model import (
    Applied,
    BackendState,
    BackendStats,
    Capabilities,
    Desired,
    EngineStats,
    EngineVersion,
    Files,
    How,
    Sample,
)
from backstay.balance.ports import EngineFailed
from backstay.change import ChangeBook, ChangeStore
from backstay.estate.model import EngineKind
from backstay.journal import Spool

ESTATE = """
estate: small
regions: {r: {zones: {z: {}}}}
nodes:
  lb1: {zone: z, address: 127.0.0.1}
  web1: {zone: z, address: 127.0.0.11}
  web2: {zone: z, address: 127.0.0.12}
  web3: {zone: z, address: 127.0.0.13}
clusters: {web: {members: "web*", spare: 1}}
tiers: {t: {engine: nginx, members: [lb1]}}
services: {app: {hostnames: [app.example.com], routes: [{path: /, pool: web}]}}
pools: {web: {cluster: web, port: 8000, slow_start_s: 0, rescale: {every_s: 1}, check: {path: /healthz, port: 8001}}}
"""


class FakeEngine:
    """Takes what it is given, until a test says otherwise."""

    def __init__(self, kind: EngineKind = EngineKind.NGINX) -> None:
        self.kind = kind
        self.up = False
        self.refuses: Exception | None = None  # what check and apply raise
        self.fails: Exception | None = None  # what apply alone raises
        self.applied: list[Desired] = []
        self.ended: list[Sample] = []
        self.in_flight = 0

    def capabilities(self) -> Capabilities:
        haproxy = self.kind is EngineKind.HAPROXY
        version = EngineVersion(kind=self.kind, binary="/fake", version=(1, 31, 0), origin="system")
        return Capabilities(
            version=version,
            least_time=True,
            keepalive_min_timeout=True,
            runtime_changes=haproxy,
            active_checks=haproxy,
            slow_start=haproxy,
            uwsgi=True,
            fastcgi=True,
            http2=True,
            tcp=True,
        )

    def render(self, desired: Desired) -> Files:
        return {"fake.conf": "".join(f"{pool.name}: {[b.name for b in pool.backends]}\n" for pool in desired.pools)}

    async def check(self, desired: Desired) -> None:
        if self.refuses:
            raise self.refuses

    async def apply(self, desired: Desired) -> Applied:
        if error := self.refuses or self.fails:
            raise error
        how = How.RELOAD if self.up else How.START
        self.up = True
        self.applied.append(desired)
        return Applied(revision=desired.revision, how=how, expected_resets=0, took_s=0.01)

    async def observe(self) -> EngineStats:
        if not self.up:
            raise EngineFailed("the fake is down")
        backends = tuple(
            BackendStats(pool=pool.name, backend=b.name, in_flight=self.in_flight, engine_state=self.word(b.state))
            for pool in (self.applied[-1].pools if self.applied else ())
            for b in pool.backends
        )
        return EngineStats(time=datetime.now(UTC), running=True, client_connections=1, backends=backends)

    def word(self, state: BackendState) -> str:
        return "UP" if state is BackendState.ACTIVE else "DRAIN"

    async def samples(self) -> list[Sample]:
        ended, self.ended = self.ended, []
        return ended

    async def running(self) -> bool:
        return self.up

    async def stop(self, *, grace_s: float) -> None:
        self.up = False


def sample(backend: str, *, status: int = 200, total_time_s: float = 0.01) -> Sample:
    return Sample(
        time=datetime.now(UTC),
        request_id="r",
        service="app",
        route="/",
        pool="web",
        backend=backend,
        status=status,
        connect_time_s=0.001,
        header_time_s=total_time_s if status else None,
        total_time_s=total_time_s,
        final=True,
        cut=False,
    )


def make_world(folder: Path, *, estate: str = ESTATE, kind: EngineKind = EngineKind.NGINX) -> World:
    """A World whose estate file is in `folder` and whose STATE is `folder`/state."""
    file = folder / "backstay.yaml"
    file.write_text(estate.replace("engine: nginx", f"engine: {kind.value}"))
    files = StateFiles(folder / "state")
    files.root.mkdir(exist_ok=True)
    adoption = Adoption(file, "lb1", files, parse_here)
    engine = FakeEngine(kind)
    return World(
        lb="lb1",
        files=files,
        adoption=adoption,
        adopted=adoption.start(),
        engine=engine,
        capabilities=engine.capabilities(),
        record=Recorder(Spool(files.spool, actor="agent/lb1"), "lb1"),
        certificates=Certificates(files.certificates),
        changes=ChangeStore(files.changes),
        book=ChangeBook(),
    )


def fake(world: World) -> FakeEngine:
    assert isinstance(world.engine, FakeEngine)
    return world.engine


def kinds(world: World) -> list[str]:
    """Kinds of the events so far, oldest first."""
    return [event.kind for event in world.record.spool.read()]
