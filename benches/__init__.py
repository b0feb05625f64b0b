"""Benches: each measures a claim beside a peer in the same run. `./run bench NAME` runs `benches/NAME.py`.

    measure -> record(case, subject, figures) -> ratio to a peer -> check against a goal -> table, JSON, docs

`harness.py` is the frame that all of them share.
"""
