"""What the node measures of itself; how it is written for Prometheus is `exposition`'s."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency buckets, in seconds."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One measured value of the node at this moment; `name` begins with `covey_`."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


GaugeProvider = Callable[[], Iterable[Gauge]]


@dataclass(slots=True)
class Latency:
    """The durations of one operation's requests: how many fell in each bucket, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """Counts requests, and asks the provider for the node's gauges when it is read."""

    media_type = "text/plain; version=1.0.0; charset=utf-8"

    def __init__(self, gauges: GaugeProvider) -> None:
        self.gauges = gauges
        self.requests: dict[tuple[str, str], int] = {}
        self.latencies: dict[str, Latency] = {}

    def observe(self, operation: str, status: int, seconds: float, *, streamed: bool) -> None:
        """Count one request; a status of 0 is a client that left without an answer."""
        key = (operation, str(status) if status else "none")
        self.requests[key] = self.requests.get(key, 0) + 1
        if not streamed:
            self.latencies.setdefault(operation, Latency()).observe(seconds)

    def render(self) -> bytes:
        """Return everything as text."""
        # A node whose metrics nobody reads is spared the library's two megabytes.
        from covey.surfaces.http.exposition import expose  # noqa: PLC0415

        return expose(self)
