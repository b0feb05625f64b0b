"""A small estate that tests alter, and the examples."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def small() -> str:
    return (ROOT / "tests" / "cases" / "small_estate.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def examples() -> Path:
    return ROOT / "examples"
