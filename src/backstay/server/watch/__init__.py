"""Who watches the server: GET /metrics, for Prometheus.

count.py      every request, counted as it ends
figures.py    what else is read at the moment of a scrape
metrics.py    a scene and those figures -> families of samples (pure)
routes.py     /metrics
"""
