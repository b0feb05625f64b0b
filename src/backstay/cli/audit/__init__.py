"""`backstay audit`: who differs among nodes that ought to be alike, and which fact explains it.

commands    facts diff, compare, explain, example: what is typed
collecting  collect, import: what the store is filled with
fix         fix register, verify, list: planned changes and what came of them
desks       who is asked: files alone, or the store of an estate
review      what got worse this week, what changed, what comes
looking     from answers to reports
example     a made-up cluster to try it on
"""

from backstay.cli.audit import collecting, fix, review
from backstay.cli.audit.commands import audit

__all__ = ["audit", "collecting", "fix", "review"]
