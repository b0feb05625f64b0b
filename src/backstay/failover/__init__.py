"""Global IPs: suspicion, takeover, quarantine.

    probes -> suspect (evidence) -> decide (state, reason) -> journal + disk -> provider -> verify through the address

pure     model, suspect (is it dead, or merely unlucky?), decide (who takes it, and when), memory (what survives a
         restart), pace (how often is asked), targets (what is asked), pages (what people are told)
ports    providers/ (who routes it), peers (other agents), pen (the journal)
shell    watch (probes to suspicion), known and standpoint (what a candidate knows, as `decide` takes it), shell (one
         address on one candidate: the order of a turn), warden/ (its parts: heed, ask, take, people), keep (its disk),
         verify (who answers at the address), handover (planned moves that cut nobody off)

docs/failover.md tells the rest.
"""
