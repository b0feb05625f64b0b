"""What an agent and a server say to each other, and what an agent says to anybody. Pure.

    views.py   answers of the agent's control API: status, pools, backends, addresses, proofs
    wire.py    between agent and server: enrolment, what is desired, orders, reports, events
    follow.py  the agent's side, decided: is this word of the server's to be followed? what is to be done to get there?

The server decides what is desired and numbers it (a revision); the agent holds a long poll for a newer one, follows,
and reports. Neither needs the other to go on: an agent without a server keeps what it was told last.
"""
