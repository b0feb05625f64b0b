"""One change on several load balancers: may it be put, where did it arrive, where does it still lack? Pure.

Every load balancer's guard is asked (a dry run) before the change is put on any, so that a refusal by one leaves
none changed. A load balancer that does not answer is not a refusal: a dead one must not keep a node from being
drained on the others. It is said, and the change can be finished there later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from backstay.estate.model import Estate, Service
from backstay.estate.select import pools_of_node, services_of


class Reply(StrEnum):
    DONE = "done"
    REFUSED = "refused"  # by the guard
    UNREACHABLE = "unreachable"
    FAILED = "failed"  # answered with an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one load balancer said."""

    lb: str
    reply: Reply
    detail: str = ""  # what, where, what next
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Nobody objects. `without`: those that did not answer."""

    without: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Nothing may be changed anywhere, and why."""

    reply: Reply
    sentences: tuple[str, ...]


class Reach(StrEnum):
    ALL = "all"
    SOME = "some"
    NONE = "none"


def load_balancers_in_scope(estate: Estate, node: str, pool: str | None) -> tuple[str, ...]:
    """The load balancers that carry a pool in which `node` serves (only `pool`, when given), in the tiers' order."""
    pools = {name for name in pools_of_node(estate, node) if pool in (None, name)}
    return tuple(
        lb
        for name, tier in estate.tiers.items()
        if any(pools & _pools_of(service) for service in services_of(estate, name).values())
        for lb in tier.members
    )


def decide_go(answers: Sequence[Answer]) -> Go | Stop:
    """May the change be put, after every load balancer was asked? One objection stops it for all."""
    for reply in (Reply.REFUSED, Reply.FAILED):
        objections = [answer for answer in answers if answer.reply is reply]
        if objections:
            return Stop(reply=reply, sentences=_told(objections))
    silent = [answer for answer in answers if answer.reply is Reply.UNREACHABLE]
    if len(silent) == len(answers):
        return Stop(reply=Reply.UNREACHABLE, sentences=_told(silent))
    notes = dict.fromkeys(note for answer in answers for note in answer.notes)
    return Go(without=tuple(answer.lb for answer in silent), notes=tuple(notes))


def reach(answers: Sequence[Answer]) -> Reach:
    """How far it came."""
    done = sum(answer.reply is Reply.DONE for answer in answers)
    return Reach.NONE if done == 0 else Reach.ALL if done == len(answers) else Reach.SOME


def worst(answers: Sequence[Answer]) -> Reply:
    """The reply that a script should hear of: not reached, then failed, then refused."""
    replies = {answer.reply for answer in answers}
    return next((one for one in (Reply.UNREACHABLE, Reply.FAILED, Reply.REFUSED) if one in replies), Reply.DONE)


def _told(answers: Sequence[Answer]) -> tuple[str, ...]:
    """Each sentence once, with the load balancers that said it: six of them often say the same."""
    by_sentence: dict[str, list[str]] = {}
    for answer in answers:
        by_sentence.setdefault(answer.detail, []).append(answer.lb)
    return tuple(f"{', '.join(lbs)}: {sentence}" for sentence, lbs in by_sentence.items())


def _pools_of(service: Service) -> set[str]:
    return {route.pool for route in service.routes} | ({service.pool} if service.pool else set())
