"""The one way to assign, over a vendor that is a script: what is asked of it, and in which order."""

from __future__ import annotations

import pytest

from backstay.estate.model import PluginProvider
from backstay.failover.ports import OwnerChanged, ProviderDenied, ProviderError
from backstay.failover.providers import NoSuchProvider, load_provider
from backstay.failover.providers.flow import Ask, Reading, Routed, bounded_retry_after_s, said

NODES = {"lb1": "10.1.1.1", "lb2": "10.1.1.2"}
LB1, LB2 = Reading(holder="lb1", moving=False), Reading(holder="lb2", moving=False)
MOVING = Reading(holder="lb1", moving=True)


class Script:
    """A vendor that answers each reading with the next of `answers`."""

    def __init__(self, *answers: Reading | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def read(self, address: str, ask: Ask) -> Reading:
        ask.begin()
        self.asked.append("read")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def route(self, address: str, target: str, reading: Reading, ask: Ask) -> None:
        ask.begin()
        self.asked.append(f"route {target}")

    async def close(self) -> None:
        self.asked.append("close")


async def assign(script: Script, expect: str | None = "lb1") -> bool:
    return (await Routed("v", script, NODES).assign("a", "lb2", expect=expect, timeout_s=30)).already


async def test_it_is_read_before_and_after() -> None:
    script = Script(LB1, LB2)
    assert not await assign(script)
    assert script.asked == ["read", "route lb2", "read"]


async def test_what_is_so_already_is_only_read() -> None:
    script = Script(LB2)
    assert await assign(script)
    assert script.asked == ["read"]


async def test_a_route_under_way_is_waited_for_before_the_owner_is_compared() -> None:
    script = Script(MOVING, MOVING, LB2)
    assert await assign(script)
    assert script.asked == ["read"] * 3


async def test_a_vendor_that_shows_the_old_owner_for_a_while_is_read_on() -> None:
    script = Script(LB1, LB1, LB2)
    assert not await assign(script)
    assert script.asked == ["read", "route lb2", "read", "read"]


async def test_a_route_that_was_seen_and_ended_where_it_began_has_failed() -> None:
    with pytest.raises(ProviderError, match="ended with lb1 as before"):
        await assign(Script(LB1, MOVING, LB1))


async def test_credentials_that_end_in_the_middle_end_the_wait() -> None:
    with pytest.raises(ProviderDenied):
        await assign(Script(LB1, ProviderDenied("expired")))


async def test_nobody_is_not_somebody() -> None:
    script = Script(LB1)
    with pytest.raises(OwnerChanged, match="with lb1, not with nobody"):
        await assign(script, expect=None)
    assert script.asked == ["read"]


async def test_a_fault_of_a_plugin_is_a_provider_error() -> None:
    with pytest.raises(ProviderError, match="v: routing a to lb2: ZeroDivisionError: by zero"):
        await assign(Script(ZeroDivisionError("by zero")))


def test_a_plugin_that_is_not_installed_is_named_with_those_that_are() -> None:
    declared = PluginProvider(kind="plugin", plugin="pigeon")
    with pytest.raises(NoSuchProvider, match=r'"pigeon".*aws, command, hetzner, softlayer'):
        load_provider(declared, NODES, lambda _: "")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("-3", 0.0),
        ("1e9", 3_600.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_bounded_and_nonsense_is_none(header: str | None, seconds: float | None) -> None:
    assert bounded_retry_after_s(header) == seconds


def test_what_a_vendor_says_is_one_bounded_line() -> None:
    assert said("no\r\n\x1b[31m" + "x" * 10_000) == "no [31m" + "x" * 193 + "..."
