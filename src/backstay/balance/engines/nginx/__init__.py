"""nginx, by its own configuration and signals.

Desired -> config (text, backends, build: what this binary can) -> adapter: check, reload, verify
access log, error log, sockets -> traffic -> samples, in flight
"""

from backstay.balance.engines.nginx.adapter import Nginx

__all__ = ["Nginx"]
