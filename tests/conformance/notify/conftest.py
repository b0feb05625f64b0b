"""One suite, every channel, each against a real server of its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from notify_servers import Rig, rig_of

CHANNELS = ("pagerduty", "alertmanager", "slack", "smtp")


@pytest_asyncio.fixture(params=CHANNELS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_of(request.param, tmp_path) as made:
        yield made
