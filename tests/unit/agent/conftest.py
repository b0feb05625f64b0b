"""`world`: an agent's World over a fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_fakes import make_world

from backstay.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)
