"""The control API: what the commands, the peers and Prometheus ask of an agent.

app.py       sites (unix socket; HTTPS with a token), limits, every error as problem details
routes.py    one handler a route: parse, call, view
views.py     what the agent knows, as the JSON of wire.py
metrics.py   the same for Prometheus
"""
