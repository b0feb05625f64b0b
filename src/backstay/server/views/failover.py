"""Global IPs: who holds them by whose word, their candidates, and why each holds the others for alive or dead. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from backstay.server.model import ServerOrder
from backstay.server.views.nodes import load_balancer
from backstay.server.views.scene import Scene
from backstay.server.views.scene.said import Evidence, Ip, Probe, Said
from backstay.server.views.scene.words import DEATH, REASON, Standing, Tone, candidate, worst

TRACE_SHOWN = 120  # points of evidence
STRIP_SHOWN = 40  # probes
_MARK = {"answered": ("ok", "|"), "refused": ("bad", "r"), "bad_certificate": ("bad", "c"), "not_sent": ("idle", "?")}


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """One candidate, by its own word."""

    lb: str
    zone: str
    standing: Standing
    why: str
    holds: bool
    stale: bool  # its agent is not connected: this is its last word
    quarantined: datetime | None
    took: bool
    frozen_until: datetime | None
    verified: str
    agent: Standing

    @property
    def wants_rearm(self) -> bool:
        return self.quarantined is not None or self.took


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A global IP in a list."""

    name: str
    address: str
    provider: str
    holder: str | None
    known: bool  # a candidate has heard the provider; `holder` None: nobody holds it
    moving: bool
    by: str  # who says so: the candidate that heard the provider last; "" when nobody did
    heard_at: datetime | None
    candidates: tuple[CandidateRow, ...]
    tone: Tone
    tiers: tuple[str, ...]
    handover: bool
    false_takeovers_per_year: float

    @property
    def frozen_until(self) -> datetime | None:
        return max((one.frozen_until for one in self.candidates if one.frozen_until), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Probes in a row with the same outcome: a stretch of a strip."""

    tone: str
    marks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow:
    """What one load balancer's probes of one kind say of a target."""

    by: str
    of: str
    kind: str
    outcome: str
    answered_ago_s: float | None
    rtt_ms: float | None
    detail: str
    strip: tuple[Run, ...]
    missed: int  # of the probes shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Evidence at one moment of a suspicion."""

    seconds: float  # since its first point
    evidence: float  # nats
    threshold: float  # nats
    silent_s: float
    patience_s: float

    @property
    def evidence_part(self) -> float:
        """Of what convinces: 1.0 is enough."""
        return round(max(0.0, self.evidence) / self.threshold, 3) if self.threshold > 0 else 1.0

    @property
    def silence_part(self) -> float:
        """Of the patience: 1.0 is enough."""
        return round(self.silent_s / self.patience_s, 3) if self.patience_s > 0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How the evidence of the last suspicion of one watcher grew."""

    by: str
    of: str
    began_at: datetime
    points: tuple[Point, ...]
    death: str
    convincing: bool

    @property
    def sentence(self) -> str:
        last = self.points[-1]
        end = "It was convinced." if self.convincing else "It was not convinced."
        return (
            f"{self.by} suspected {self.of}: {DEATH.get(self.death, self.death)}. Silent for {last.silent_s:.2f} s of "
            f"{last.patience_s:.2f} s patience, evidence {last.evidence:.1f} of {last.threshold:.1f} nats. {end}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPage:
    address: Address
    by: str  # whose probes and evidence are shown; "": no candidate is connected
    watchers: tuple[str, ...]  # whose could be
    probes: tuple[ProbeRow, ...]
    trace: Trace | None  # None: it has suspected nobody since its start
    orders: tuple[ServerOrder, ...]


def addresses(scene: Scene, names: Iterable[str] | None = None) -> list[Address]:
    """These global IPs, in this order; None: all of them, in that of the file."""
    return [address(scene, name) for name in (scene.estate.global_ips if names is None else names)]


def address(scene: Scene, name: str) -> Address:
    """Raises KeyError for an address that is not declared."""
    declared = scene.estate.global_ips[name]
    words = {lb: said.ips[name] for lb in declared.candidates if (said := scene.said.get(lb)) and name in said.ips}
    heard = [(lb, ip) for lb, ip in words.items() if ip.owner_known and ip.owner_at is not None]
    # The connected first: a dead load balancer's last word is older, whatever its clock said.
    newest = max(heard, key=lambda one: (one[0] in scene.fresh, one[1].owner_at), default=None)
    holder = newest[1].owner if newest else None
    rows = tuple(_candidate(scene, name, lb, words.get(lb), holder) for lb in declared.candidates)
    tones = [row.standing.tone for row in rows]
    nobody = newest is None or holder is None
    return Address(
        name=name,
        address=str(declared.address),
        provider=declared.provider,
        holder=holder,
        known=newest is not None,
        moving=newest is not None and newest[1].moving,
        by=newest[0] if newest else "",
        heard_at=newest[1].owner_at if newest else None,
        candidates=rows,
        tone=Tone.BAD if nobody else worst(tones),
        tiers=tuple(tier for tier, entry in scene.estate.tiers.items() if entry.global_ip == name),
        handover=declared.handover,
        false_takeovers_per_year=declared.false_takeovers_per_year,
    )


def _candidate(scene: Scene, name: str, lb: str, ip: Ip | None, holder: str | None) -> CandidateRow:
    said, stale = scene.said.get(lb), lb not in scene.fresh
    standing = Standing("not heard", Tone.WARN, "idle") if ip is None or stale else candidate(ip.state)
    why = "its agent does not tell of it" if ip is None else REASON.get(ip.reason, ip.reason)
    frozen_until = None
    if ip is not None and said is not None and ip.frozen_for_s is not None:
        frozen_until = said.at + timedelta(seconds=ip.frozen_for_s)
    return CandidateRow(
        lb=lb,
        zone=scene.estate.nodes[lb].zone,
        standing=standing,
        why=f"its last word: {why}" if ip is not None and stale else why,
        holds=lb == holder,
        stale=stale,
        quarantined=ip.quarantined if ip else None,
        took=ip.took if ip else False,
        frozen_until=frozen_until,
        verified=ip.verified if ip else "",
        agent=load_balancer(scene, lb)[0],
    )


def address_page(scene: Scene, name: str, by: str = "") -> AddressPage:
    """One address. `by`: whose probes and evidence are shown; "": who suspected somebody last. Raises KeyError."""
    shown = address(scene, name)
    watchers = [row.lb for row in shown.candidates if (said := scene.fresh.get(row.lb)) and name in said.ips]
    traces = {lb: trace for lb in watchers if (trace := _trace(lb, scene.fresh[lb], scene.fresh[lb].ips[name]))}
    if by not in watchers:
        newest = max(traces.values(), key=lambda trace: trace.began_at, default=None)
        others = [lb for lb in watchers if lb != shown.holder]
        by = newest.by if newest else next(iter([*others, *watchers]), "")
    return AddressPage(
        address=shown,
        by=by,
        watchers=tuple(watchers),
        probes=tuple(_probes(by, scene.fresh[by].ips[name])) if by else (),
        trace=traces.get(by),
        orders=tuple(one for one in scene.snapshot.orders if one.order.ip == name),
    )


def _trace(lb: str, said: Said, ip: Ip) -> Trace | None:
    """The points of the last suspicion: those of the same target as the newest, oldest first."""
    if not ip.trace:
        return None
    of = ip.trace[-1].of
    run: list[Evidence] = []
    for point in reversed(ip.trace[-TRACE_SHOWN:]):
        if point.of != of:
            break
        run.append(point)
    run.reverse()
    first, last = run[0], run[-1]
    return Trace(
        by=lb,
        of=of,
        began_at=said.at - timedelta(seconds=first.ago_s),
        points=tuple(
            Point(
                seconds=round(first.ago_s - point.ago_s, 3),
                evidence=point.log_likelihood,
                threshold=point.threshold,
                silent_s=point.silent_s,
                patience_s=point.patience_s,
            )
            for point in run
        ),
        death=last.death,
        convincing=last.convincing,
    )


def _probes(lb: str, ip: Ip) -> Iterator[ProbeRow]:
    """A row for each kind of probe to each other candidate, to oneself and to the gateway."""
    for seen in ip.candidates_seen:
        for probe in seen.probes:
            yield _probe(lb, seen.lb, probe)
    for of, probes in (("itself", ip.own), ("the gateway", ip.gateway)):
        for probe in probes:
            yield _probe(lb, of, probe)


def _probe(by: str, of: str, probe: Probe) -> ProbeRow:
    outcomes = [outcome for _, outcome in probe.strip[-STRIP_SHOWN:]]
    return ProbeRow(
        by=by,
        of=of,
        kind=probe.kind,
        outcome=probe.outcome.replace("_", " "),
        answered_ago_s=probe.answered_ago_s,
        rtt_ms=probe.rtt_ms,
        detail=probe.detail,
        strip=strip(outcomes),
        missed=sum(outcome not in ("answered", "not_sent") for outcome in outcomes),
    )


def strip(outcomes: Sequence[str]) -> tuple[Run, ...]:
    """The outcomes as marks, oldest first: `|` answered, `x` missed, `r` refused, `c` bad certificate, `?` not sent."""
    marks = [_MARK.get(outcome, ("bad", "x")) for outcome in outcomes]
    return tuple(
        Run(tone=tone, marks="".join(mark for _, mark in run)) for tone, run in groupby(marks, key=lambda one: one[0])
    )


# --- a planned move, before it is made ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """One thing to know before a move."""

    tone: Tone
    words: str


def move_plan(scene: Scene, name: str, to: str) -> list[Word]:
    """What would happen, and what speaks against it; a BAD one means that the agent will refuse. Raises KeyError."""
    ip = address(scene, name)
    target = next(row for row in ip.candidates if row.lb == to)
    said = scene.fresh.get(to)
    words: list[Word] = []
    if target.holds:
        words.append(Word(Tone.BAD, f"{to} holds {name} already."))
    if said is None:
        words.append(Word(Tone.BAD, f"The agent of {to} is not connected: nobody would carry it out."))
    elif not said.status.engine.running:
        words.append(Word(Tone.BAD, f"The engine on {to} does not run."))
    if target.quarantined is not None:
        words.append(Word(Tone.BAD, f"{to} is quarantined. Rearm it first."))
    if not ip.known:
        words.append(Word(Tone.BAD, "The provider has not said who holds it."))
    if ip.moving:
        words.append(Word(Tone.BAD, "It is being moved at this moment."))
    if words:
        return words
    words.append(Word(Tone.OK, f"{to} answers, its engine runs, and it is not quarantined."))
    others = [row for row in ip.candidates if row.lb != to]
    away = [row.lb for row in others if row.lb not in scene.fresh]
    told = [row.lb for row in others if row.lb in scene.fresh]
    if told:
        words.append(Word(Tone.OK, f"{', '.join(told)}: told first, so that nobody takes it for a loss."))
    if away:
        lost = "; it quarantines itself when it loses the address" if ip.holder in away else ""
        words.append(Word(Tone.WARN, f"{', '.join(away)}: not connected, and not told{lost}."))
    if ip.handover:
        words.append(Word(Tone.OK, "Connections that are open are passed on to the old holder (handover)."))
    else:
        words.append(Word(Tone.WARN, "Connections that are open at the old holder are cut (handover is off)."))
    crosses = ip.holder is not None and scene.estate.nodes[ip.holder].zone != target.zone
    if crosses:
        words.append(Word(Tone.INFO, f"It leaves the zone: from {ip.holder} to {to} in {target.zone}."))
    return words
