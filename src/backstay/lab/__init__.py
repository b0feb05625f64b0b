"""An estate on this machine: a host a node, real engines and agents, faults, traffic and a witness."""
