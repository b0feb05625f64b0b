"""One kind of probe a module: each connects afresh, gives a `Verdict`, and raises only what `verdict.of_error` knows.

icmp.py         one socket for thousands of targets, told apart by sequence number and a secret in the payload
tcp.py          a connect
http.py         a GET over a new connection (HTTP and HTTPS)
certificate.py  what is wrong with a certificate, in words
verdict.py      errors -> outcomes (pure)
"""
