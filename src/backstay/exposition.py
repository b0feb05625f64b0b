"""Prometheus's text format: families of samples that are read at the moment of a scrape, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Samples", "counter", "gauge", "one", "render", "summary"]

Samples = Sequence[tuple[Sequence[str], float]]  # values of the labels, value


def one(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=float(value))


def gauge(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """`name` without `_total`, which the format adds."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def summary(name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], int, float]]) -> Metric:
    """`samples`: values of the labels, how many, their sum."""
    family = SummaryMetricFamily(name, text, labels=labels)
    for values, count, total in samples:
        family.add_metric(values, count, total)
    return family


def render(families: Iterable[Metric]) -> bytes:
    """The text exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
