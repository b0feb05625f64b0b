"""The range of `./run bench failover`: one lab, three pairs of load balancers, the same faults for each.

estate.yaml    the lab: a pair and a global IP for each contender
range.py       the lab up, faults, the provider's latency, the witness of each address
contenders.py  Backstay, and keepalived as its users run it at such a provider: how each starts, rests, is restored
cost.py        packets and CPU seconds of watching, in health
limit.py       what the arithmetic alone would take: every probe on time, every answer at once
"""
