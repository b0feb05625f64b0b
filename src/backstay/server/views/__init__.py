"""What pages and answers show: pure functions of one moment. Nothing here reads a clock, a file or a database.

    scene/        Scene: a Snapshot with its estate's index and its agents' reports at hand, at a time; `Memo` keeps
                  what was read. said.py (reports), index.py (cross references), words.py (states for people), paging.py
    nodes.py      how each node stands, over all load balancers that speak of it
    attention.py  what needs a person
    overview.py   promises, the map of regions and zones, addresses, load balancers
    balance.py    pools, one pool, one node: states, shares with their reasons, latencies, in flight
    failover.py   addresses, their candidates, probes, evidence over time
    agents.py     the agents: enrolled, heard, what they follow
    composed.py   a node with all changes in force: what Puppet and Ansible read
    changes.py    what is in force, until when, by whom; where it arrived; its proof
    journal.py    events and stories as entries with links
    estate.py     the estate file as numbered lines

The way of all of them: `memo.scene(server.snapshot(), now)`, then `pool_page(scene, name)`: frozen dataclasses for
templates, /api/v1 and /metrics.
"""
