"""What is seen: ICMP, TCP, HTTP and HTTPS probes, and the witness that measures what a user saw.

Target -> probe -> Observation
"""
