"""The audit on the server: collected on a schedule, once among all servers of a database, and kept for pages to show.

    model.py     nouns: results by key, the lease, what people ask for
    judge.py     what is due, what is new, what is over (pure)
    drawing.py   series as they are kept for a chart (pure)
    tables.py    the tables, beside the server's; store.py
    desk.py      the child process (backstay.audit.child), which alone has numpy and the audit's store
    passes.py    one pass: collect, compare, explain what differs, facts, fixes, review -> results and events
    shell.py     Auditing: holds the lease, turns the passes, carries out what people ask for

No page computes anything: it reads a result. docs/audit.md, On the server.
"""
