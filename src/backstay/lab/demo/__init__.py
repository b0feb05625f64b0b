"""The demo: chapters that show one thing each on the example estate, verified by the witness, and a verdict.

verdict.py    rows of figures, and whether they are all right (pure)
scene.py      what chapters play on: the lab, its agents, witnesses, commands, narration
chapters.py   the chapters, in their order
failover.py   the chapter on failover: takeover, quarantine, rearm, a planned move
audit.py      the chapter on the audit: claims beside the truth, over weeks of the lab's time
office.py     its desk, who collects for it, and what the lab knows
run.py        up, chapters, verdict, and down
"""
