"""The load-balancer tier: desired configuration, drains, health, rescaling; engines that carry the traffic.

estate + changes + health + shares -> desired -> render -> check -> apply -> observe
"""
