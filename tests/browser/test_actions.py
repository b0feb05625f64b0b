"""What people do in the console, each in every look: the plan before, the name typed, the proof after."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from console_rig import Console
from looks import LOOKS, WAIT_MS, Look, Watched
from playwright.sync_api import Page, expect

from server_rig import ALICE, SERVERDENSITY

HOSTILE = '<script>alert(1)</script> & "quotes" \'n all'


@pytest.fixture(params=LOOKS, ids=str)
def page(request: pytest.FixtureRequest, watched: Watched, console: Console) -> Iterator[Page]:
    """Alice's page in one look; afterwards nothing is in force any more."""
    look: Look = request.param
    watched.look(look)
    yield watched.page
    open_ids = [change.id for change in console.server.snapshot().changes]
    if open_ids:
        console.call(console.server.undo(open_ids, ALICE, "the test is over"))


def _plan(page: Page, console: Console, address: str) -> None:
    page.goto(f"{console.url}/changes/new?{address}")
    expect(page.locator("#plan tbody tr")).not_to_have_count(0)


def _ask(page: Page, button: str, *, reason: str = "for a test", typed: str = "") -> None:
    plan = page.locator("#plan")
    plan.get_by_label("Reason").fill(reason)
    go = plan.get_by_role("button", name=button)
    if typed:
        expect(go).to_be_disabled()  # until the name is typed
        plan.get_by_label("to confirm").fill(typed)
    go.click()


def test_a_drain_of_a_node_is_proven_and_undone(page: Page, console: Console) -> None:
    _plan(page, console, "selector=node/web2&kind=drain&lasts=30m")
    _ask(page, "Drain 1 node", reason=HOSTILE)
    expect(page.get_by_role("heading", level=1)).to_have_text("drain of node/web2")
    expect(page.locator(".lead")).to_contain_text("Proven: nothing is in flight any more.", timeout=WAIT_MS)
    expect(page.locator(".facts")).to_contain_text(HOSTILE)
    page.get_by_role("link", name="Undo…").click()
    page.get_by_label("Reason").fill("kernel is there")
    page.get_by_role("button", name="Undo 1 change").click()
    expect(page.locator(".lead")).to_contain_text("undone by alice (kernel is there)")


def test_a_drain_of_a_zone_wants_its_name_typed(page: Page, console: Console) -> None:
    _plan(page, console, "selector=zone/wdc01&kind=drain&lasts=30m")
    expect(page.locator("#plan")).to_contain_text("Left out: lb1, lb2")
    _ask(page, "Drain 2 nodes", typed="wdc01")
    expect(page.locator(".lead")).to_contain_text("Proven", timeout=WAIT_MS)
    assert {change.node for change in console.server.snapshot().changes} == {"web1", "web2"}


def test_the_guard_refuses_and_is_overridden_by_name(page: Page, console: Console) -> None:
    _plan(page, console, "selector=cluster/web&kind=drain&lasts=5m")
    expect(page.locator("#plan")).to_contain_text("the guard refuses it")
    expect(page.locator("#plan").get_by_role("button", name="Drain")).to_have_count(0)
    page.get_by_role("button", name="Plan it over the guard's refusal").click()
    expect(page.locator("#plan")).to_contain_text("overridden")
    _ask(page, "Drain 8 nodes", typed="web")
    expect(page.locator(".facts")).to_contain_text("overridden")


def test_the_plan_follows_the_form(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/changes/new?selector=node/web3")
    page.get_by_label("weight", exact=True).check()
    page.get_by_label("Factor").fill("0.5")
    page.get_by_label("Factor").blur()
    expect(page.locator("#plan")).to_contain_text("weight 0.5 of node/web3")
    _ask(page, "Weight 1 node")
    expect(page.locator(".lead")).to_contain_text("In force on 6 of 6 load balancers.", timeout=WAIT_MS)


def test_a_fault_in_the_form_is_said_in_words(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/changes/new?selector=node/nowhere&kind=drain&lasts=soon")
    expect(page.locator("#plan")).to_contain_text('"soon" is no duration')
    page.get_by_label("For how long").fill("30m")
    page.get_by_label("For how long").blur()
    expect(page.locator("#plan")).to_contain_text('"nowhere" is no node')


def test_maintenance_and_a_parameter(page: Page, console: Console) -> None:
    _plan(page, console, "selector=node/web4&kind=maintenance&lasts=1h")
    _ask(page, "Maintenance 1 node")
    expect(page.locator(".lead")).to_contain_text("Proven", timeout=WAIT_MS)
    _plan(page, console, "selector=cluster/queue&kind=parameter&parameter=workers&value=8")
    _ask(page, "Parameter 4 nodes")
    expect(page.locator(".lead")).to_contain_text("Puppet and Ansible read it")
    values = {change.value for change in console.server.snapshot().changes if change.parameter == "workers"}
    assert values == {8}


def test_an_address_is_moved_after_its_name_was_typed(page: Page, console: Console) -> None:
    console.scenes.owners["www"] = "lb1"
    page.goto(f"{console.url}/failover/www/move")
    page.get_by_label("lb3").check()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("main")).to_contain_text("told first, so that nobody takes it for a loss")
    page.get_by_label("Reason").fill("new kernel on lb1")
    go = page.get_by_role("button", name="Move www to lb3")
    expect(go).to_be_disabled()
    page.get_by_label("to confirm").fill("www")
    go.click()
    expect(page.get_by_text("held by lb3")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("[aria-labelledby=orders]")).to_contain_text("carried out by lb3", timeout=WAIT_MS)


def test_a_candidate_is_rearmed_as_a_false_alarm(page: Page, console: Console) -> None:
    console.scenes.owners["www"] = "lb2"
    console.scenes.quarantined["lb1"] = datetime.now(UTC).isoformat()
    page.goto(f"{console.url}/failover/www")
    expect(page.get_by_role("link", name="Rearm lb1")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("link", name="Rearm lb1").click()
    page.get_by_label("It was a false alarm").check()
    page.get_by_label("Reason").fill("its switch was rebooted")
    page.get_by_role("button", name="Rearm").click()
    expect(page.get_by_role("link", name="Rearm lb1")).to_have_count(0, timeout=WAIT_MS)
    (newest, *_) = console.server.snapshot().orders
    assert (newest.order.kind, newest.order.false_alarm, newest.order.reason) == (
        "rearm",
        True,
        "its switch was rebooted",
    )


def test_an_address_is_frozen(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/failover/www-tor/freeze")
    page.get_by_label("For how long").fill("45m")
    page.get_by_label("Reason").first.fill("switch is replaced")
    page.get_by_role("button", name="Freeze www-tor").click()
    expect(page.locator("[aria-labelledby=orders]")).to_contain_text("switch is replaced", timeout=WAIT_MS)
    asked = [one.order.for_s for one in console.server.snapshot().orders if one.order.reason == "switch is replaced"]
    assert set(asked) == {45 * 60.0}


def test_an_estate_is_planned_and_adopted(page: Page, console: Console) -> None:
    number = console.server.snapshot().adopted
    assert number is not None
    timeout = 61 + number.number
    page.goto(f"{console.url}/estate/new")
    page.get_by_label("Estate file (YAML)").fill("estate: serverdensity\nnodes: 5\n")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.locator(".lead")).to_contain_text("it cannot be adopted")
    text = SERVERDENSITY.replace("    slow_start_s: 10\n", f"    slow_start_s: {timeout}\n")
    page.get_by_label("Edit and plan again").fill(text)
    page.get_by_role("button", name="Plan again").click()
    expect(page.get_by_text("slow_start_s")).not_to_have_count(0)
    page.get_by_label("Reason").fill("slower")
    page.get_by_label("to confirm").fill("serverdensity")
    page.get_by_role("button", name="Adopt this estate").click()
    page.wait_for_url(f"{console.url}/estate")
    expect(page.locator("table.source")).to_contain_text(f"slow_start_s: {timeout}")
    adopted = console.server.snapshot().adopted
    assert adopted is not None and (adopted.number, adopted.text) == (number.number + 1, text)


def test_a_form_that_is_sent_twice_asks_once(page: Page, console: Console) -> None:
    _plan(page, console, "selector=node/web6&kind=weight&factor=0.5&lasts=30m")
    fields = page.locator("#plan form").evaluate("form => [...new FormData(form)]")
    form = dict(fields) | {"reason": "twice"}
    for _ in range(2):
        answer = page.request.post(f"{console.url}/changes", form=form, headers={"Origin": console.url})
        assert answer.ok
    assert len([change for change in console.server.snapshot().changes if change.node == "web6"]) == 1
