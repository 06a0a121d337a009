"""Prometheus metrics. Labels are bounded: upstreams are configured, the rest are enumerations.

With several workers each counts into files of its own (prometheus_client's multiprocess mode,
chosen by an environment variable when it is imported), and the supervisor's page adds them up.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from cacheproxy.domain.events import (
    Event,
    Evicted,
    FillEnded,
    FillStarted,
    Responded,
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
        self._held: dict[tuple[str, str, str], tuple[Counter, Histogram, Histogram]] = {}
        self._define()
        for upstream in upstreams:
            # Shown from the start, so that a rate over them is right from the first request.
            self._upstream_bytes.labels(upstream)

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
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._ratelimit = Gauge(
            "cacheproxy_upstream_ratelimit_remaining",
            "Pulls left by upstream's last word.",
            ("upstream",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._fills_in_flight = Gauge(
            "cacheproxy_fills_in_flight",
            "Blobs being downloaded now.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._fills = Counter(
            "cacheproxy_fills_total",
            "Downloads of blobs that have ended.",
            ("upstream", "outcome"),
            registry=registry,
        )
        self._evictions = Counter(
            "cacheproxy_evictions_total",
            "Blobs that were removed: for the budget, because nobody asked for them, or for a "
            "volume that was fuller than expected.",
            ("reason",),
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

    def observe(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Responded():
                self._responded(event)
            case UpstreamAnswered():
                self._answered(event)
            case UpstreamReceived(upstream, count):
                self._upstream_bytes.labels(upstream).inc(count)
            case Evicted(_, _, _, reason):
                self._evictions.labels(reason).inc()
            case FillStarted():
                self._fills_in_flight.inc()
            case FillEnded(upstream, _, error):
                self._fills_in_flight.dec()
                self._fills.labels(upstream, "failed" if error else "committed").inc()
            case _:
                pass

    def _responded(self, event: Responded) -> None:
        asked = event.asked
        requests, first_byte, duration = self._of_requests(
            asked.registry, asked.operation, event.outcome
        )
        requests.inc()
        first_byte.observe(event.first_byte)
        duration.observe(event.duration)
        if event.source != "none" and event.body_bytes:
            self._served_bytes.labels(asked.registry, event.source).inc(event.body_bytes)

    def _of_requests(
        self, upstream: str, operation: str, outcome: str
    ) -> tuple[Counter, Histogram, Histogram]:
        """The three that every request counts in: held, for to look one up costs as much again."""
        key = upstream, operation, outcome
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = (
                self._requests.labels(upstream, operation, outcome),
                self._first_byte.labels(operation, outcome),
                self._duration.labels(operation, outcome),
            )
        return held

    def _answered(self, event: UpstreamAnswered) -> None:
        status = "none" if event.status is None else str(event.status)
        self._upstream_requests.labels(event.registry, event.method, status).inc()
        up = event.status is not None and event.status < 500
        self._upstream_up.labels(event.registry).set(up)
        if event.ratelimit_remaining is not None:
            self._ratelimit.labels(event.registry).set(event.ratelimit_remaining)


class Source(Protocol):
    """Where numbers come from."""

    def collect(self) -> Iterable[Metric]:
        """The numbers, now."""
        ...


class Page:
    """All metrics in the text format, of one process or of several."""

    def __init__(self, *sources: Source) -> None:
        self._registry = CollectorRegistry()
        for source in sources:
            self._registry.register(source)

    @classmethod
    def of(cls, counted: Source, store: Source) -> "Page":
        """What this process has counted, and the store's numbers."""
        return cls(counted, SavedBytes(counted), store)

    @classmethod
    def of_workers(cls, directory: str, store: Source) -> "Page":
        """What the workers have counted, added up, the dead ones' too; and the store's numbers."""
        workers = CollectorRegistry()
        MultiProcessCollector(workers, directory)  # type: ignore[no-untyped-call]  # not annotated
        return cls.of(workers, store)

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)


class StoreBytes:
    """What the store holds, and what it may: read when the page is."""

    def __init__(self, read: Callable[[], tuple[int, int, int]]) -> None:
        """Take how to read them.

        Args:
            read: tells the bytes stored, reserved for downloads, and allowed.
        """
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Their names, so that nothing has to be read to learn them."""
        return self._families(0, 0, 0)

    def collect(self) -> Iterator[Metric]:
        """The numbers, now."""
        return self._families(*self._read())

    @staticmethod
    def _families(stored: int, reserved: int, allowed: int) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "cacheproxy_store_bytes", "Room that blobs and downloads take.", stored + reserved
        )
        yield GaugeMetricFamily(
            "cacheproxy_store_reserved_bytes", "Of that, the room of downloads.", reserved
        )
        yield GaugeMetricFamily("cacheproxy_store_max_bytes", "Room that they may take.", allowed)


class SavedBytes:
    """What was served beyond what was fetched, of all workers together; it never goes back.

    While a blob is on its way in, more has been fetched than served, and a counter must wait
    for the rest. And one worker serves what another has fetched.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._highest: dict[str, float] = {}

    def describe(self) -> Iterator[Metric]:
        """Its name, so that nothing has to be collected to learn it."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The bytes saved, by upstream."""
        for upstream, saved in self._now().items():
            self._highest[upstream] = max(saved, self._highest.get(upstream, 0.0))
        family = self._family()
        for upstream, saved in self._highest.items():
            family.add_metric([upstream], saved)
        yield family

    def _now(self) -> dict[str, float]:
        signs = {"cacheproxy_served_bytes_total": 1, "cacheproxy_upstream_bytes_total": -1}
        saved: dict[str, float] = {}
        for metric in self._source.collect():
            for sample in metric.samples:
                if sample.name in signs:
                    upstream = sample.labels["upstream"]
                    saved[upstream] = saved.get(upstream, 0) + signs[sample.name] * sample.value
        return saved

    @staticmethod
    def _family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "cacheproxy_saved_bytes",
            "Body bytes sent to clients beyond those that crossed the upstream link.",
            labels=["upstream"],
        )
