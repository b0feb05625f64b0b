"""Prometheus and what speaks its query API (Thanos, Mimir, VictoriaMetrics): the kind `prometheus`.

api.py      one query over a time -> series of labels, in windows that the server takes
answer.py   the API's JSON -> series, its warnings, or why not (pure)
mapping.py  which node an `instance` is; when a value was really scraped (pure)
reading.py  an answer -> series of nodes; who is missing, and why (pure)
source.py   the queries of all indicators -> Series
"""

from backstay.audit.sources.prometheus.source import PrometheusIndicators, PrometheusSettings, indicators

__all__ = ["PrometheusIndicators", "PrometheusSettings", "indicators"]
