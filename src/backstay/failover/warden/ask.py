"""Asks the provider who holds the address (its word is the truth), and the other candidates how they stand."""

from __future__ import annotations

from backstay.failover import memory as kept
from backstay.failover.pace import BURST_LIMIT_S
from backstay.failover.ports import Owner, ProviderError
from backstay.failover.standpoint import OWNER_EVERY_S
from backstay.failover.warden.desk import Desk
from backstay.failover.warden.heed import Heed
from backstay.failover.warden.take import Take

OWNER_SOON_S = 2.0  # between two reads while something is amiss
OWNER_TIMEOUT_S = 4.0
PEERS_EVERY_S = 5.0
PEERS_SOON_S = 0.25  # in a burst: an agent that died with its engine may die a moment later


class Ask:
    def __init__(self, desk: Desk, heed: Heed, take: Take) -> None:
        self._desk = desk
        self._heed = heed
        self._take = take
        self._reading = False
        self._asking = False

    # --- the provider's word ---------------------------------------------------------------------------------------

    def read_when_due(self, now_s: float) -> None:
        """On a schedule, and at once when something is amiss."""
        if now_s < self._desk.known.owner_due_s or self._reading or self._desk.busy:
            return
        self._reading = True
        self._desk.spawn(self.read())

    async def read(self) -> None:
        """Ask the provider now, and take in what it says; what it says not is `known.owner_error`."""
        desk, known, asked_s = self._desk, self._desk.known, self._desk.now_s()
        wait_s = OWNER_EVERY_S
        try:
            owner = await desk.hands.provider.owner(desk.declared.address, timeout_s=OWNER_TIMEOUT_S)
        except ProviderError as error:
            if not known.owner_error:
                desk.pen("ip.owner_unknown", str(error))
            known.owner_error = str(error)
            wait_s = max(OWNER_SOON_S, error.retry_after_s or 0.0)
        else:
            known.owner_error = ""
            newest = known.owner_at_s is None or asked_s >= known.owner_at_s
            if newest:  # else a later question was answered sooner
                known.owner_at_s, known.owner_at = asked_s, desk.wall()
            if newest and not desk.busy:  # a takeover that began meanwhile knows better
                self._heard(owner)
            if self._heed.suspected is not None or owner.moving or desk.memory.taking or desk.memory.expected:
                wait_s = OWNER_SOON_S
        finally:
            self._reading = False
        known.owner_due_s = desk.now_s() + wait_s

    def _heard(self, owner: Owner) -> None:
        """Take in the provider's word; finish what a crash interrupted."""
        desk, known = self._desk, self._desk.known
        before, known.owner = known.owner, owner
        if owner.holder is not None:
            known.nobody_since_s = None
        elif known.nobody_since_s is None:
            known.nobody_since_s = desk.now_s()
        if before is not None and before.holder != owner.holder:
            self._moved(before.holder, owner.holder)
        if owner.moving:
            return
        taking = desk.memory.taking
        if owner.holder == desk.me and taking is not None:
            self._take.arrived(taking, calls=0, took_s=0.0)
        elif owner.holder == desk.me and not desk.memory.held:
            desk.keep(kept.arrived(desk.memory))
        elif taking is not None and owner.holder != desk.me:
            why = "the provider says that it did not come about"
            desk.pen("ip.takeover_abandoned", why, data={"owner": owner.holder}, cause=taking.id)
            desk.keep(kept.abandoned(desk.memory))
        elif owner.holder == desk.me and desk.memory.unverified is not None:
            self._take.verify(desk.memory.unverified)
        self._follow_expected(owner)

    def _moved(self, before: str | None, now: str | None) -> None:
        desk = self._desk
        if now is not None:
            desk.hands.watcher.begin_anew(now)
            desk.known.dead_since_s.pop(now, None)
        desk.pen("ip.moved", f"from {before or 'nobody'} to {now or 'nobody'}", data={"owner": now})

    def _follow_expected(self, owner: Owner) -> None:
        """A move that a person announced has come, or has not come in time."""
        desk, memory, reading = self._desk, self._desk.memory, self._desk.hands.clock()
        if memory.expected is None:
            return
        if kept.expects(memory, reading, owner.holder):
            desk.keep(kept.handed_over(memory) if memory.held else kept.settled(memory))
            if memory.held:
                desk.pen("ip.handed_over", f"a person moved it to {owner.holder}: no quarantine")
        elif kept.expected_no_more(memory, reading):
            desk.keep(kept.settled(memory))

    # --- the others ------------------------------------------------------------------------------------------------

    def ask_peers_when_due(self, now_s: float) -> None:
        if now_s < self._desk.peers_due_s or self._asking:
            return
        suspected_for_s = self._desk.hands.watcher.suspected_for_s()
        bursts = suspected_for_s is not None and suspected_for_s <= BURST_LIMIT_S
        self._desk.peers_due_s = now_s + (PEERS_SOON_S if bursts else PEERS_EVERY_S)
        self._asking = True
        self._desk.spawn(self._ask_peers())

    async def _ask_peers(self) -> None:
        desk = self._desk
        others = [name for name in desk.declared.candidates if name != desk.me]
        try:
            found = await desk.hands.peers.standings(desk.declared.name, others)
            told = {name: standing for name, standing in found.items() if standing is not None}
            before = desk.known.standings
            if any(one.took and not (name in before and before[name].took) for name, one in told.items()):
                # Whoever took it holds it, most likely. That is to be known before it counts as one that had its turn:
                # else the next in line begins a takeover that the provider's compare refuses.
                await self.read()
        finally:
            self._asking = False
        for name in found:
            desk.hands.watcher.hear_of_agent(name, gone=name not in told)
        # Who does not answer now is as it was: a dead one's quarantine has not ended.
        desk.known.standings = {**desk.known.standings, **told}
