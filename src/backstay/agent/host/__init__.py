"""What the agent needs of its machine.

certificates.py   certificate files -> checked copies of our own -> DesiredTls
adoption.py       which estate is in force: the file's, one that was applied, or the last good one
checkpoint.py     health, shares and proofs, to go on with after a restart
"""
