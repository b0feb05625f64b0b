"""An estate on this machine: a host a node, real engines and agents, faults, traffic and a witness.

Estate -> layout (pure) -> a folder on disk -> the keeper, which holds the fabric and every process of the lab.

    plan/       what to build for an estate, and a fault as actions with their undo (pure)
    build.py    a lab up and down: folder, certificates, keeper and hosts put together
    state.py    the lab's folder and its records
    traffic.py  the witness at work on the internet side
    proc.py     who is alive, and the sweep that leaves no process behind
    certs.py    the lab's own certificate authority
    keeper/     the process that holds a lab, its control socket, and how commands speak to it
    fabric/     namespaces (root or user namespace) and loopback, one Protocol (ports.py)
    hosts/      what runs on the hosts: web server, what tells of a machine, relay of a global IP
    machines/   what the machines are made of, and a model of what they measure
    demo/       chapters that show and verify, and the verdict
"""
