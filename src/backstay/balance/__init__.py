"""The load-balancer tier: desired configuration, drains, health, rescaling; engines that carry the traffic.

estate + changes + health + shares -> desired -> render -> check -> apply -> observe

    desired.py     what one load balancer shall run, and the difference between two of them in words
    health.py      checks with rise and fall, and what backends say of themselves
    eject.py       backends whose check says ready and whose live traffic fails
    window.py      what was seen since the last step; merges over the load balancers of a tier
    signal.py      a backend's inflation against its pool, and how sure that is
    rescale.py     shares from it, a step at a time, each with its reason
    record.py      the rescaler's state and steps as JSON; replay.py and explain.py read them
    pace.py        when an engine may be reloaded for shares; slowstart.py ramps those that come back
    drain.py       the proof of a drain
    accesslog.py   the engines' access log -> samples
    engines/       one vendor a module

All but the adapters is pure: the time and everything seen are arguments. See docs/balance.md and docs/rescaling.md.
"""
