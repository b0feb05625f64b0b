"""The agent's loops, one a module; `shell.py` builds them, `supervise.py` takes their turns.

engine.py        is it up, what does it carry; a dead one is brought back
probing.py       health and serving ports of every backend, and the backends' own words
traffic.py       the access log: ejection of liars, signals for rescaling, drains' figures
rescaling.py     this load balancer's window and its peers' -> shares
changing.py      changes: put, undo, expire; the guard
draining.py      the proof of each drain
reconcile.py     desired -> engine
housekeeping.py  certificates, checkpoint, spool
"""
