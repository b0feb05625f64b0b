"""Fabrics: what hosts and addresses are made of on this machine; `pick` says which one, and why.

pick.py         which fabric this machine allows, found by trying
base.py         what all fabrics share: processes, faults and their undo
namespaces.py   a network namespace a host, the keeper's own as the core router
links.py        the netlink side of it
loopback.py     127.x addresses and relays
"""
