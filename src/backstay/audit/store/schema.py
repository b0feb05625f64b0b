"""Tables of the store, and how an older file becomes a newer one.

Times of facts are microseconds, those of samples milliseconds, those of cells seconds: Unix time, UTC, whole numbers.
The version of a file is in `meta`. A migration is a list of statements; all that a file lacks are one transaction.
"""

from __future__ import annotations

_FIRST = (
    # Facts: intervals.py has the meaning. `last` is NULL in the newest run of a fact, which lasts until the last report
    # of the node that could have seen it: a report without news writes one row, whatever number of facts it has.
    "CREATE TABLE reports (node VARCHAR NOT NULL, time BIGINT NOT NULL)",
    'CREATE TABLE runs (node VARCHAR NOT NULL, fact VARCHAR NOT NULL, value VARCHAR, "first" BIGINT NOT NULL, '
    '"last" BIGINT)',
    # Indicators. A sample is appended to `fresh` in the order in which it comes; when its day is over, it is moved to
    # `raw`, in the order in which it is looked for. Counters are kept as they are: their rate is known only with the
    # sample before.
    # `latest`: of all samples. `folded`: older samples are in `minute` and `hour`; `edge_*`: the last of them.
    "CREATE TABLE series (id INTEGER PRIMARY KEY, node VARCHAR NOT NULL, indicator VARCHAR NOT NULL, "
    "counter BOOLEAN NOT NULL, latest BIGINT NOT NULL, folded BIGINT, edge_time BIGINT, edge_value DOUBLE)",
    "CREATE TABLE fresh (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL)",
    "CREATE TABLE raw (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL)",
    "CREATE VIEW samples AS SELECT * FROM raw UNION ALL SELECT * FROM fresh",
    "CREATE TABLE minute (series INTEGER NOT NULL, time BIGINT NOT NULL, mean FLOAT NOT NULL, count INTEGER NOT NULL)",
    "CREATE TABLE hour (series INTEGER NOT NULL, time BIGINT NOT NULL, mean FLOAT NOT NULL, count INTEGER NOT NULL)",
    # What the audit remembers. `place`: order of the first put.
    "CREATE TABLE records (kind VARCHAR NOT NULL, id VARCHAR NOT NULL, place BIGINT NOT NULL, record VARCHAR NOT NULL, "
    "PRIMARY KEY (kind, id))",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
NEWEST = len(MIGRATIONS)
