"""A fault as actions with their undo. Pure: the fabric performs the actions.

`slow` on a web server is done by the server itself, so that it works in a kernel without netem; on any other host it
needs netem. `isolate` on a fabric without links stops the host's processes: nothing answers, which is what a peer sees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from backstay.lab.model import INTERNET, WITNESS, FaultKind, LabError, Layout

LOSS_DEFAULT = 20.0  # per cent, each way
SLOW_DEFAULT = 3.0  # times the service time
DELAY_DEFAULT = 100.0  # milliseconds, by netem


class Verb(StrEnum):
    KILL = "kill"  # the host's processes
    RESPAWN = "respawn"  # what was started on the host
    STOP = "stop"
    CONTINUE = "continue"
    LINK_DOWN = "link-down"
    LINK_UP = "link-up"
    LOSS = "loss"  # amount: per cent each way; 0 ends it
    DELAY = "delay"  # amount: milliseconds; 0 ends it
    FACTOR = "factor"  # the web server's service time times amount
    HEALTH = "health"  # its health port: 1 says yes, 0 says no
    SERVE = "serve"  # its serving port: 1 serves, 0 answers 500 at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    verb: Verb
    host: str
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action and what undoes it."""

    do: Action
    undo: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    id: int
    kind: FaultKind
    name: str  # host, zone or failure path, as it was asked for
    steps: tuple[Step, ...]


def plan_fault(
    kind: FaultKind, name: str, amount: float | None, layout: Layout, can: frozenset[Verb]
) -> tuple[Step, ...]:
    """The steps of a fault on this layout. Raises LabError: unknown name, bad amount, not possible in this fabric."""
    hosts = _hosts(kind, name, layout)
    if amount is not None and kind not in (FaultKind.LOSS, FaultKind.SLOW):
        raise LabError(f"{kind} takes no amount. Only loss (per cent) and slow (a factor, or milliseconds) do.")
    return tuple(_step(kind, host, amount, layout, can) for host in hosts)


def undo_of(fault: Fault, others: Iterable[Fault]) -> tuple[Action, ...]:
    """The actions that end `fault`, newest first; what another fault still in force asks for stays as it is."""
    kept = {(step.do.verb, step.do.host) for other in others for step in other.steps}
    return tuple(step.undo for step in reversed(fault.steps) if (step.do.verb, step.do.host) not in kept)


def _hosts(kind: FaultKind, name: str, layout: Layout) -> tuple[str, ...]:
    match kind:
        case FaultKind.ZONE_DOWN:
            known = sorted({host.zone for host in layout.hosts} - {INTERNET})
            found = tuple(host.name for host in layout.hosts if host.zone == name and name in known)
        case FaultKind.PATH_DOWN:
            known = sorted({path for host in layout.hosts for path in host.paths})
            found = tuple(host.name for host in layout.hosts if name in host.paths)
        case _:
            known = sorted(host.name for host in layout.hosts if host.name != WITNESS)
            found = (name,) if name in known else ()
    if not found:
        what = {FaultKind.ZONE_DOWN: "zone", FaultKind.PATH_DOWN: "failure path"}.get(kind, "host")
        raise LabError(f'"{name}" is no {what} of this lab. There are: {", ".join(known)}.')
    return found


def _step(kind: FaultKind, host: str, amount: float | None, layout: Layout, can: frozenset[Verb]) -> Step:
    is_web = any(server.host == host for server in layout.web)
    match kind:
        case FaultKind.CRASH:
            return _pair(Verb.KILL, Verb.RESPAWN, host)
        case FaultKind.HANG:
            return _pair(Verb.STOP, Verb.CONTINUE, host)
        case FaultKind.ISOLATE | FaultKind.ZONE_DOWN | FaultKind.PATH_DOWN:
            if Verb.LINK_DOWN in can:
                return _pair(Verb.LINK_DOWN, Verb.LINK_UP, host)
            return _pair(Verb.STOP, Verb.CONTINUE, host)
        case FaultKind.LOSS:
            return _loss(host, LOSS_DEFAULT if amount is None else amount, can)
        case FaultKind.SLOW:
            return _slow(host, amount, can, is_web=is_web)
        case FaultKind.UNHEALTHY | FaultKind.FAILING:
            if not is_web:
                raise LabError(f"{kind} works on the lab's web servers only, and {host} is none.")
            return _set(Verb.HEALTH if kind is FaultKind.UNHEALTHY else Verb.SERVE, host, 0.0, normal=1.0)


def _loss(host: str, percent: float, can: frozenset[Verb]) -> Step:
    if not 0 < percent <= 100:
        raise LabError(f"loss takes a share in per cent, above 0 and at most 100; not {percent:g}.")
    if Verb.LOSS not in can:
        raise LabError("loss needs network namespaces and the nft program (package nftables); this lab has not both.")
    return _set(Verb.LOSS, host, percent, normal=0.0)


def _slow(host: str, amount: float | None, can: frozenset[Verb], *, is_web: bool) -> Step:
    if amount is not None and not 0 < amount <= 60_000:
        raise LabError(f"slow takes a factor (web servers) or milliseconds, above 0; not {amount:g}.")
    if is_web:
        return _set(Verb.FACTOR, host, SLOW_DEFAULT if amount is None else amount, normal=1.0)
    if Verb.DELAY not in can:
        raise LabError(
            f"slow on {host} needs the netem queue discipline, which this kernel or fabric has not. "
            "It works on the lab's web servers, which slow down by themselves."
        )
    return _set(Verb.DELAY, host, DELAY_DEFAULT if amount is None else amount, normal=0.0)


def _pair(do: Verb, undo: Verb, host: str) -> Step:
    return Step(do=Action(verb=do, host=host), undo=Action(verb=undo, host=host))


def _set(verb: Verb, host: str, amount: float, *, normal: float) -> Step:
    return Step(do=Action(verb=verb, host=host, amount=amount), undo=Action(verb=verb, host=host, amount=normal))
