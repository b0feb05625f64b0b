"""Engines, one vendor a module; found by the entry points `backstay.engines`.

    binary.py        which binary carries the traffic, and why
    process.py       a detached engine process that outlives the agent; bounded commands
    generations.py   folders of configuration files, swapped atomically, the last good one kept
    logtail.py       the access log, read as it grows, rotated, bounded
    sockets.py       established TCP connections by socket diagnostics
    tls.py           Mozilla's TLS profiles as data
    nginx/           adapter, its pure renderer (config, backends, text; build: what the binary can do), and traffic:
                     what it carries
    haproxy/         adapter, its pure renderer (config, pool), state: what it says (pure), runtime: asks it, output:
                     its access log
    machine.py       what engines must know of this machine

On disk, in the folder that an adapter is given (`STATE/engine/`, mode 0711: unprivileged workers pass through):

    generations/ID/  one complete configuration: rendered files and copies of the certificates (0700 for root only)
    current          -> generations/ID: what the engine reads; replaced by rename
    good             -> generations/ID: what last ran and was verified
    run/             sockets, pid record (`engine.stat`)
    log/             access and error log
"""
