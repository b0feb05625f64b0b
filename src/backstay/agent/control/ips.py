"""`/v1/ips`: what a candidate knows of its global IPs, and what people ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints

from backstay.agent.control.app import Trouble, answer, parse
from backstay.agent.loops.failover import Failover
from backstay.agent.world import World, now_s
from backstay.change import ChangeInvalid, read_clock
from backstay.change.wire import Line
from backstay.failover import memory as kept
from backstay.failover.model import Evidence, Quarantine, State, Stay
from backstay.failover.shell import MoveRefused, Warden
from backstay.failover.watch import GATEWAY
from backstay.journal.model import JournalError
from backstay.journal.wire import event_json
from backstay.link.views import IpCandidateView, IpEvidenceView, IpExplainView, IpProbeView, IpView

HISTORY_LIMIT = 200
SPOOL_CHUNK = 1_000


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    actor: Line
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class _MoveBody(_Body):
    to: str


class _RearmBody(_Body):
    false_alarm: bool = False  # its last takeover was for nothing


class _FreezeBody(_Body):
    for_s: float  # 0 ends a freeze


class IpRoutes:
    def __init__(self, world: World, failover: Failover) -> None:
        self._world = world
        self._failover = failover

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/ips", self.ips),
            web.get("/v1/ips/{ip}", self.ip),
            web.get("/v1/ips/{ip}/explain", self.explain),
            web.get("/v1/ips/{ip}/seen", self.seen),
            web.get("/v1/ips/{ip}/history", self.history),
            web.post("/v1/ips/{ip}/expect", self.expect),
            web.post("/v1/ips/{ip}/move", self.move),
            web.post("/v1/ips/{ip}/rearm", self.rearm),
            web.post("/v1/ips/{ip}/freeze", self.freeze),
        ]

    # --- what is -------------------------------------------------------------------------------------------------

    async def ips(self, request: web.Request) -> web.Response:
        return answer([self._view(warden) for warden in self._failover.wardens.values()])

    async def ip(self, request: web.Request) -> web.Response:
        return answer(self._view(self._warden(request)))

    async def explain(self, request: web.Request) -> web.Response:
        return answer(self._explained(self._warden(request)))

    def explains(self) -> list[IpExplainView]:
        """Of every global IP for which this one is a candidate."""
        return [self._explained(warden) for warden in self._failover.wardens.values()]

    def _explained(self, warden: Warden) -> IpExplainView:
        names = [name for name in warden.declared.candidates if name != self._world.lb]
        return IpExplainView(
            **self._view(warden),
            candidates_seen=[self._candidate(warden, name) for name in names],
            own=self._probes(self._world.lb),
            gateway=self._probes(GATEWAY),
            trace=[
                {"ago_s": round(now_s() - one.at_s, 3), "of": one.of, **_evidence(one.evidence)}
                for one in warden.known.traces
            ],
        )

    async def seen(self, request: web.Request) -> web.Response:
        """What this machine gets at the address itself; also where it is no candidate."""
        name = request.match_info["ip"]
        if name not in self._world.estate.global_ips:
            raise Trouble(404, f"no global IP {name[:64]} in the estate.")
        return answer(asdict(await self._failover.see(name)))

    async def history(self, request: web.Request) -> web.Response:
        """Events of the address that are still in this agent's spool, oldest first."""
        subject = f"ip/{self._warden(request).declared.name}"
        found: list[dict[str, Any]] = []
        after: str | None = None
        try:
            while events := self._world.record.spool.read(after, SPOOL_CHUNK):
                found += [event_json(event) for event in events if event.subject == subject]
                del found[:-HISTORY_LIMIT]
                after = events[-1].id
                await asyncio.sleep(0)  # a long spool must not hold up the watch
        except JournalError as error:
            raise Trouble(503, str(error)) from None
        return answer(found)

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def expect(self, request: web.Request) -> web.Response:
        warden, body = self._warden(request), await parse(request, _MoveBody)
        self._must_be_candidate(warden, body.to)
        await warden.people.expect(body.to, body.actor, body.reason)
        return answer(self._view(warden))

    async def move(self, request: web.Request) -> web.Response:
        warden, body = self._warden(request), await parse(request, _MoveBody)
        if body.to != self._world.lb:
            raise Trouble(422, f"this is {self._world.lb}: a move is asked of its target, {body.to}.")
        with _refusals():
            await warden.people.move_here(body.actor, body.reason)
        return answer(self._view(warden))

    async def rearm(self, request: web.Request) -> web.Response:
        warden, body = self._warden(request), await parse(request, _RearmBody)
        with _refusals():
            warden.people.rearm(body.actor, body.reason, false_alarm=body.false_alarm)
        return answer(self._view(warden))

    async def freeze(self, request: web.Request) -> web.Response:
        warden, body = self._warden(request), await parse(request, _FreezeBody)
        with _refusals():
            warden.people.freeze(body.for_s, body.actor, body.reason)
        return answer(self._view(warden))

    # --- parts -----------------------------------------------------------------------------------------------------

    def _warden(self, request: web.Request) -> Warden:
        name = request.match_info["ip"]
        warden = self._failover.wardens.get(name)
        if warden is None:
            known = ", ".join(self._failover.wardens) or "none"
            raise Trouble(404, f"{self._world.lb} is no candidate for {name[:64]}. It is for: {known}.")
        return warden

    def _must_be_candidate(self, warden: Warden, name: str) -> None:
        if name not in warden.declared.candidates:
            known = ", ".join(warden.declared.candidates)
            raise Trouble(422, f"{name[:64]} is no candidate for {warden.declared.name}. Candidates: {known}.")

    def _view(self, warden: Warden) -> IpView:
        known, memory, declared = warden.known, warden.memory, warden.declared
        decision = known.decision
        frozen_for_s = kept.frozen_for_s(memory, read_clock())
        state = State.TAKING
        if isinstance(decision, Stay):
            state = decision.state
        elif isinstance(decision, Quarantine):
            state = State.QUARANTINED
        return IpView(
            ip=declared.name,
            lb=self._world.lb,
            address=declared.address,
            candidates=list(declared.candidates),
            owner=known.owner.holder if known.owner else None,
            owner_known=known.owner is not None,
            owner_at=_iso(known.owner_at),
            owner_error=known.owner_error or None,
            moving=bool(known.owner and known.owner.moving) or warden.busy,
            state=state.value,
            reason=decision.reason.value,
            quarantined=_iso(memory.quarantined.at) if memory.quarantined else None,
            took=memory.took,
            frozen_for_s=None if frozen_for_s is None else round(frozen_for_s, 1),
            verified=known.verified or None,
            on_disk=not warden.hands.keep.fault,
        )

    def _candidate(self, warden: Warden, name: str) -> IpCandidateView:
        suspicion = self._failover.watcher.suspicions.get(name)
        evidence = warden.evidence_of(name)
        standing = warden.known.standings.get(name)
        return IpCandidateView(
            lb=name,
            answers=suspicion is not None and suspicion.episode is None,
            evidence=_evidence(evidence) if evidence else None,
            quarantined=standing.quarantined if standing else None,
            took=standing.took if standing else None,
            icmp_filtered=suspicion is not None and suspicion.icmp_only_since_s is not None,
            silences=[
                {"death": s.death.value, "ago_s": round(now_s() - s.ended_at_s, 1), "lasted_s": round(s.duration_s, 3)}
                for s in (suspicion.normal.silences[-10:] if suspicion else ())
            ],
            probes=self._probes(name),
        )

    def _probes(self, node: str) -> list[IpProbeView]:
        now = now_s()
        return [
            IpProbeView(
                kind=kind.value,
                outcome=asked.last.outcome.value if asked.last else None,
                ago_s=round(now - asked.last.at_s, 3) if asked.last else None,
                answered_ago_s=None if asked.answered_at_s is None else round(now - asked.answered_at_s, 3),
                rtt_ms=round(asked.rtt.mean_s * 1e3, 2) if asked.rtt else None,
                detail=asked.detail,
                strip=[[round(now - seen.at_s, 3), seen.outcome.value] for seen in asked.seen],
            )
            for (name, kind), asked in self._failover.watcher.asked.items()
            if name == node
        ]


def _evidence(evidence: Evidence) -> IpEvidenceView:
    return IpEvidenceView(
        death=evidence.death.value,
        silent_s=round(evidence.silent_s, 3),
        patience_s=round(evidence.patience_s, 3),
        log_likelihood=round(evidence.log_likelihood, 2),
        threshold=round(evidence.threshold, 2),
        packet_loss=round(evidence.packet_loss, 5),
        misses={kind.value: count for kind, count in evidence.misses.items()},
        answers={kind.value: count for kind, count in evidence.answers.items()},
        convincing=evidence.convincing,
    )


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except MoveRefused as refused:
        raise Trouble(409, str(refused), code="move_refused") from None
    except ChangeInvalid as invalid:
        raise Trouble(422, str(invalid)) from None
