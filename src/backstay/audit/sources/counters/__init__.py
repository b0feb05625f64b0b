"""Counters of the kernel over SSH, where there is neither Prometheus nor an exporter: the kind `ssh` of indicators.

proc.py     /proc's files -> samples as node_exporter would tell them (pure)
ethtool.py  `ethtool -S` -> what the network cards dropped, by the driver's own names (pure)
source.py   one command a node; its output -> Series
"""

from backstay.audit.sources.counters.source import CountersSettings, SshIndicators, indicators

__all__ = ["CountersSettings", "SshIndicators", "indicators"]
