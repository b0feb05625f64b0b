"""What the lab's machines are made of and how they behave: the story of the audit, as a model that knows any moment.

Four queue workers that ought to be alike have CPUs V1, V2, V2, V3; load and packet drops follow from them. The web
servers are a control: their CPUs are alike.

parts.py      a machine, its CPU and its facts (pure)
behave.py     what it measures at any moment: cycles, noise, counters since it booted (pure)
expose.py     that as node_exporter tells it (pure)
told.py       a time of it as files: facts, indicators (pure)
record.py     epoch, clock and changed CPUs of one lab, on disk
"""
