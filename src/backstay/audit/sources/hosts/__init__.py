"""The indicators of a host, the same whoever reads them: each is a sum over metrics of node_exporter.

exposition.py  Prometheus's and OpenMetrics' text -> samples
selector.py    which samples: node_cpu_seconds_total{mode="user"}
table.py       indicator -> sums of selectors; their value of samples, and their PromQL

`prometheus` asks for the PromQL, `exporter` sums what it scraped, and `ssh` makes the same samples of /proc. So a
cluster's sources can be swapped without losing what was learned. All is pure. docs/audit-sources.md has the table.
"""
