"""`rig`: one load balancer, its agent running, over three web servers; with each engine that this machine has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from agent_rig import Rig, rig_of

from backstay.estate.model import EngineKind


@pytest.fixture(params=list(EngineKind), ids=str)
def kind(request: pytest.FixtureRequest) -> EngineKind:
    """Override it in a test's module or by indirect parameters where one engine is enough."""
    found: EngineKind = request.param
    return found


@pytest_asyncio.fixture
async def rig(kind: EngineKind) -> AsyncIterator[Rig]:
    """Not started yet: `await rig.start()` after the estate was altered to taste."""
    made = rig_of(kind)
    made.write()
    await made.start_webs()
    yield made
    await made.close()
