"""Global IPs: suspicion, takeover, quarantine.

    probes -> suspect (evidence) -> decide (state, reason) -> journal -> provider -> verify through the address

So far the pure core: `suspect` (is it dead, or merely unlucky?) and `decide` (who takes the address, and when).
"""
