"""From the disk to a World: the estate, the engine, the journal, the changes, and what was kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from backstay.agent.host.adoption import Adopted, Adoption
from backstay.agent.host.certificates import Certificates
from backstay.agent.host.parse import EstateRefused
from backstay.agent.paths import StateFiles
from backstay.agent.record import Recorder
from backstay.agent.world import World
from backstay.balance.engines.binary import find, load_engine
from backstay.balance.ports import ConfigRefused, Engine, EngineFailed
from backstay.change import BookNotSaved, ChangeStore
from backstay.estate.model import EngineKind, Name
from backstay.estate.select import services_of, tier_of
from backstay.journal.model import JournalError
from backstay.journal.spool import Spool

REPLACED_ENGINE_GRACE_S = 10.0

log = structlog.get_logger()


class CannotStart(Exception):
    """The agent cannot start: what, where, what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    estate: Path
    lb: str
    state: Path
    run: Path
    engine_binary: Path | None = None  # None: the system's own, else the wheel's
    stop_engine: bool = False  # when the agent ends


def load_world(options: Options) -> World:
    """Everything that is on the disk. Raises CannotStart."""
    _check_name(options.lb)
    files = StateFiles(options.state.absolute())
    try:
        files.root.mkdir(mode=0o711, parents=True, exist_ok=True)  # unprivileged engine workers pass through
        # First of all: the spool is locked, so two agents never work on one STATE.
        record = Recorder(Spool(files.spool, actor=f"agent/{options.lb}"), options.lb)
        changes = ChangeStore(files.changes)
        book = changes.load()
        adoption = Adoption(options.estate, options.lb, files)
        adopted = adoption.start()
        engine = make_engine(_engine_of(adopted, options.lb), files, options.engine_binary)
    except (JournalError, BookNotSaved, EngineFailed) as error:
        raise CannotStart(str(error)) from error
    except EstateRefused as refused:
        raise CannotStart(f"{refused}\nAnd there is no last good estate in {files.estate} to go on with.") from None
    except OSError as error:
        raise CannotStart(f"{files.root}: {error.strerror}. The agent keeps its state there (--state-dir).") from error
    world = World(
        lb=options.lb,
        files=files,
        adoption=adoption,
        adopted=adopted,
        engine=engine,
        capabilities=engine.capabilities(),
        record=record,
        certificates=Certificates(files.certificates),
        changes=changes,
        book=book.book,
    )
    for fault in book.faults:
        record("changes.damaged", f"lb/{options.lb}", fault)
    return world


def _check_name(lb: str) -> None:
    """It becomes part of file names, so it is checked before the estate is there to check it against."""
    try:
        TypeAdapter(Name).validate_python(lb)
    except ValidationError:
        raise CannotStart(f'--as "{lb[:64]}" is no name of a node (a DNS label: a-z, 0-9, hyphens).') from None


def make_engine(kind: EngineKind, files: StateFiles, binary: Path | None = None) -> Engine:
    """The adapter of `kind` over STATE/engine. Raises EngineFailed."""
    if binary is not None:
        os.environ[f"BACKSTAY_{kind.name}"] = str(binary)  # what is asked for by name is never replaced silently
    files.engine.mkdir(mode=0o711, parents=True, exist_ok=True)
    return load_engine(kind)(files.engine, find(kind))


async def settle_estate(world: World) -> None:
    """Have the engine's own check accept the estate; go on with the last good one when it does not."""
    _say_source(world, world.adopted)
    world.certificates.look(services_of(world.estate, world.tier), world.adopted.folder)
    try:
        await world.engine.check(world.desired())
    except ConfigRefused as refused:
        warning = f"{world.capabilities.version.kind} refuses the estate, the last good one goes on: {refused}"
        last = world.adoption.last_good(warning)
        if last is None or last.text == world.adopted.text or _engine_of(last, world.lb) is not world.kind:
            world.warn("estate", str(refused))
            return  # reconcile tries again and says why it cannot
        world.adopted = last
        _say_source(world, last)
        world.certificates.look(services_of(last.estate, world.tier), last.folder)
    except (EngineFailed, OSError) as failed:
        world.warn("estate", str(failed))


async def end_other_engine(world: World, before: str) -> None:
    """The engine of another kind that ran before (`before`) holds the ports: end it."""
    other = next((kind for kind in EngineKind if kind.value == before and kind is not world.kind), None)
    if other is None:
        return
    reason = f"the estate has {world.kind} for this load balancer now, {before} ran before"
    world.record("engine.replaced", f"lb/{world.lb}", reason)
    try:
        await make_engine(other, world.files).stop(grace_s=REPLACED_ENGINE_GRACE_S)
    except EngineFailed as error:
        world.warn("engine", f"the {before} that ran before could not be ended: {error}")


def _engine_of(adopted: Adopted, lb: str) -> EngineKind:
    found = tier_of(adopted.estate, lb)
    assert found is not None, "adoption refuses an estate without this load balancer"
    return found[1].engine


def _say_source(world: World, adopted: Adopted) -> None:
    """A start from anything but the file is said, journaled, and stays in the status."""
    world.warn("estate", adopted.warning)
    if adopted.warning:
        world.record("estate.refused", "estate", adopted.warning, data={"sha256": adopted.sha256})
