"""Who takes the address, and when. Pure: a view and the time in, a decision with its reason out.

States of a candidate for an address, and what moves it on:

    from          to            when
    watching      suspecting    the holder misses a probe of its service (the watcher bursts)
    suspecting    watching      the service answers again
    suspecting    taking        the evidence convinces, I am fit, and it is my turn
    taking        holding       the provider routed it, and the address answers through me
    taking        suspecting    the provider refused or failed; its word is read again
    holding       active        a person rearmed me
    active        quarantined   the provider says that another holds what was mine
    holding       quarantined   likewise
    quarantined   watching      a person rearmed me
    any           frozen        a person froze the address (until its expiry)

Invariants (tests/unit/failover/test_estates.py plays them against any order of faults):

- no takeover by a quarantined, frozen, isolated or unhealthy candidate, nor on the word of anyone but the provider;
- never two automatic moves to one candidate without a rearm, so nothing can flap;
- one takeover in flight at a time; the owner is compared before it is replaced, and never unassigned first.
"""

from __future__ import annotations

from backstay.failover.model import Decision, Evidence, Quarantine, Reason, State, Stay, TakeOver, View

# A preferred candidate that lives is given this long, from the holder's death on, before the next one acts: longer
# than its own detection and the compare at the provider, so that two do not race in health.
TURN_S = 10.0


def decide_takeover(view: View, me: str, now_s: float) -> Decision:
    """Say whether `me` should take the address now.

    Never true for a quarantined load balancer, so one that lost the address cannot win it back unasked.
    """
    assert me in view.candidates, f"{me} is no candidate"
    standing = _standing(view, me, now_s)
    if standing is not None:
        return standing
    if view.owner is None:
        return _fit(view, me, now_s, Reason.NO_HOLDER, None)
    if view.owner not in view.candidates:
        return Stay(Reason.FOREIGN_OWNER, State.WATCHING)
    evidence = view.evidence.get(view.owner)
    if evidence is None:
        return Stay(Reason.HOLDER_ANSWERS, State.WATCHING)
    if not evidence.convincing:
        return Stay(Reason.NOT_CONVINCED, State.SUSPECTING)
    return _fit(view, me, now_s, Reason.HOLDER_DEAD, evidence)


def _standing(view: View, me: str, now_s: float) -> Decision | None:
    """What settles the matter whatever the holder does."""
    if view.in_flight:
        return Stay(Reason.IN_FLIGHT, State.TAKING)
    if not view.owner_known:
        return Stay(Reason.OWNER_UNKNOWN, State.QUARANTINED if me in view.quarantined else State.WATCHING)
    if view.owner == me:
        return Stay(Reason.I_HOLD, State.HOLDING if me in view.taken_by else State.ACTIVE)
    if me in view.quarantined:
        return Stay(Reason.QUARANTINED, State.QUARANTINED)
    if view.was_mine:
        return Quarantine(Reason.LOST_ADDRESS)
    if view.frozen_until_s is not None and now_s < view.frozen_until_s:
        return Stay(Reason.FROZEN, State.FROZEN)
    return None


def _fit(view: View, me: str, now_s: float, reason: Reason, evidence: Evidence | None) -> Decision:
    """The address needs a holder: am I fit, and is it my turn?"""
    if me in view.taken_by:
        return Stay(Reason.TAKEN_ALREADY, State.SUSPECTING)
    if not view.own_engine_answers:
        return Stay(Reason.SELF_UNHEALTHY, State.SUSPECTING)
    if not view.references_answer:
        return Stay(Reason.ISOLATED, State.SUSPECTING)
    turn_s = TURN_S * len(living_before(view, me))
    if turn_s and (view.dead_since_s is None or now_s < view.dead_since_s + turn_s):
        return Stay(Reason.NOT_MY_TURN, State.SUSPECTING)
    return TakeOver(reason=reason, holder=view.owner, evidence=evidence)


def living_before(view: View, me: str) -> tuple[str, ...]:
    """Preferred candidates that could take it: not the holder, not barred, and not convincingly dead."""
    barred = view.quarantined | view.taken_by | ({view.owner} if view.owner else set())
    ahead = view.candidates[: view.candidates.index(me)]
    return tuple(name for name in ahead if name not in barred and not _dead(view.evidence.get(name)))


def _dead(evidence: Evidence | None) -> bool:
    return evidence is not None and evidence.convincing
