"""One address on one candidate: look, suspect, decide, act. The parts are in warden/; here is the order of a turn.

    heed what the watcher sees -> ask the provider and the others -> decide (pure) -> take, or quarantine, or stay

Whatever acts is journaled and on disk before it is done (warden/take.py), and verified after.
"""

from __future__ import annotations

from dataclasses import replace

from backstay.failover import memory as kept
from backstay.failover import standpoint
from backstay.failover.decide import decide_takeover
from backstay.failover.known import Declared, Hands
from backstay.failover.memory import Quarantined
from backstay.failover.model import Quarantine, TakeOver
from backstay.failover.ports import IpProvider
from backstay.failover.warden.ask import Ask
from backstay.failover.warden.desk import Desk
from backstay.failover.warden.heed import Heed
from backstay.failover.warden.people import MoveRefused, People
from backstay.failover.warden.take import Take


class Warden(Desk):
    """What the agent has of each address; `people` is what a person may ask of it."""

    def __init__(self, me: str, declared: Declared, hands: Hands) -> None:
        super().__init__(me, declared, hands)
        self._heed = Heed(self)
        self._take = Take(self)
        self._ask = Ask(self, self._heed, self._take)
        self.people = People(self, self._ask, self._take)

    def redeclare(self, declared: Declared, provider: IpProvider) -> None:
        """The estate says something else from now on."""
        self.declared = declared
        self.hands = replace(self.hands, provider=provider)

    def turn(self) -> None:
        """Decide on what is known now, and begin what follows from it. Called at every answer and every tick."""
        now_s = self.now_s()
        if self._heed.follow_suspicion(now_s):
            self._take.forget_failures()
        self._heed.follow_ourselves(now_s)
        self._ask.read_when_due(now_s)
        self._ask.ask_peers_when_due(now_s)
        self.save_when_due(now_s)
        view = standpoint.view_of(self)
        self.known.decision = decision = decide_takeover(view, self.me, now_s)
        self._take.say_when_failing(now_s)
        self._heed.say_when_stuck(view, decision, now_s)
        if isinstance(decision, Quarantine):
            self._lost()
        elif isinstance(decision, TakeOver):
            self._take.begin(decision)

    def _lost(self) -> None:
        """Another holds what was mine."""
        owner = self.holder
        if kept.expects(self.memory, self.hands.clock(), owner):
            return  # the next word of the provider hands it over (warden/ask.py)
        what = Quarantined(at=self.wall(), owner=owner, why=f"the provider says {owner or 'nobody'}")
        self.keep(kept.lost(self.memory, what))
        event = self.pen("ip.quarantined", f"{self.me} lost it to {owner or 'nobody'}", data={"owner": owner})
        self.hands.page(self.pages.quarantined(event, what))


__all__ = ["MoveRefused", "Warden"]
