"""The prober: one process, thousands of targets, every kind. Never raises, and always returns by the timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address

from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.look.probes.http import Http
from backstay.look.probes.icmp import Echo
from backstay.look.probes.tcp import probe_tcp
from backstay.look.probes.verdict import Progress, Verdict, of_error
from backstay.look.stall import StallMeter

_STALL_S = 0.25  # less is never our excuse


def utc_now() -> datetime:
    return datetime.now(UTC)


class NetworkProber:
    """Probes real targets; a `ports.Prober`. Belongs to the event loop that it is first used in; `close` it there.

    A probe that could not be judged through our own fault is `NOT_SENT`, never `TIMED_OUT`: no permission, no file
    descriptor, too many probes at once, or an event loop that stood still (a paused virtual machine, an overloaded one)
    for more than a quarter of the timeout, and 250 ms, while the probe was under way. Whoever decides on takeovers must
    not take our own sleep for the death of a target.
    """

    def __init__(self, *, concurrency: int = 2000, now: Callable[[], datetime] = utc_now) -> None:
        """`concurrency`: probes in flight at once, an open file each; the rest wait within their own timeout."""
        self._slots = asyncio.Semaphore(concurrency)
        self._concurrency = concurrency
        self._now = now
        self._stall = StallMeter()
        self._http = Http()
        self._echoes: dict[tuple[bool, str | None], Echo] = {}

    async def probe(self, target: Target, *, timeout_s: float) -> Observation:
        """Probe once. Cancelled, it leaves no connection behind."""
        asked = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            words = f"{self._concurrency} probes are in flight already"
            return self._observation(target, self._now(), 0.0, Verdict(outcome=Outcome.NOT_SENT, detail=words))
        try:
            return await self._probe(target, asked, timeout_s)
        finally:
            self._slots.release()

    async def close(self) -> None:
        for echo in self._echoes.values():
            echo.close()
        self._echoes.clear()

    async def _probe(self, target: Target, asked: float, timeout_s: float) -> Observation:
        clock = asyncio.get_running_loop().time
        progress = Progress()
        sent, sent_at = clock(), self._now()
        try:
            with self._stall:
                lost_s = self._stall.lost_s()
                try:
                    async with asyncio.timeout_at(asked + timeout_s):
                        verdict = await self._dispatch(target, progress)
                except TimeoutError:
                    stalled_s = self._stall.lost_s() - lost_s
                    verdict = progress.verdict or _timed_out(progress, timeout_s, sent - asked, stalled_s)
        except OSError as error:
            verdict = of_error(error)
        except Exception as error:  # a fault of ours or of a library: whoever watches must go on
            verdict = Verdict(outcome=Outcome.NOT_SENT, detail=f"{type(error).__name__}: {error}")
        return self._observation(
            target, sent_at, (progress.judged_at or clock()) - sent, verdict, connected=progress.connected
        )

    async def _dispatch(self, target: Target, progress: Progress) -> Verdict:
        fault = _fault(target)
        if fault:
            return Verdict(outcome=Outcome.NOT_SENT, detail=fault)
        match target.kind:
            case ProbeKind.ICMP:
                return await self._echo(target).probe(target.address)
            case ProbeKind.TCP:
                return await probe_tcp(target)
            case ProbeKind.HTTP | ProbeKind.HTTPS:
                return await self._http.probe(target, progress)

    def _echo(self, target: Target) -> Echo:
        key = (":" in target.address, target.source)
        if key not in self._echoes:
            self._echoes[key] = Echo(v6=key[0], source=key[1])
        return self._echoes[key]

    def _observation(
        self, target: Target, sent_at: datetime, rtt_s: float, verdict: Verdict, *, connected: bool = False
    ) -> Observation:
        return Observation(
            target=target,
            time=sent_at,
            outcome=verdict.outcome,
            rtt_s=rtt_s,
            status=verdict.status,
            body=verdict.body,
            detail=verdict.detail,
            connected=connected,
        )


def _fault(target: Target) -> str | None:
    """What is wrong with the target itself; never to be blamed on whom it names."""
    try:
        ip_address(target.address)
    except ValueError:
        return f"{target.address!r} is no IP address: a probe never asks the DNS"
    if target.kind is ProbeKind.ICMP or (target.port is None and target.kind is not ProbeKind.TCP):
        return None  # ICMP has no ports, HTTP and HTTPS have their own
    if not 1 <= (target.port or 0) <= 65535:
        return f"a {target.kind} probe needs a port between 1 and 65535, not {target.port}"
    return None


def _timed_out(progress: Progress, timeout_s: float, waited_s: float, stalled_s: float) -> Verdict:
    """Whose fault is it that the time is over? `waited_s` for a slot; `stalled_s`: our event loop stood still."""
    if stalled_s > max(timeout_s / 4, _STALL_S):
        return Verdict(outcome=Outcome.NOT_SENT, detail=f"this process stood still for {stalled_s:.2f} s")
    if waited_s > timeout_s / 2:
        words = f"{waited_s:.2f} s of {timeout_s:g} s went by before there was a free slot"
        return Verdict(outcome=Outcome.NOT_SENT, detail=words)
    if progress.status is not None:
        words = f"status {progress.status}, then the body stalled"
        return Verdict(outcome=Outcome.TIMED_OUT, status=progress.status, detail=words)
    return Verdict(outcome=Outcome.TIMED_OUT, detail=f"no answer within {timeout_s:g} s")
