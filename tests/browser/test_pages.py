"""Every page in a real browser: in both themes, at the width of a desk and a phone, by axe-core, without scripts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from console_rig import Console, event
from looks import LOOKS, WAIT_MS, Watched, context_of
from playwright.sync_api import Browser, Page, expect

from backstay.change import ChangeKind
from backstay.server.model import Role
from backstay.server.runs.model import NodeRun, NodeRunState, Printed, Run
from backstay.server.runs.store import RunStore
from backstay.server.weigh import Asked
from server_rig import ALICE, SERVERDENSITY

FIRST_PAGE_LIMIT_BYTES = 150_000
PAGES = (
    "/",
    "/balance",
    "/balance/web",
    "/nodes",
    "/nodes/web2",
    "/nodes/lb1",
    "/failover",
    "/failover/www",
    "/failover/www/move?to=lb3",
    "/failover/www/rearm?lb=lb1",
    "/failover/www/freeze",
    "/changes",
    "/changes/new",
    "/changes/new?selector=zone/wdc01&kind=drain&lasts=30m",
    "/changes/new?selector=cluster/web&kind=drain",
    "/changes/drain-of-web2",
    "/changes/drain-of-web2/undo",
    "/runs",
    "/runs/new?selector=node/web2",
    "/runs/run-of-web",
    "/runs/run-of-web/web2",
    "/journal",
    "/journal?kind=ip.*",
    "/audit",
    "/agents",
    "/estate",
    "/estate/new",
    "/admin/users",
    "/tokens",
    "/admin/agents",
    "/account",
    "/nothing-here",
)


@pytest.fixture(scope="module", autouse=True)
def _lively(console: Console) -> None:
    """Something of everything, so that no page is drawn empty."""
    scenes = console.scenes
    scenes.down, scenes.owners, scenes.suspicion = {"web5"}, {"www": "lb2"}, ("lb2", "lb1")
    scenes.quarantined["lb1"] = datetime.now(UTC).isoformat()
    drain = Asked(id="drain-of-web2", selector="node/web2", kind=ChangeKind.DRAIN, reason="kernel", duration_s=1800.0)
    weight = Asked(id="weight-of-web3", selector="node/web3", kind=ChangeKind.WEIGHT, reason="slow disk", factor=0.5)
    for asked in (drain, weight):
        assert console.call(console.server.put(asked, ALICE)).allowed
    started = event("ip.takeover_started", "ip/www", "nothing answers", data={"holder": "lb1", "to": "lb2"})
    runs, now = RunStore(console.server.database), console.server.now()
    nodes = (
        NodeRun(node="web1", state=NodeRunState.RUNNING, started_at=now),
        NodeRun(node="web2", state=NodeRunState.FAILED, exit_code=6, started_at=now, ended_at=now),
        NodeRun(node="web3", state=NodeRunState.UNREACHABLE, error="web3: no answer within 15 s.", ended_at=now),
    )
    ran = event("run.started", "run/run-of-web", "kernel")
    run = Run(id="run-of-web", selector="cluster/web", command="puppet agent --test", actor="alice", reason="kernel",
              at=now, event=ran.id, alive_at=now, nodes=nodes)  # fmt: skip
    assert runs.put(run, ran)
    runs.keep(run.id, nodes[1], Printed(text="Error: nginx::config: " + "long " * 80, left_out=12))
    console.record(started, event("ip.verified", "ip/www", "seen by lb5", cause=started.id))


@pytest.fixture(scope="module")
def axe() -> Axe:
    return Axe()


def _grave(axe: Axe, page: Page) -> list[dict[str, Any]]:
    """What axe-core calls serious or critical."""
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        {"rule": one["id"], "help": one["help"], "where": [node["html"][:200] for node in one["nodes"][:3]]}
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_and_fits_in_every_look(path: str, watched: Watched, console: Console, axe: Axe) -> None:
    page = watched.page
    for look in LOOKS:
        watched.look(look)
        answer = page.goto(console.url + path)
        assert answer is not None and answer.status == (404 if path == "/nothing-here" else 200), look
        expect(page.locator("h1")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= look.width, f"{look} is wider than the window"
        if look is not LOOKS[0]:  # the light theme is looked at on the phone, the dark one at the desk
            assert _grave(axe, page) == [], look
    if path == "/nothing-here":
        watched.complaints.clear()  # the browser tells of the 404 itself


def test_the_address_of_one_event_tells_what_led_to_it(watched: Watched, console: Console, axe: Axe) -> None:
    page = watched.page
    page.goto(f"{console.url}/journal?kind=ip.verified")
    page.get_by_role("link", name="ip.verified").first.click()
    expect(page.locator(".story")).to_contain_text("ip.takeover_started")
    assert _grave(axe, page) == []


def test_a_chart_is_drawn_from_the_table_beside_it(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(f"{console.url}/failover/www")
    expect(page.locator("figure canvas")).to_be_visible()
    page.get_by_text("The figures as a table").click()
    expect(page.locator("#points tbody tr")).to_have_count(24)
    expect(page.get_by_text("lb2 suspected lb1: nothing answers.")).to_be_visible()


def test_the_keyboard_comes_to_the_page_by_the_skip_link(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(console.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_theme_is_kept_by_the_server_from_one_page_to_the_next(watched: Watched, console: Console) -> None:
    page = watched.page
    page.emulate_media(color_scheme="light")
    page.goto(console.url)
    page.get_by_role("button", name="Switch between light and dark").click()
    page.goto(f"{console.url}/nodes")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.context.clear_cookies(name="theme")


def test_the_first_page_is_small_and_soon_there(browser: Browser, console: Console) -> None:
    """Of a browser that was never here. The time is printed: a figure, not a promise."""
    context = context_of(browser, console, "alice")
    session = context.new_page()
    client = context.new_cdp_session(session)
    client.send("Network.enable")
    client.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: list[int] = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    session.goto(console.url)
    timing = session.evaluate(
        "(() => { const t = performance.getEntriesByType('navigation')[0];"
        " return [t.responseEnd, t.domInteractive, t.loadEventEnd] })()"
    )
    context.close()
    print(f"first page: {sum(sizes)} bytes, answered, interactive, loaded after {[round(ms) for ms in timing]} ms")
    assert 0 < sum(sizes) < FIRST_PAGE_LIMIT_BYTES


# --- live ------------------------------------------------------------------------------------------------------------


def test_what_somebody_else_changes_appears_without_a_reload(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(f"{console.url}/changes")
    expect(page.locator("#live-state")).to_contain_text("updated")
    asked = Asked(
        id="weight-of-web7", selector="node/web7", kind=ChangeKind.WEIGHT, reason="from elsewhere", factor=0.7
    )
    assert console.call(console.server.put(asked, ALICE)).allowed
    expect(page.get_by_text("from elsewhere")).to_be_visible(timeout=WAIT_MS)
    console.call(console.server.undo(["weight-of-web7"], ALICE, "enough"))
    expect(page.get_by_role("link", name="Undo weight 0.7 of node/web7")).to_have_count(0, timeout=WAIT_MS)


def test_a_search_of_the_journal_goes_on_while_things_happen(watched: Watched, console: Console) -> None:
    page = watched.page
    page.goto(f"{console.url}/journal")
    page.get_by_label("Text").fill("sextant")
    expect(page.get_by_text("No event is so.")).to_be_visible()
    console.record(event("lab.noted", "lab/one", "a compass"), event("lab.noted", "lab/two", "a sextant"))
    expect(page.get_by_text("a sextant")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("a compass")).to_have_count(0)
    assert page.url.endswith("/journal?text=sextant&kind=&subject=&actor=&since=")


def test_a_page_says_that_its_server_is_gone_and_comes_back_with_it(browser: Browser, tmp_path: Path) -> None:
    with Console(tmp_path, SERVERDENSITY) as first:
        first.add_user("alice", Role.ADMIN)
        context = context_of(browser, first, "alice")
        page = context.new_page()
        page.goto(f"{first.url}/balance")
        expect(page.locator("#live-state")).to_contain_text("updated")
    expect(page.locator("#live-state")).to_have_text("disconnected", timeout=WAIT_MS)
    expect(page.get_by_role("link", name="web", exact=True)).to_be_visible()  # what was seen last stays
    with Console(tmp_path, SERVERDENSITY, first.port):
        expect(page.locator("#live-state")).to_contain_text("updated", timeout=2 * WAIT_MS)
        context.close()


# --- without JavaScript, without rights, without an estate ------------------------------------------------------------


def test_a_drain_without_javascript(browser: Browser, console: Console) -> None:
    context = context_of(browser, console, "alice", javascript=False)
    page = context.new_page()
    page.goto(f"{console.url}/nodes/web8")
    page.get_by_role("link", name="Drain…").click()
    expect(page.locator("#plan")).to_contain_text("the guard allows it")
    page.locator("#plan").get_by_label("Reason").fill("no script here")
    page.get_by_role("button", name="Drain 1 node").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("drain of node/web8")
    deadline = time.monotonic() + 15
    while page.get_by_text("Proven: nothing is in flight any more.").count() == 0:
        assert time.monotonic() < deadline
        page.reload()
    page.get_by_role("link", name="Undo…").click()
    page.get_by_label("Reason").fill("done")
    page.get_by_role("button", name="Undo 1 change").click()
    expect(page.locator(".lead")).to_contain_text("undone by alice (done)")
    context.close()


def test_a_viewer_sees_everything_and_no_way_to_alter_it(browser: Browser, console: Console) -> None:
    context = context_of(browser, console, "vera")
    page = context.new_page()
    for path in ("/", "/nodes/web1", "/failover/www", "/changes", "/changes/drain-of-web2", "/estate"):
        page.goto(console.url + path)
        assert page.locator("main form[method=post], .actions a").count() == 0, path
    answer = page.goto(f"{console.url}/changes/new")
    assert answer is not None and answer.status == 403
    expect(page.locator("main")).to_contain_text("operator")
    context.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Console]:
    with Console(tmp_path, None) as running:
        running.add_user("alice", Role.ADMIN)
        yield running


def test_a_new_server_says_what_to_do_first(browser: Browser, empty: Console, axe: Axe) -> None:
    context = context_of(browser, empty, "alice")
    page = context.new_page()
    page.goto(empty.url)
    expect(page.locator(".steps > li")).to_have_count(4)
    assert _grave(axe, page) == []
    page.get_by_role("link", name="Paste an estate").click()
    page.get_by_label("Estate file (YAML)").fill((Path(__file__).parents[2] / "examples/minimal.yaml").read_text())
    page.get_by_role("button", name="Plan", exact=True).click()
    page.get_by_label("Reason").fill("the first one")
    page.get_by_role("button", name="Adopt this estate").click()
    page.wait_for_url(f"{empty.url}/estate")
    page.goto(empty.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("minimal")
    context.close()
