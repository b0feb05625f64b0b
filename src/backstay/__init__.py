"""Backstay keeps the services of a small fleet up, and proves it.

    estate + changes -> desired -> engine -> applied        (reconcile)
    look -> decide -> journal -> act -> verify               (react)

Rooms, lowest first: estate (declared), journal (remembered), look (seen), change (altered),
balance (the load-balancer tier), agent (the daemon on a load balancer), lab (an estate on this
machine), cli (commands). Imports point downwards; import-linter holds it.
"""

__version__ = "0.1.0.dev0"
