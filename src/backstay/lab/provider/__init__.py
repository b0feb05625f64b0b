"""The lab's provider: servers that speak a vendor's wire protocol and really route.

softlayer_api   SoftLayer's REST API, as far as global IPs go
faults          how such a server can be slow, down, failing, or lying; switched while it runs
"""

from __future__ import annotations

from backstay.lab.provider.faults import Answer, Faults, Hits
from backstay.lab.provider.softlayer_api import Call, Routes, SoftlayerApi

__all__ = ["Answer", "Call", "Faults", "Hits", "Routes", "SoftlayerApi"]
