"""Facts that osquery collects: the kind `osquery` of `backstay.facts`.

    a folder   NODE.json: {"system_info": [rows], ...};  or NODE/system_info.json: [rows], as `osqueryi --json` prints
    a file     osqueryd's result log (filesystem logger): snapshots, differential results one by one or in batches

rows.py    rows of a table -> facts (pure)
log.py     lines of a result log -> the rows that there are now (pure)
source.py  both as a FactSource
"""

from __future__ import annotations

from backstay.audit.sources.osquery.source import facts

__all__ = ["facts"]
