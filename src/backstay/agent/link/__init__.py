"""The agent's side of the link to a server. Without STATE/link.json there is none, and nothing of it happens.

    enrolment.py   STATE/link.json: which server, its authority, this load balancer's credential
    enrolling.py   a join token becomes a credential
    client.py      one HTTPS call a question, every failure as one of four errors
    keep.py        STATE/followed.json: what is kept of the server's word
    shell.py       the long poll, the reports, the delivery of events; what is wrong, said
    carry.py       a word carried out by the agent's existing ways: changes, estates, wardens
    reporting.py   how this load balancer stands, as link.wire.Report
    first.py       a start without an estate file: the server's estate

What is decided is in link/follow.py.
"""
