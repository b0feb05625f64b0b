"""HAProxy, by its configuration and its runtime socket.

Desired -> config, pool -> adapter: check, reload, verify
Desired -> state (weights) -> runtime commands, without a reload
output: its access log, which never blocks it
"""

from backstay.balance.engines.haproxy.adapter import Haproxy

__all__ = ["Haproxy"]
