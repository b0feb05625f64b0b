"""The daemon on a load balancer: loops that reconcile, look, decide, journal, act and verify.

    __main__.py   the process; lean.py keeps it small
    start.py      disk -> World: estate, engine, journal, changes
    shell.py      World -> loops, control API, signals; read this first
    world.py      what the loops share; record.py its pen
    loops/        one matter a module
    control/      the API: routes, views, metrics
    host/         certificates, the estate in force, checkpoint, systemd, logs
    client.py     how commands and peers speak to an agent; paths.py the files (the JSON is in link/views.py)

Others use `client.clients_for` and the types of `link.views`.
"""
