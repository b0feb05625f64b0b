"""`backstay ip`: global IPs, as their candidates know them.

commands   what is typed
standing   list, show, history: what the candidates say, as reports
evidence   explain: the evidence as a table, and as a small plot
moving     move, rearm, freeze: what people ask of them
simulate   years of suspicion, and the trade-off as a plot; asks nobody
"""

from backstay.cli.ip.commands import ip

__all__ = ["ip"]
