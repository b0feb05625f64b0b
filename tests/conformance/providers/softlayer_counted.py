"""The lab's SoftLayer server, with what the suite counts."""

from __future__ import annotations

from backstay.lab.provider import SoftlayerApi


class SoftlayerCounted(SoftlayerApi):
    def asked(self) -> int:
        return len(self.calls)

    def writes(self) -> int:
        return sum(call.method.endswith("::route") for call in self.calls)

    def unassigns(self) -> int:
        return sum(call.method.endswith(("::unroute", "::clearRoute")) for call in self.calls)
