"""Prometheus metrics. Labels are bounded: upstreams are configured, the rest are enumerations."""

from collections import defaultdict
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from cacheproxy.domain.events import (
    Event,
    FillEnded,
    FillStarted,
    Responded,
    Source,
    UpstreamAnswered,
    UpstreamReceived,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FIRST_BYTE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DURATION = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """Counts events (`Observer`)."""

    def __init__(self, upstreams: tuple[str, ...] = ()) -> None:
        # A series of when each counter began doubles the page, and nobody asks for it.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated
        self.registry = CollectorRegistry()
        self._served: dict[str, int] = defaultdict(int)
        self._fetched: dict[str, int] = defaultdict(int)
        self._saved: dict[str, int] = defaultdict(int)
        self._define()
        for upstream in upstreams:
            # Shown from the start, so that a rate over them is right from the first request.
            self._upstream_bytes.labels(upstream)
            self._saved_bytes.labels(upstream)

    def _define(self) -> None:
        registry = self.registry
        self._requests = Counter(
            "cacheproxy_requests_total",
            "Requests of clients, by what the cache did for them.",
            ("upstream", "operation", "outcome"),
            registry=registry,
        )
        self._served_bytes = Counter(
            "cacheproxy_served_bytes_total",
            "Body bytes sent to clients, by where they came from.",
            ("upstream", "source"),
            registry=registry,
        )
        self._upstream_bytes = Counter(
            "cacheproxy_upstream_bytes_total",
            "Body bytes that crossed the upstream link.",
            ("upstream",),
            registry=registry,
        )
        self._saved_bytes = Counter(
            "cacheproxy_saved_bytes_total",
            "Body bytes sent to clients beyond those that crossed the upstream link.",
            ("upstream",),
            registry=registry,
        )
        self._upstream_requests = Counter(
            "cacheproxy_upstream_requests_total",
            "Requests to upstream, by its answer's status; `none` where no answer came.",
            ("upstream", "method", "status"),
            registry=registry,
        )
        self._upstream_up = Gauge(
            "cacheproxy_upstream_up",
            "Whether upstream's last answer was one, and no server error.",
            ("upstream",),
            registry=registry,
        )
        self._ratelimit = Gauge(
            "cacheproxy_upstream_ratelimit_remaining",
            "Pulls left by upstream's last word.",
            ("upstream",),
            registry=registry,
        )
        self._fills_in_flight = Gauge(
            "cacheproxy_fills_in_flight", "Blobs being downloaded now.", registry=registry
        )
        self._fills = Counter(
            "cacheproxy_fills_total",
            "Downloads of blobs that have ended.",
            ("upstream", "outcome"),
            registry=registry,
        )
        self._first_byte = Histogram(
            "cacheproxy_time_to_first_byte_seconds",
            "From a request's head to its response's head.",
            ("operation", "outcome"),
            buckets=_FIRST_BYTE,
            registry=registry,
        )
        self._duration = Histogram(
            "cacheproxy_request_duration_seconds",
            "From a request's head to its response's end.",
            ("operation", "outcome"),
            buckets=_DURATION,
            registry=registry,
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Show a number that is read when the metrics are."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def observe(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Responded():
                self._responded(event)
            case UpstreamAnswered():
                self._answered(event)
            case UpstreamReceived(upstream, count):
                self._upstream_bytes.labels(upstream).inc(count)
                self._fetched[upstream] += count
            case FillStarted():
                self._fills_in_flight.inc()
            case FillEnded(upstream, _, error):
                self._fills_in_flight.dec()
                self._fills.labels(upstream, "failed" if error else "committed").inc()
            case _:
                pass

    def render(self) -> bytes:
        """All metrics in the text format."""
        return generate_latest(self.registry)

    def _responded(self, event: Responded) -> None:
        asked = event.asked
        self._requests.labels(asked.registry, asked.operation, event.outcome).inc()
        self._first_byte.labels(asked.operation, event.outcome).observe(event.first_byte)
        self._duration.labels(asked.operation, event.outcome).observe(event.duration)
        if asked.registry and event.body_bytes:
            self._count_served(asked.registry, event.source, event.body_bytes)

    def _count_served(self, upstream: str, source: Source, count: int) -> None:
        self._served_bytes.labels(upstream, source).inc(count)
        self._served[upstream] += count
        # While a blob is on its way in, more has been fetched than served: a counter waits.
        saved = self._served[upstream] - self._fetched[upstream]
        if saved > self._saved[upstream]:
            self._saved_bytes.labels(upstream).inc(saved - self._saved[upstream])
            self._saved[upstream] = saved

    def _answered(self, event: UpstreamAnswered) -> None:
        status = "none" if event.status is None else str(event.status)
        self._upstream_requests.labels(event.registry, event.method, status).inc()
        up = event.status is not None and event.status < 500
        self._upstream_up.labels(event.registry).set(up)
        if event.ratelimit_remaining is not None:
            self._ratelimit.labels(event.registry).set(event.ratelimit_remaining)
