"""The audit's pages in a real browser, over the example's queue cluster as a pass keeps it: in every look, by axe-core,
without scripts; a fix from its plan to the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from console_rig import Console
from looks import LOOKS, WAIT_MS, Watched, context_of
from playwright.sync_api import Browser, BrowserContext, Page, expect

from audit_rig import AUDIT, a_review, fill
from backstay.server.audit.model import AskKind
from backstay.server.audit.shell import Auditing
from backstay.server.model import Role
from server_rig import SERVERDENSITY

LOAD = "/audit/queue/load?span=1w"
AXE = Axe()
PAGES = (
    "/audit",
    "/audit/queue",
    "/audit/web",
    LOAD,
    "/audit/review",
    "/audit/fixes",
    "/audit/fixes/queue-load-2",
    "/audit/fixes/new?cluster=queue&indicator=load&span=1w",
    "/audit/collect",
)


@pytest.fixture(scope="module")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The demo's estate with an audit; alice is an admin, vera a viewer."""
    folder = tmp_path_factory.mktemp("console")
    with Console(folder, SERVERDENSITY + AUDIT) as running:
        running.add_user("alice", Role.ADMIN)
        running.add_user("vera", Role.VIEWER)
        running.call(fill(running.server, folder, week=a_review(datetime.now(UTC))))
        yield running


@pytest.fixture(scope="module")
def alice(browser: Browser, console: Console) -> Iterator[BrowserContext]:
    context = context_of(browser, console, "alice")
    yield context
    context.close()


def _grave(page: Page) -> list[dict[str, Any]]:
    """What axe-core calls serious or critical."""
    found = AXE.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [one for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_and_fits_in_every_look(path: str, watched: Watched, console: Console) -> None:
    page = watched.page
    for look in LOOKS:
        watched.look(look)
        answer = page.goto(console.url + path)
        assert answer is not None and answer.status == 200, look
        expect(page.locator("h1")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= look.width, f"{look} is wider than the window"
        if look is not LOOKS[0]:
            assert _grave(page) == [], look


def test_the_way_leads_from_the_cluster_to_the_fact_and_its_experiment(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(f"{console.url}/audit?span=1w")
    page.get_by_role("link", name="queue", exact=True).click()
    expect(page.locator("#differences")).to_be_visible()
    page.get_by_role("link", name="load", exact=True).click()
    expect(page.locator(".lead")).to_contain_text("Consistent, no more: cpu.version")
    expect(page.locator(".ladder [aria-current]")).to_contain_text("consistent")
    expect(page.get_by_role("heading", name="Against it")).to_be_visible()
    expect(page.get_by_role("region", name="The cheapest next experiment")).to_contain_text("queue")
    expect(page.locator("figure canvas")).to_have_count(2)
    page.get_by_text("The figures as a table").first.click()
    expect(page.locator("#points-beside thead th")).to_have_text(["UTC", "queue1", "queue2", "queue3", "queue4"])


def test_a_finding_tells_everything_without_javascript(browser: Browser, console: Console) -> None:
    context = context_of(browser, console, "vera", javascript=False)
    page = context.new_page()
    page.goto(console.url + LOAD)
    expect(page.get_by_role("region", name="What fits best")).to_contain_text("cpu.version")
    page.get_by_text("The figures as a table").first.click()
    expect(page.locator("#points-beside tbody tr").first).to_be_visible()
    assert page.get_by_role("link", name="Register a fix").count() == 0  # a viewer looks
    context.close()


def test_a_fix_shows_before_and_after_with_its_change_marked(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(f"{console.url}/audit/fixes")
    page.get_by_role("link", name="cpu.version of queue3").click()
    expect(page.locator(".lead")).to_contain_text("Confirmed by intervention")
    expect(page.locator("figure canvas")).to_be_visible()
    expect(page.locator("figure figcaption")).to_contain_text("The upright lines are the changes: queue3 at")
    expect(page.get_by_text("0 of 50 placebos show as much.")).to_be_visible()


def test_a_report_is_a_file_that_needs_no_server(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(console.url + LOAD)
    with page.expect_download() as download:
        page.get_by_role("link", name="Report").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename == "queue-load.html"
    assert "cpu.version" in text and "<script" not in text


def test_a_fix_is_planned_and_asked_of_the_server_that_audits(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(console.url + LOAD)
    page.get_by_role("link", name="Register a fix").click()
    page.get_by_label("Fact").select_option("cpu.microcode")
    page.get_by_label("queue1").uncheck()
    page.get_by_label("queue4").check()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("[aria-labelledby=plan]")).to_contain_text("You alter cpu.microcode on queue4")
    page.get_by_label("It should do").fill("-20")
    page.get_by_label("Reason").fill("the board of the others")
    answered = asyncio.run_coroutine_threadsafe(_carry_out(console), console.call(_loop()))
    page.get_by_role("button", name="Register").click()
    asked = answered.result(WAIT_MS / 1_000)
    assert (asked["fact"], asked["nodes"], asked["expected"]) == ("cpu.microcode", ["queue4"], -0.2)
    expect(page.locator("main")).to_contain_text("no such microcode is known", timeout=WAIT_MS)
    expect(page.get_by_label("Reason")).to_have_value("the board of the others")
    watched.complaints.clear()  # the browser tells of the 422 itself


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _carry_out(console: Console) -> dict[str, Any]:
    """As the server that holds the lease does; it refuses."""
    store = console.auditing.store
    async with asyncio.timeout(WAIT_MS / 1_000):
        while True:
            found = await console.server.call(store.take, "rig", [AskKind.REGISTER], console.server.now())
            if found is not None:
                answer = {"done": False, "code": "invalid", "detail": "no such microcode is known"}
                await console.server.call(store.answer, found.id, answer)
                return dict(found.body)
            await asyncio.sleep(0.05)


def test_collect_now_is_asked_once_with_its_reason(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(f"{console.url}/audit/collect")
    page.get_by_label("Reason").fill("after the repair")
    page.get_by_role("button", name="Collect now").click()
    page.wait_for_url(f"{console.url}/audit")
    auditing: Auditing = console.auditing
    found = auditing.store.take("rig", [AskKind.COLLECT], console.server.now())
    assert found is not None and (found.actor, found.reason) == ("alice", "after the repair")


def test_without_an_audit_in_the_estate_the_page_says_how_to_begin(browser: Browser, tmp_path: Path) -> None:
    with Console(tmp_path, SERVERDENSITY) as other:
        other.add_user("alice", Role.ADMIN)
        context = context_of(browser, other, "alice")
        page = context.new_page()
        page.goto(f"{other.url}/audit")
        expect(page.locator(".steps > li")).to_have_count(3)
        expect(page.locator(".steps")).to_contain_text("kind: exporter")
        assert _grave(page) == []
        context.close()
