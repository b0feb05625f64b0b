"""The agent: puts the loops together, takes their turns, and ends well.

    start     estate -> engine (adopted when it runs already) -> what was kept -> loops -> control API -> READY
    run       each loop by itself (loops/), all over one World; a loop that wants another's turn wakes it
    SIGHUP    the estate file is read again; a bad one is refused
    SIGTERM   the loops end, what is known is kept, the engine serves on; a second one ends at once

A kill -9 at any line is an ordinary start: the engine serves meanwhile, changes are on disk before they are
acknowledged, and everything else is seen anew within seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import structlog

from backstay import __version__, systemd
from backstay.agent.control.app import Site, TlsFiles, application, unix_listener
from backstay.agent.control.ips import IpRoutes
from backstay.agent.control.metrics import Metrics
from backstay.agent.control.routes import Routes
from backstay.agent.control.views import Views
from backstay.agent.link.carry import Carrier
from backstay.agent.link.first import find_estate
from backstay.agent.link.reporting import Reporter
from backstay.agent.link.shell import Link
from backstay.agent.loops import supervise
from backstay.agent.loops.changing import Changes
from backstay.agent.loops.draining import Draining
from backstay.agent.loops.engine import Applier, Watchdog
from backstay.agent.loops.estates import Estates
from backstay.agent.loops.failover import Failover
from backstay.agent.loops.housekeeping import Checkpoint, Renewal
from backstay.agent.loops.probing import Probing
from backstay.agent.loops.reconcile import Reconcile
from backstay.agent.loops.rescaling import Rescaling
from backstay.agent.loops.supervise import Loop
from backstay.agent.loops.telling import Telling
from backstay.agent.loops.traffic import Traffic
from backstay.agent.paths import control_socket
from backstay.agent.start import CannotStart, Options, end_other_engine, load_world, settle_estate
from backstay.agent.world import World
from backstay.estate.secrets import SecretUnavailable, resolve
from backstay.link.wire import Report
from backstay.look.prober import NetworkProber

STOP_GRACE_S = 20.0  # for requests in flight, when the engine is to end with the agent
READY_LIMIT_S = 15.0  # systemd hears READY by then, also when the engine does not come up

log = structlog.get_logger()


async def run(options: Options) -> None:
    """Start, serve until SIGTERM or SIGINT, end. Raises CannotStart."""
    await find_estate(options)
    world = load_world(options)
    await settle_estate(world)
    await Agent(options, world).live()


class Agent:
    """Everything that one agent is made of."""

    def __init__(self, options: Options, world: World) -> None:
        self.options = options
        self.world = world
        self.sites: list[Site] = []
        self.prober = NetworkProber()
        self.applier = Applier(world)
        self.draining = Draining(world)
        self.probing = Probing(world, self.prober, changed=self._reconcile_soon)
        self.reconcile = Reconcile(world, self.applier, self.probing.first_round_done, applied=self._applied)
        self.rescaling = Rescaling(world, options.run, changed=self._reconcile_soon)
        self.traffic = Traffic(world, self.draining, self.rescaling, changed=self._reconcile_soon)
        self.changes = Changes(world, self.traffic.load, changed=self._change_asked)
        self.renewal = Renewal(world, changed=self._reconcile_soon)
        self.checkpoint = Checkpoint(world, self.draining, self.rescaling)
        self.telling = Telling(world)
        self.failover = Failover(world, self.prober, options.run, self.telling)
        self.estates = Estates(world, self.reconcile, changed=self._another_estate)
        self.watchdog = Watchdog(world, self.applier)
        carrier = Carrier(world, self.changes, self.estates, self.failover)
        self.link = Link(world, carrier, self._report)
        self.loops = {
            loop.name: loop
            for loop in (
                Loop("engine", self.watchdog.turn, every_s=0.5, limit_s=60.0),
                Loop("probing", self.probing.turn, every_s=1.0, limit_s=10.0),
                Loop("traffic", self.traffic.turn, every_s=0.5, limit_s=30.0),
                Loop("changes", self.changes.turn, every_s=1.0, limit_s=10.0),
                Loop("reconcile", self.reconcile.turn, every_s=1.0, limit_s=90.0),
                Loop("rescaling", self.rescaling.turn, every_s=0.5, limit_s=30.0),
                Loop("failover", self.failover.turn, every_s=1.0, limit_s=15.0),
                Loop("telling", self.telling.turn, every_s=1.0, limit_s=10.0),
                Loop("link", self.link.turn, every_s=1.0, limit_s=10.0),
                Loop("certificates", self.renewal.turn, every_s=2.0, limit_s=30.0),
                Loop("control", self._renew_sites, every_s=5.0, limit_s=10.0),
                Loop("checkpoint", self.checkpoint.turn, every_s=1.0, limit_s=10.0),
            )
        }
        self.views = Views(world, self.reconcile, self.rescaling, self.draining, self.link.view)
        self.metrics = Metrics(world, self.views, list(self.loops.values()), self.probing.results, self.traffic)
        ips = IpRoutes(world, self.failover)
        self.routes = Routes(world, self.views, self.changes, self.estates, self.metrics, ips)
        self.reporter = Reporter(world, self.views, ips, carrier)

    def _report(self) -> Report:
        return self.reporter.report()

    def _reconcile_soon(self) -> None:
        self.loops["reconcile"].wake.set()

    def _change_asked(self) -> None:
        self.reconcile.ask()
        self._reconcile_soon()

    async def _applied(self) -> None:
        self.estates.keep_good()
        await self.draining.begin()
        self.link.tell()

    def _another_estate(self) -> None:
        for name in ("probing", "reconcile", "rescaling", "failover"):
            self.loops[name].wake.set()

    def _loop_failed(self, loop: Loop, error: str) -> None:
        self.world.record("agent.loop_failed", f"lb/{self.world.lb}", f"{loop.name}: {error}")

    # --- a life ----------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises CannotStart when the control API cannot listen."""
        world = self.world
        before = self.checkpoint.recall()
        self.reconcile.recall()
        world.record("agent.started", f"lb/{world.lb}", f"version {__version__}, estate: {world.adopted.source}")
        await end_other_engine(world, before)
        ending = asyncio.Event()
        async with self._sites(), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(supervise.run(loop, self._loop_failed)) for loop in self.loops.values()]
            running.append(tasks.create_task(supervise.watch_event_loop()))
            with _signals(ending, lambda: tasks.create_task(self._hang_up())):
                await _first(READY_LIMIT_S, self.reconcile.tried, ending)
                systemd.ready(self._words())
                await ending.wait()
            systemd.stopping()
            for task in running:
                task.cancel()
        await self._end()

    async def _hang_up(self) -> None:
        """SIGHUP: the estate file is read again."""
        systemd.reloading()
        try:
            await self.estates.reread()
        except Exception:  # a reload that fails in a way that nobody thought of must not end the agent
            log.exception("the estate file could not be read again")
        systemd.ready(self._words())

    def _words(self) -> str:
        return f"{self.world.lb} serves {self.world.estate.estate} with {self.world.kind}"

    async def _end(self) -> None:
        """What is known is kept; the engine serves on, unless it was to end too."""
        world = self.world
        await self.link.close()
        await self.failover.close()
        await self.telling.close()
        await self.probing.close()
        await self.prober.close()
        self.checkpoint.save()
        if self.options.stop_engine:
            await world.engine.stop(grace_s=STOP_GRACE_S)
        world.record(
            "agent.stopped", f"lb/{world.lb}", "the engine ended" if self.options.stop_engine else "it serves on"
        )

    # --- the control API's sites -----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _sites(self) -> AsyncIterator[None]:
        """On this machine, and for others where the estate says so."""
        try:
            path = control_socket(self.options.run, self.world.lb)
            local = Site(str(path), application(self.routes.table(), token=None), unix_listener(path))
        except (OSError, ValueError) as error:
            raise CannotStart(f"the control API cannot listen in {self.options.run}: {error}") from error
        self.sites = [local, *await self._remote_sites()]
        try:
            for site in self.sites:
                await site.start()
            yield
        finally:
            path.unlink(missing_ok=True)
            for site in self.sites:
                await site.stop()

    async def _renew_sites(self) -> None:
        for site in self.sites:
            site.refresh()

    async def _remote_sites(self) -> list[Site]:
        """HTTPS, when the estate names a token, a certificate and a key. A fault there is said, and stops nothing."""
        world, agents, folder = self.world, self.world.estate.agents, self.world.adopted.folder
        if agents.token is None or agents.certificate is None or agents.key is None:
            return []
        address = world.estate.nodes[world.lb].address
        where = f"{address} port {agents.port}"
        try:
            token = await resolve(agents.token, folder)
            tls = TlsFiles(folder / agents.certificate, folder / agents.key.file)
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            listener = socket.create_server((str(address), agents.port), family=family)
        except (SecretUnavailable, OSError) as error:
            fault = f"no control API for other hosts on {where}: {error}"
            world.warn("control", fault)
            world.record("control.failed", f"lb/{world.lb}", fault)
            return []
        return [Site(where, application(self.routes.table(), token=token), listener, tls)]


@contextlib.contextmanager
def _signals(ending: asyncio.Event, hang_up: Callable[[], object]) -> Iterator[None]:
    """SIGTERM and SIGINT set `ending`, the second time they end at once; SIGHUP calls `hang_up`."""
    loop = asyncio.get_running_loop()

    def end(name: str) -> None:
        if ending.is_set():
            log.warning("ends at once: asked a second time", signal=name)
            os._exit(1)  # as after a kill -9, the next start goes on from the disk
        log.info("ends: asked to", signal=name)
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number.name)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    yield  # the handlers stay: a second SIGTERM must work while the agent ends


async def _first(limit_s: float, *events: asyncio.Event) -> None:
    """Until one of `events` is set, at most `limit_s`."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
