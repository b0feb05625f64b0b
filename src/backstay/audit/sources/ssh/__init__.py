"""Facts of nodes without an agent, over SSH: the kind `ssh` of `backstay.facts`.

    collect.sh --remote.py--> the node --its output--> parse/ (pure) --> values, unread --over.py--> FactReport

source.py has the kind. remote.py serves whatever else reads nodes over SSH, over.py whatever else reads facts by one
command. asyncssh is imported when the first node is asked.
"""

from __future__ import annotations

from backstay.audit.sources.ssh.source import facts

__all__ = ["facts"]
