"""A browser, and consoles for it to look at. One browser a module: Playwright's loop must not outlive its tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from console_rig import Console
from looks import Watched, context_of
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from backstay.server.model import Role
from server_rig import SERVERDENSITY

CHROMIUM = os.environ.get("BACKSTAY_CHROMIUM") or shutil.which("chromium")
# Without them Chromium asks hosts of its maker's at every start.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt install chromium, or BACKSTAY_CHROMIUM)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The demo's estate, with agents; alice is an admin, vera a viewer."""
    with Console(tmp_path_factory.mktemp("console"), SERVERDENSITY) as running:
        running.add_user("alice", Role.ADMIN)
        running.add_user("vera", Role.VIEWER)
        yield running


@pytest.fixture(scope="module")
def alice(browser: Browser, console: Console) -> Iterator[BrowserContext]:
    context = context_of(browser, console, "alice")
    yield context
    context.close()


@pytest.fixture
def watched(alice: BrowserContext) -> Iterator[Watched]:
    """A new page of alice's. It must not complain: no error, no violation of the content security policy."""
    page = alice.new_page()
    seen = Watched(page)
    yield seen
    page.close()
    assert seen.complaints == []
