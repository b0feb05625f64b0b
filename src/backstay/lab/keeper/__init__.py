"""The keeper: the process that holds a lab, its control socket, and the client that commands use.

Commands never enter the lab's namespaces: they ask the keeper, which is already inside, over a unix socket in the lab's
folder. When the keeper dies, however it dies, the lab goes with it.
"""
