"""What people are told: what was seen, what was done, what was not done, and the commands to go on with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backstay.failover.memory import Quarantined, Taking
from backstay.failover.model import Evidence, Reason
from backstay.notify.model import Page, Severity


def evidence_in_words(evidence: Evidence | None) -> str:
    if evidence is None:
        return "nobody held the address"
    misses = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.misses.items())) or "none"
    return (
        f"looks like {evidence.death}: silent for {evidence.silent_s:.2f} s (patience {evidence.patience_s:.2f} s), "
        f"missed: {misses}; evidence {evidence.log_likelihood:.1f} of {evidence.threshold:.1f} nats, "
        f"packet loss {evidence.packet_loss:.1%}"
    )


STUCK = {
    Reason.TAKEN_ALREADY: "it took it already once, and nobody has rearmed it since",
    Reason.SELF_UNHEALTHY: "its own engine does not answer",
    Reason.ISOLATED: "nobody answers it: it may be the one that is cut off",
    Reason.QUARANTINED: "it is quarantined",
    Reason.FROZEN: "the address is frozen",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """The pages of one candidate about one address. `key` is the id of the journal's event that a page is about."""

    ip: str
    me: str

    def taken(self, at: datetime, taking: Taking, calls: int, took_s: float, disk_fault: str) -> Page:
        """The takeover is done; `disk_fault`: why it is not on disk, "" when it is."""
        holder = taking.holder or "nobody"
        disk = (f"this is not on disk, only in memory: {disk_fault}",) if disk_fault else ()
        return self._page(
            taking.id,
            at,
            f"{self.me} took {self.ip} over from {holder}",
            seen=(taking.why,),
            done=(f"the provider routed {self.ip} from {holder} to {self.me} ({calls} calls, {took_s:.1f} s)", *disk),
            not_done=(f"{self.ip} does not go back by itself", f"{self.me} takes nothing again before it is rearmed"),
            rearm=(taking.holder, self.me),
        )

    def failing(self, at: datetime, taking: Taking, error: str) -> Page:
        """The provider does not do it, and the holder is dead all the same."""
        return self._page(
            f"{taking.id}/failing",
            at,
            f"{self.ip}: {taking.holder or 'nobody'} is dead, and the provider does not route it to {self.me}",
            seen=(taking.why, error),
            done=("the provider is asked again until it does it, or the holder is back",),
        )

    def unverified(self, at: datetime, taking: Taking, detail: str) -> Page:
        return self._page(
            f"{taking.id}/unverified",
            at,
            f"{self.ip} is routed to {self.me}, and does not answer through it",
            seen=(detail,),
            done=(f"the provider says that {self.ip} is routed to {self.me}",),
            not_done=("nothing more: ask the provider why the address does not arrive",),
        )

    def quarantined(self, event: str, what: Quarantined) -> Page:
        return self._page(
            event,
            what.at,
            f"{self.me} lost {self.ip} to {what.owner or 'nobody'} and is quarantined",
            severity=Severity.WARNING,
            seen=(f"the provider says that {what.owner or 'nobody'} holds {self.ip}, which {self.me} held",),
            done=(f"{self.me} does not take {self.ip} until a person rearms it",),
            rearm=(self.me,),
        )

    def stuck(self, event: str, at: datetime, holder: str | None, reason: Reason, why: str) -> Page:
        """The holder is dead, and I may not, or cannot, take over."""
        return self._page(
            event,
            at,
            f"{self.ip}: {holder or 'nobody'} is dead, and {self.me} does not take over ({reason})",
            seen=(why,),
            not_done=(f"{self.me} does not take {self.ip}: {STUCK[reason]}",),
            rearm=(self.me,),
        )

    def _page(
        self,
        key: str,
        at: datetime,
        summary: str,
        *,
        seen: tuple[str, ...],
        done: tuple[str, ...] = (),
        not_done: tuple[str, ...] = (),
        rearm: tuple[str | None, ...] = (),
        severity: Severity = Severity.CRITICAL,
    ) -> Page:
        commands = {
            "look": f"backstay ip explain {self.ip}",
            "what happened": f"backstay ip history {self.ip}",
        }
        commands |= {f"rearm {lb}": f'backstay ip rearm {self.ip} {lb} --reason "..."' for lb in rearm if lb}
        return Page(
            key=key,
            at=at,
            summary=summary,
            source=self.me,
            subject=f"ip/{self.ip}",
            severity=severity,
            seen=seen,
            done=done,
            not_done=not_done,
            commands=commands,
        )
