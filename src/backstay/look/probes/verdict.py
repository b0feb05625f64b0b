"""What an error of the network means: the target's doing (refused, reset, unreachable), or our own (not sent). Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from backstay.look.model import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a probe saw, without the target and the time (`Observation` has them)."""

    outcome: Outcome
    status: int | None = None
    body: bytes = b""
    detail: str = ""


@dataclass(slots=True)
class Progress:
    """How far a probe came: what there is to tell when its time is over before it is done."""

    status: int | None = None
    connected: bool = False  # TCP's handshake is done: the host lives, what does not answer now is the service
    verdict: Verdict | None = None  # known already; only its words are still being looked for
    judged_at: float | None = None  # when it became known, by the clock of the event loop


_FIREWALL = "not permitted: a local firewall rule, or a missing capability"

# What each error number means, and for our own faults what a person can do about it.
_MEANINGS = {
    errno.ECONNREFUSED: (Outcome.REFUSED, "connection refused"),
    errno.ECONNRESET: (Outcome.RESET, "connection reset"),
    errno.ECONNABORTED: (Outcome.RESET, "connection aborted"),
    errno.EPIPE: (Outcome.RESET, "connection closed"),
    errno.ETIMEDOUT: (Outcome.TIMED_OUT, "no answer to the connection's packets"),
    errno.EHOSTUNREACH: (Outcome.UNREACHABLE, "no route to host"),
    errno.ENETUNREACH: (Outcome.UNREACHABLE, "network unreachable"),
    errno.EHOSTDOWN: (Outcome.UNREACHABLE, "host is down"),
    errno.ENETDOWN: (Outcome.UNREACHABLE, "network is down"),
    errno.EACCES: (Outcome.NOT_SENT, _FIREWALL),
    errno.EPERM: (Outcome.NOT_SENT, _FIREWALL),
    errno.EMFILE: (Outcome.NOT_SENT, "no file descriptor left in this process: raise LimitNOFILE"),
    errno.ENFILE: (Outcome.NOT_SENT, "no file descriptor left on this machine: raise fs.file-max"),
    errno.EADDRNOTAVAIL: (Outcome.NOT_SENT, "the source address is not on this machine, or no source port is left"),
    errno.EADDRINUSE: (Outcome.NOT_SENT, "no source port is left"),
    errno.EAFNOSUPPORT: (Outcome.NOT_SENT, "this machine does not speak that address family"),
}


def of_error(error: OSError) -> Verdict:
    """The verdict for an error of connect, read or write. What only this machine can cause is `NOT_SENT`."""
    if error.errno in _MEANINGS:
        outcome, words = _MEANINGS[error.errno]
        return Verdict(outcome=outcome, detail=words)
    if isinstance(error, ConnectionResetError):  # asyncio raises it without a number when TLS is cut
        return Verdict(outcome=Outcome.RESET, detail="connection reset")
    return Verdict(outcome=Outcome.NOT_SENT, detail=error.strerror or str(error) or type(error).__name__)
