"""The parts of a warden, which failover/shell.py puts together.

desk    what all parts share: who I am, what I was given, what I know, what I remember, and the journal
heed    what is suspected, journaled; what people must be told of when nobody acts
ask     the provider's word and the other candidates', taken in
take    the takeover: journal, disk, provider, address
people  what people ask for: rearm, freeze, expect, move
"""
