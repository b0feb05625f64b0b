"""What an agent keeps of its server, on a disk that is damaged or full; and what a word comes to then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from agent_fakes import kinds, make_world

from backstay.agent.host.parse import EstateRefused
from backstay.agent.link.carry import Carrier
from backstay.agent.link.enrolment import RENEW_AFTER, Enrolment, EnrolmentFile, LinkDamaged
from backstay.agent.link.keep import FollowedFile
from backstay.agent.loops.changing import Changes
from backstay.agent.loops.estates import Estates
from backstay.agent.loops.failover import Failover
from backstay.agent.world import World
from backstay.change import BookNotSaved, ChangeBook
from backstay.link.follow import Begun, Followed, Heard, Refused, parse_desired
from backstay.link.wire import OrderOutcome

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ENROLMENT = Enrolment(
    id="one", url="https://server:8443", ca="", server="server-one", estate="small", lb="lb1",
    credential="bsa_" + "0" * 43, issued_at=NOW,
)  # fmt: skip
KEPT = Followed(
    revision=7,
    estate_sha256="1" * 64,
    changes=("c-000001",),
    orders={"o-000001": Begun(), "o-000002": Begun(outcome=OrderOutcome(id="o-000002", done=True), told=True)},
)


def test_what_was_followed_comes_back_as_it_was(tmp_path: Path) -> None:
    file = FollowedFile(tmp_path / "followed.json")
    assert file.load(ENROLMENT) == (Followed(), "")
    file.save(KEPT, ENROLMENT)
    assert file.load(ENROLMENT) == (KEPT, "")


def test_a_new_enrolment_begins_the_revision_anew_and_forgets_no_order_of_the_same_server(tmp_path: Path) -> None:
    file = FollowedFile(tmp_path / "followed.json")
    file.save(KEPT, ENROLMENT)
    again = file.load(replace(ENROLMENT, id="two"))
    assert again == (Followed(changes=KEPT.changes, orders=KEPT.orders), "")
    assert file.load(replace(ENROLMENT, id="two", server="server-two")) == (Followed(), "")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 2}', b"\xff" * 100])
def test_what_was_followed_and_is_damaged_is_set_aside_and_known_to_be_lost(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "followed.json"
    path.write_bytes(damage)
    followed, fault = FollowedFile(path).load(ENROLMENT)
    assert followed == Followed(forgot=True)
    assert "set aside" in fault
    assert path.with_name("followed.json.damaged").read_bytes() == damage


def test_an_enrolment_is_private_and_its_file_tells_when_somebody_replaced_it(tmp_path: Path) -> None:
    file = EnrolmentFile(tmp_path / "link.json")
    assert file.altered()
    assert file.load("lb1") is None
    assert not file.altered()
    file.save(ENROLMENT)
    assert not file.altered()
    assert (tmp_path / "link.json").stat().st_mode & 0o777 == 0o600
    EnrolmentFile(tmp_path / "link.json").save(replace(ENROLMENT, id="two"))
    assert file.altered()
    assert file.load("lb1") == replace(ENROLMENT, id="two")


def test_a_damaged_enrolment_says_what_next(tmp_path: Path) -> None:
    (tmp_path / "link.json").write_text("{}")
    with pytest.raises(LinkDamaged, match="backstay agent enrol writes it anew"):
        EnrolmentFile(tmp_path / "link.json").load("lb1")


def test_the_enrolment_of_another_load_balancer_is_refused(tmp_path: Path) -> None:
    EnrolmentFile(tmp_path / "link.json").save(ENROLMENT)
    with pytest.raises(LinkDamaged, match="of lb1, and this is lb2"):
        EnrolmentFile(tmp_path / "link.json").load("lb2")


def test_a_credential_is_renewed_after_a_month() -> None:
    assert not ENROLMENT.due(NOW + RENEW_AFTER - timedelta(seconds=1))
    assert ENROLMENT.due(NOW + RENEW_AFTER)
    assert not ENROLMENT.renewed("bsa_" + "1" * 43, NOW + RENEW_AFTER).due(NOW + RENEW_AFTER)


# --- a word --------------------------------------------------------------------------------------------------------


class Desk:
    """A carrier over a world of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.world: World = make_world(folder)
        self.estates = ScriptedEstates()
        changes = Changes(self.world, dict, lambda: None)
        self.carrier = Carrier(self.world, changes, cast(Estates, self.estates), cast(Failover, NoFailover()))
        self.carrier.begin(ENROLMENT, lambda: None)

    async def hears(self, **more: Any) -> Refused | None:
        text = self.world.adopted.text
        word: dict[str, Any] = {
            "server": "server-one",
            "estate": "small",
            "lb": "lb1",
            "revision": 1,
            "estate_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "estate_text": text,
            "estate_actor": "alice",
        }
        heard = parse_desired(word | more)
        assert isinstance(heard, Heard), heard
        return await self.carrier.follow(heard)


class ScriptedEstates:
    """Takes an estate, or refuses it."""

    refuses = ""

    async def follow(self, text: str, *, actor: str, reason: str) -> None:
        if self.refuses:
            raise EstateRefused(self.refuses)


class NoFailover:
    def __init__(self) -> None:
        self.wardens: dict[str, Any] = {}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def drain(change_id: str, node: str) -> dict[str, Any]:
    body = {"id": change_id, "kind": "drain", "node": node, "actor": "alice", "reason": "kernel"}
    return body | {"created_at": "2026-11-23T00:00:00Z", "duration_s": 60.0}


def book(desk: Desk) -> list[str]:
    return [change.id for change in desk.world.book.changes]


async def test_a_refusal_of_the_guard_is_told_and_its_change_is_put_once_there_is_room(desk: Desk) -> None:
    """Three servers, of which one is spare."""
    both = [drain("c-000001", "web1"), drain("c-000002", "web2")]
    await desk.hears(changes=both)
    assert book(desk) == ["c-000001"]
    (refusal,) = desk.carrier.refusals()
    assert (refusal.id, "spare" in refusal.detail) == ("c-000002", True)
    assert desk.carrier.followed.revision == 1
    await desk.hears(changes=both)
    assert kinds(desk.world).count("change.refused") == 1  # not told again each time that it is tried
    ended = [{"id": "c-000001", "actor": "alice", "reason": "done"}]
    await desk.hears(revision=2, changes=both[1:], ended=ended)
    assert book(desk) == ["c-000002"]
    assert desk.carrier.refusals() == []


async def test_what_a_person_undid_here_stays_undone_and_is_told(desk: Desk) -> None:
    await desk.hears(changes=[drain("c-000001", "web1")])
    desk.world.book = desk.world.book.undo("c-000001", actor="bob", reason="mine", now=NOW)
    await desk.hears(revision=2, changes=[drain("c-000001", "web1")])
    assert book(desk) == []
    assert [one.detail for one in desk.carrier.refusals()] == ["undone here by bob: mine"]


async def test_an_estate_that_is_refused_is_told_once_and_tried_again(desk: Desk) -> None:
    desk.estates.refuses = "no such thing"
    await desk.hears(changes=[drain("c-000001", "web1")])
    assert "no such thing" in desk.carrier.error
    assert desk.carrier.followed.revision == 0
    assert book(desk) == ["c-000001"]
    desk.carrier.begin_again()
    await desk.hears(changes=[drain("c-000001", "web1")])
    assert kinds(desk.world).count("estate.refused") == 1
    desk.estates.refuses = ""
    desk.carrier.begin_again()
    await desk.hears(changes=[drain("c-000001", "web1")])
    assert (desk.carrier.error, desk.carrier.followed.revision) == ("", 1)


async def test_nothing_is_done_that_could_not_be_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    full = _raising(OSError(28, "No space left on device"))
    with monkeypatch.context() as disk:
        disk.setattr(FollowedFile, "save", full)
        await desk.hears(changes=[drain("c-000001", "web1")])
        assert book(desk) == []
        assert "Make room" in desk.carrier.error
    await desk.hears(changes=[drain("c-000001", "web1")])
    assert (book(desk), desk.carrier.error) == (["c-000001"], "")


async def test_an_undo_that_could_not_be_kept_is_not_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.hears(changes=[drain("c-000001", "web1")])
    with monkeypatch.context() as disk:
        disk.setattr(type(desk.world.changes), "save", _raising(BookNotSaved("no room")))
        await desk.hears(revision=2)
        assert "not undone" in desk.carrier.error
    assert book(desk) == ["c-000001"]
    await desk.hears(revision=2)
    assert (book(desk), desk.carrier.error, desk.carrier.followed.revision) == ([], "", 2)


async def test_an_order_for_an_address_that_is_not_ours_is_answered(desk: Desk) -> None:
    order = {"id": "o-000001", "kind": "rearm", "ip": "www", "actor": "alice", "reason": "x", "expires_in_s": 60}
    await desk.hears(orders=[order])
    await desk.carrier.settled()
    (outcome,) = desk.carrier.outcomes()
    assert (outcome.done, outcome.detail) == (False, "lb1 is no candidate for www.")
    await desk.hears(orders=[order])
    assert kinds(desk.world).count("order.begun") == 1
    desk.carrier.told(["o-000001"])
    assert desk.carrier.outcomes() == ()


async def test_a_word_of_another_server_alters_nothing(desk: Desk) -> None:
    refused = await desk.hears(server="server-two", changes=[drain("c-000001", "web1")])
    assert refused is not None
    assert desk.world.book == ChangeBook()
    assert desk.carrier.followed == Followed()


def _raising(error: Exception) -> Callable[..., None]:
    def raises(*_: object) -> None:
        raise error

    return raises
