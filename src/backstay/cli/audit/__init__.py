"""`backstay audit`: who differs among nodes that ought to be alike, and which fact explains it.

commands   what is typed
files      facts and indicators of files, the cluster, the time looked at
example    a made-up cluster to try it on
looking    facts diff, compare, explain: from what was read to reports
"""

from backstay.cli.audit.commands import audit

__all__ = ["audit"]
