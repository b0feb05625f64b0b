"""The load balancers by way of their server: `--server URL`, or BACKSTAY_SERVER.

    way.py        the options, as one parameter of a command; the estate and the way to its load balancers (Site)
    client.py     HTTPS to the server's API
    balancer.py   one load balancer by way of the server: what `agent.client` is without one
    journal.py    the server's journal: what `journal.store` is without one

Commands and reports do not know which way they go: both ways answer load balancer by load balancer.
"""
