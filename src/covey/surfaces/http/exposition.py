"""The node's measurements in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from covey.surfaces.http.metrics import BUCKETS, Gauge, Metrics


def expose(metrics: Metrics) -> bytes:
    """Return all measurements, the process's own among them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(metrics))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "covey_http_requests",
            "Requests by operation and HTTP status.",
            labels=("operation", "status"),
        )
        for labels, count in self._metrics.requests.items():
            requests.add_metric(labels, count)
        yield requests
        yield self._durations()
        yield from _gauges(self._metrics.gauges())

    def _durations(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(
            "covey_http_request_duration_seconds",
            "Time from a request's headers to the end of its response, streams left out.",
            labels=("operation",),
        )
        bounds = [str(bound) for bound in BUCKETS] + ["+Inf"]
        for operation, latency in self._metrics.latencies.items():
            buckets = list(zip(bounds, accumulate(latency.counts), strict=True))
            family.add_metric((operation,), buckets, latency.seconds)
        return family


def _gauges(found: Iterable[Gauge]) -> Iterable[GaugeMetricFamily]:
    families: dict[str, GaugeMetricFamily] = {}
    for item in found:
        names = tuple(item.labels)
        family = families.setdefault(
            item.name, GaugeMetricFamily(item.name, item.help, labels=names)
        )
        family.add_metric([item.labels[name] for name in names], item.value)
    return families.values()
