"""What is seen: ICMP, TCP, HTTP and HTTPS probes, and the witness that measures what a user saw.

    Target -> schedule -> Prober -> Observation        (is that machine, that port, that service alive?)
    Load -> traffic -> fates -> Witness -> report      (what did the users see?)

    model.py, ports.py   Target, Observation, Outcome; the Prober that other rooms are given
    prober.py            NetworkProber: all kinds, bounded, never raises
    probes/              one kind a module
    stall.py             did we stand still ourselves?
    schedule.py          when each of many targets is due (pure)
    shell.py             Watch: the loop over schedule and prober
    agentcheck.py        what a server says of itself in its health page (pure)
    answer.py            an HTTP/1.1 answer, byte by byte (pure)
    witness.py           downtime, latency, losses from the fates of requests (pure)
    traffic/             the witness as a program: `python -m backstay.look.traffic`

The nouns are to be had here; what does I/O is imported by its module, since the witness must stay small.
"""

from backstay.look.model import Observation, Outcome, ProbeKind, Target
from backstay.look.ports import Prober

__all__ = ["Observation", "Outcome", "ProbeKind", "Prober", "Target"]
