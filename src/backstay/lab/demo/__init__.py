"""The demo: chapters that show one thing each on the example estate, verified by the witness, and a verdict.

verdict.py    rows of figures, and whether they are all right (pure)
scene.py      what chapters play on: the lab, its agents, witnesses, commands, narration
chapters.py   the chapters, in their order
failover.py   the chapter on failover: takeover, quarantine, rearm, a planned move
run.py        up, chapters, verdict, and down
"""
