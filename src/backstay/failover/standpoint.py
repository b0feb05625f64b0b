"""From what a warden knows to the View that `decide` takes. Reads only, but for what `dead_since_s` remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backstay.failover import memory as kept
from backstay.failover.model import Death, Evidence, View
from backstay.failover.suspect import weigh
from backstay.failover.watch import GATEWAY
from backstay.look.model import Outcome, ProbeKind

if TYPE_CHECKING:
    from backstay.failover.warden.desk import Desk

FRESH_S = 5.0  # an answer counts for that long
OWNER_EVERY_S = 30.0  # the strictest limit of a vendor that we know is 50 an hour (Hetzner's Robot), for moves
START_S = 30.0  # an engine and its agent are up by then


def view_of(desk: Desk) -> View:
    """What is known of the address now."""
    now_s, known, memory, me = desk.now_s(), desk.known, desk.memory, desk.me
    evidence = {name: evidence_of(desk, name) for name in desk.declared.candidates if name != me}
    _remember_deaths(desk, evidence, now_s)
    owner = known.owner.holder if known.owner else None
    frozen_for_s = kept.frozen_for_s(memory, desk.hands.clock())
    mine = frozenset({me})
    barred = frozenset(name for name, one in known.standings.items() if one.quarantined)
    took = frozenset(name for name, one in known.standings.items() if one.took)
    return View(
        candidates=desk.declared.candidates,
        owner=owner,
        owner_known=known.owner is not None,
        quarantined=barred - mine | (mine if memory.quarantined else frozenset()),
        frozen_until_s=None if frozen_for_s is None else now_s + frozen_for_s,
        taken_by=took - mine | (mine if memory.took else frozenset()),
        evidence=evidence,
        own_engine_answers=fit_for(desk, evidence.get(owner) if owner else None),
        references_answer=_not_alone(desk, owner, now_s),
        in_flight=desk.busy or memory.taking is not None or bool(known.owner and known.owner.moving),
        was_mine=memory.held,
        dead_since_s=known.nobody_since_s if owner is None else known.dead_since_s.get(owner),
    )


def evidence_of(desk: Desk, name: str) -> Evidence | None:
    """None while it answers. One that was never seen alive is given the time of a start: we may all be starting."""
    watcher = desk.hands.watcher
    suspicion = watcher.suspicions.get(name)
    if suspicion is None:
        return None
    rate = desk.declared.false_takeovers_per_year
    found = weigh(suspicion, desk.now_s(), false_takeovers_per_year=rate)
    if found is not None and name not in desk.known_before and not watcher.served(name):
        return replace(found, patience_s=max(found.patience_s, START_S))
    return found


def fit_for(desk: Desk, evidence: Evidence | None) -> bool:
    """Does my own engine answer, at the least where the holder's does not?

    A certificate that no probe of mine trusts is no better here than there: for that death it must be good.
    """
    asked = {kind: one for (node, kind), one in desk.hands.watcher.asked.items() if node == desk.me}
    service = [one.last for kind, one in asked.items() if kind is not ProbeKind.ICMP]
    good = {Outcome.ANSWERED}
    since_s = desk.now_s() - 2 * FRESH_S
    if evidence is None or evidence.death is not Death.TLS:
        good.add(Outcome.BAD_CERTIFICATE)
    else:
        # Certificates end at the same moment: what mine was worth before the holder's was refused tells nothing.
        since_s = max(since_s, desk.now_s() - evidence.silent_s)
    # Without an HTTP service there is nothing of the engine's own to ask.
    return all(last is not None and last.at_s >= since_s and last.outcome in good for last in service)


def _remember_deaths(desk: Desk, evidence: dict[str, Evidence | None], now_s: float) -> None:
    dead_since_s = desk.known.dead_since_s
    for name, found in evidence.items():
        if found is not None and found.convincing:
            dead_since_s.setdefault(name, now_s)
        elif dead_since_s.pop(name, None) is not None and found is None:
            # It was dead, and was repaired: no silence that ended by itself.
            desk.hands.watcher.unlearn_death(name)


def _not_alone(desk: Desk, owner: str | None, now_s: float) -> bool:
    """Somebody answers me: the gateway, the provider, or another candidate; since the holder fell silent."""
    watcher, known = desk.hands.watcher, desk.known
    suspicion = watcher.suspicions.get(owner) if owner is not None else None
    if suspicion is not None and suspicion.episode is not None:
        since_s = max(now_s - FRESH_S, suspicion.episode.began_at_s)
    else:
        since_s = now_s - OWNER_EVERY_S
    if known.owner_at_s is not None and not known.owner_error and known.owner_at_s >= since_s:
        return True
    others = (GATEWAY, *(name for name in desk.declared.candidates if name not in (desk.me, owner)))
    return any(watcher.answered_since(name, since_s) for name in others)
