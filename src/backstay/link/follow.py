"""What a load balancer does with the server's word: refuse it, or carry out what is new in it. Pure.

    what is pinned and kept   the word says                          then
    ------------------------  -------------------------------------  -------------------------------------------
    server S                  another server                         refused: enrolled with S
    estate E, load balancer   another estate or load balancer        refused: not for me
    revision 40               revision below 40                      refused: the server's database is an older one
    anything                  what contradicts itself                refused: nonsense
    estate sha                another estate's text                  adopt it, once: a person may overrule it here
    its changes, in my book   one that it no longer has              undo it, as who ended it there says
    my book                   one that my book has never seen        put it: my own guard may still refuse
    orders begun and done     one that I have never begun            journal its id, then do it: at most once
    orders begun and done     one that was begun, and I died         not done again: its outcome is unknown

The whole word is compared with what is kept, so a hundred missed revisions need only the last one; and carrying out
the same word twice does nothing the second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backstay.change import ChangeBook, ChangeRequest
from backstay.change.model import Change
from backstay.link.wire import CHANGES_LIMIT, ORDERS_LIMIT, ChangeRefusal, Desired, Ending, Ident, Order, OrderOutcome

ORDERS_KEPT = 1_000  # orders that were begun: a word that was under way when one was settled still names it
UNKNOWN = "unknown: the agent died while it did this. Look before it is ordered again: backstay ip show"
EXPIRED = "not begun: it came after its time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What was agreed at enrolment."""

    server: str  # its identity
    estate: str
    lb: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An order that was begun here."""

    outcome: OrderOutcome | None = None  # None: under way, or the agent died meanwhile
    told: bool = False  # the server has said that it knows the outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What is kept of the server's word; on disk before anything follows from it."""

    revision: int = 0  # that was followed last
    estate_sha256: str = ""  # of the server's estate that was adopted last, whatever is in force since
    changes: tuple[str, ...] = ()  # ids that the server may have put into this book
    orders: Mapping[str, Begun] = field(default_factory=dict)  # by id, oldest first
    forgot: bool = False  # what was kept is lost: orders of the next word may have been done already


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How this load balancer stands as it hears a word."""

    book: ChangeBook
    estate: str  # name of the estate in force
    heard_sha256: str  # of the server's estate that was told last: adopted, or refused
    at_work: Set[str] = frozenset()  # orders under way


class Reason(StrEnum):
    ANOTHER_SERVER = "another_server"
    ANOTHER_ESTATE = "another_estate"
    ANOTHER_LOAD_BALANCER = "another_load_balancer"
    OLDER = "older"
    NONSENSE = "nonsense"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The word is not followed; all stays as it is."""

    reason: Reason
    sentence: str  # what, where, what next


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Put this estate in force."""

    text: str
    sha256: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is to be done, in this order: room is made before it is taken, and changes meet the estate they mean."""

    undo: tuple[Ending, ...] = ()
    adopt: Adopt | None = None
    put: tuple[ChangeRequest, ...] = ()
    orders: tuple[Order, ...] = ()
    settle: tuple[OrderOutcome, ...] = ()  # outcomes that are known without doing anything
    again: tuple[str, ...] = ()  # orders whose outcome the server asks for again

    @property
    def nothing(self) -> bool:
        return self == Steps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A word, and what of it this agent does not understand because the server is newer."""

    desired: Desired
    refusals: tuple[ChangeRefusal, ...] = ()
    outcomes: tuple[OrderOutcome, ...] = ()


# --- hearing ---------------------------------------------------------------------------------------------------------


def parse_desired(plain: object) -> Heard | Refused:
    """The word in `plain` (decoded JSON). A change or an order of an unknown kind is left out and told, one by one:
    the rest must not wait for an agent to be renewed."""
    if not isinstance(plain, dict):
        return _nonsense("it is no JSON object")
    given = dict(plain)
    changes, strange_changes = _understood(given.pop("changes", []), TypeAdapter(ChangeRequest), CHANGES_LIMIT)
    orders, strange_orders = _understood(given.pop("orders", []), TypeAdapter(Order), ORDERS_LIMIT)
    try:
        desired = Desired.model_validate(given | {"changes": changes, "orders": orders})
    except ValidationError as error:
        return _nonsense(_faults(error))
    return Heard(
        desired=desired,
        refusals=tuple(ChangeRefusal(id=one, detail=f"not understood: {why}") for one, why in strange_changes),
        outcomes=tuple(
            OrderOutcome(id=one, done=False, detail=f"not understood: {why}") for one, why in strange_orders
        ),
    )


def _understood(plain: object, adapter: TypeAdapter[Any], limit: int) -> tuple[list[Any], list[tuple[str, str]]]:
    """What is understood of a list, and (id, why) of the rest. What is no list at all is for Desired to refuse."""
    if not isinstance(plain, list) or len(plain) > limit:
        return [plain], []
    good, strange = [], []
    for one in plain:
        try:
            good.append(adapter.validate_python(one))
        except ValidationError as error:
            try:
                known_by = _IDENT.validate_python(one.get("id") if isinstance(one, dict) else None)
            except ValidationError:
                return [plain], []  # not even an id to tell it by
            strange.append((known_by, _faults(error)[:1_000]))
    return good, strange


_IDENT: TypeAdapter[str] = TypeAdapter(Ident)


def _faults(error: ValidationError) -> str:
    shown = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in shown)


# --- deciding --------------------------------------------------------------------------------------------------------


def decide_follow(pinned: Pinned, followed: Followed, standing: Standing, word: Desired) -> Refused | Steps:
    """What is to be done about `word`."""
    refused = _refuse(pinned, followed, standing, word)
    if refused is not None:
        return refused
    known = followed.orders
    fresh = [order for order in word.orders if order.id not in known]
    return Steps(
        undo=_to_undo(followed, standing.book, word),
        adopt=_to_adopt(followed, word),
        put=tuple(change for change in word.changes if standing.book.get(change.id) is None),
        orders=tuple(order for order in fresh if order.expires_in_s > 0 and not followed.forgot),
        settle=(
            *(
                _not_done(one.id, UNKNOWN if followed.forgot else EXPIRED)
                for one in fresh
                if one.expires_in_s <= 0 or followed.forgot
            ),
            *(
                _not_done(one, UNKNOWN)
                for one, begun in known.items()
                if begun.outcome is None and one not in standing.at_work
            ),
        ),
        again=tuple(one.id for one in word.orders if one.id in known and known[one.id].told),
    )


def _refuse(pinned: Pinned, followed: Followed, standing: Standing, word: Desired) -> Refused | None:
    if word.server != pinned.server:
        return Refused(
            reason=Reason.ANOTHER_SERVER,
            sentence=f"another server answers ({word.server}): {pinned.lb} is enrolled with {pinned.server}. "
            "If it shall be this one from now on: backstay agent enrol",
        )
    if word.lb != pinned.lb:
        return Refused(
            reason=Reason.ANOTHER_LOAD_BALANCER,
            sentence=f"the server speaks to {word.lb}, and this is {pinned.lb}. Enrol each with a token of its own.",
        )
    running = standing.estate
    if word.estate != pinned.estate or word.estate != running:
        mine = pinned.estate if pinned.estate == running else f"{running} (enrolled for {pinned.estate})"
        return Refused(
            reason=Reason.ANOTHER_ESTATE,
            sentence=f"the server has estate {word.estate}, and {pinned.lb} is a load balancer of {mine}. "
            "Whichever is wrong: give the server the right estate, or enrol with the right server.",
        )
    if word.revision < followed.revision:
        return Refused(
            reason=Reason.OLDER,
            sentence=f"the server is at revision {word.revision}, and {followed.revision} was followed here: its "
            "database is an older copy. What it has forgotten is not undone. When what it says now shall hold: "
            f"backstay agent enrol, on {pinned.lb}",
        )
    return _contradiction(standing, word)


def _contradiction(standing: Standing, word: Desired) -> Refused | None:
    text = word.estate_text
    if text is not None and hashlib.sha256(text.encode()).hexdigest() != word.estate_sha256:
        return _nonsense("the text of its estate is not the one that it names")
    if text is None and word.estate_sha256 != standing.heard_sha256:
        return _nonsense("it leaves out the text of an estate that was never told")
    ids = [change.id for change in word.changes]
    if twice := _twice(ids) or _twice([order.id for order in word.orders]):
        return _nonsense(f"it says {twice} twice")
    if both := set(ids) & {ending.id for ending in word.ended}:
        return _nonsense(f"change {min(both)} is both in force and ended")
    return None


def _to_undo(followed: Followed, book: ChangeBook, word: Desired) -> tuple[Ending, ...]:
    """The server's changes that are in force here, and not there any more."""
    wanted = {change.id for change in word.changes}
    told = {ending.id: ending for ending in word.ended}
    return tuple(
        told.get(one) or Ending(id=one, actor="server", reason="the server no longer has it")
        for one in followed.changes
        if one not in wanted and isinstance(book.get(one), Change)
    )


def _to_adopt(followed: Followed, word: Desired) -> Adopt | None:
    """An estate once: what a person puts in force here afterwards is the later word, until the server has another."""
    if word.estate_text is None or word.estate_sha256 == followed.estate_sha256:
        return None
    return Adopt(text=word.estate_text, sha256=word.estate_sha256, actor=word.estate_actor, reason=word.estate_reason)


# --- keeping ---------------------------------------------------------------------------------------------------------


def intending(followed: Followed, word: Desired) -> Followed:
    """Before anything is done: whatever is put from now on is known to be the server's."""
    fresh = [change.id for change in word.changes if change.id not in set(followed.changes)]
    return replace(followed, changes=(*followed.changes, *fresh)) if fresh else followed


def having_followed(followed: Followed, word: Desired) -> Followed:
    """After everything was done: its estate is in force, and what it no longer has is undone. Changes that this load
    balancer refused are no reason to follow it again; they are put when its guard allows them."""
    return replace(
        followed,
        revision=word.revision,
        estate_sha256=word.estate_sha256,
        changes=tuple(change.id for change in word.changes),
        forgot=False,
    )


def beginning(followed: Followed, order_id: str) -> Followed:
    """Before an order is done. Of those whose outcome the server knows only the newest are kept."""
    orders = {**followed.orders, order_id: Begun()}
    for one in [one for one, begun in orders.items() if begun.told][: max(0, len(orders) - ORDERS_KEPT)]:
        del orders[one]
    return replace(followed, orders=orders)


def settled(followed: Followed, outcomes: Sequence[OrderOutcome]) -> Followed:
    """These are known now, and not yet told."""
    return replace(followed, orders={**followed.orders, **{one.id: Begun(outcome=one) for one in outcomes}})


def told(followed: Followed, ids: Sequence[str], *, told: bool = True) -> Followed:
    """The server has said that it knows (or, with `told` False, asks for) the outcomes of these."""
    known = {one: followed.orders[one] for one in ids if one in followed.orders}
    changed = {one: replace(begun, told=told) for one, begun in known.items() if begun.outcome is not None}
    return replace(followed, orders={**followed.orders, **changed}) if changed else followed


def untold(followed: Followed) -> tuple[OrderOutcome, ...]:
    """Outcomes for the next report."""
    return tuple(begun.outcome for begun in followed.orders.values() if begun.outcome is not None and not begun.told)


def _not_done(order_id: str, detail: str) -> OrderOutcome:
    return OrderOutcome(id=order_id, done=False, detail=detail)


def _twice(ids: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            return one
        seen.add(one)
    return None


def _nonsense(what: str) -> Refused:
    return Refused(
        reason=Reason.NONSENSE, sentence=f"what the server says makes no sense: {what}. Are both of one version?"
    )
