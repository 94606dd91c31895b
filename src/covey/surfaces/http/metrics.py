"""What the node measures of itself, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Gauge:
    """One measured value of the node at this moment; `name` begins with `covey_`."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


GaugeProvider = Callable[[], Iterable[Gauge]]


class Metrics:
    """Counts requests, and asks the provider for the node's gauges when it is read."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, gauges: GaugeProvider) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "covey_http_requests",
            "Requests by operation and HTTP status.",
            ("operation", "status"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "covey_http_request_duration_seconds",
            "Time from a request's headers to the end of its response, streams left out.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_Gauges(gauges))
        ProcessCollector(registry=self._registry)

    def observe(self, operation: str, status: int, seconds: float, *, streamed: bool) -> None:
        """Count one request; a status of 0 is a client that left without an answer."""
        self._requests.labels(operation, str(status) if status else "none").inc()
        if not streamed:
            self._latency.labels(operation).observe(seconds)

    def render(self) -> bytes:
        """Return everything as text."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, provider: GaugeProvider) -> None:
        self._provider = provider

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for item in self._provider():
            names = tuple(item.labels)
            family = families.setdefault(
                item.name, GaugeMetricFamily(item.name, item.help, labels=names)
            )
            family.add_metric([item.labels[name] for name in names], item.value)
        return families.values()
