"""Counting what happens."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from cacheproxy.domain.events import (
    Event,
    FillEnded,
    FillStarted,
    MetadataFailed,
    PeerReceived,
    PeerServed,
    ReplicasSeen,
    Responded,
    SharedStoreCalled,
    SharedStoreFound,
    SharedStoreLost,
    SharedStoreUnreadable,
    TaskFailed,
    UpstreamAnswered,
    UpstreamPaused,
    UpstreamPulled,
    UpstreamReceived,
    Warmed,
    WarmFailed,
)
from cacheproxy.domain.store_events import Damaged, Evicted, Scrubbed, StoreFailed, StoreRecovered
from cacheproxy.ops.metrics.definitions import Definitions


class Metrics:
    """Counts events (`Observer`)."""

    def __init__(self, upstreams: tuple[str, ...] = ()) -> None:
        # A series of when each counter began doubles the page, and nobody asks for it.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated
        self.registry = CollectorRegistry()
        self._held: dict[tuple[str, str, str], tuple[Counter, Histogram, Histogram]] = {}
        self._of = Definitions(self.registry)
        self._counted_by = self._how_to_count()
        self._of.begin(upstreams)

    def observe(self, event: Event) -> None:
        """Count an event."""
        count = self._counted_by.get(type(event))
        if count is not None:
            count(event)

    def _how_to_count(self) -> dict[type[Event], Callable[[Any], None]]:
        """For each kind of event that is counted, how."""
        of = self._of
        return {
            Responded: self._responded,
            UpstreamAnswered: self._answered,
            UpstreamPaused: lambda event: of.pauses.labels(event.registry).inc(),
            UpstreamPulled: lambda event: of.upstream_pulls.labels(event.registry).inc(),
            UpstreamReceived: lambda event: of.upstream_bytes.labels(event.registry).inc(
                event.body_bytes
            ),
            PeerReceived: lambda event: of.peer_bytes.labels("received").inc(event.body_bytes),
            PeerServed: lambda event: of.peer_bytes.labels("sent").inc(event.body_bytes),
            ReplicasSeen: lambda event: of.replicas.set(event.count),
            Warmed: lambda event: of.warmed.labels("new" if event.is_news else "here").inc(),
            WarmFailed: lambda _: of.warmed.labels("failed").inc(),
            StoreFailed: lambda _: of.store_writable.set(0),
            StoreRecovered: lambda _: of.store_writable.set(1),
            Evicted: self._evicted,
            Scrubbed: lambda event: of.scrubbed_bytes.inc(event.size),
            Damaged: lambda event: of.damaged.labels(event.problem).inc(),
            SharedStoreCalled: lambda event: of.metadata_calls.labels(event.outcome).inc(),
            SharedStoreFound: lambda _: of.metadata_up.labels("redis").set(1),
            SharedStoreLost: lambda _: of.metadata_up.labels("redis").set(0),
            MetadataFailed: lambda _: of.metadata_failures.labels("unwritten").inc(),
            SharedStoreUnreadable: lambda _: of.metadata_failures.labels("unreadable").inc(),
            TaskFailed: lambda event: of.task_failures.labels(event.task).inc(),
            FillStarted: lambda _: of.fills_in_flight.inc(),
            FillEnded: self._fill_ended,
        }

    def _fill_ended(self, event: FillEnded) -> None:
        self._of.fills_in_flight.dec()
        self._of.fills.labels(event.registry, "failed" if event.error else "committed").inc()
        if event.error is None and event.source == "fill":
            self._of.filled_bytes.labels(event.registry).inc(event.body_bytes)

    def _evicted(self, event: Evicted) -> None:
        self._of.evictions.labels(event.reason).inc()
        self._of.evicted_age.labels(event.reason).observe(event.age)

    def _responded(self, event: Responded) -> None:
        asked = event.asked
        requests, first_byte, duration = self._of_requests(
            asked.registry, asked.operation, event.outcome
        )
        requests.inc()
        first_byte.observe(event.first_byte)
        duration.observe(event.duration)
        if event.source != "none":
            if event.body_bytes:
                self._of.served_bytes.labels(asked.registry, event.source).inc(event.body_bytes)
            # As the record of traffic counts them, so that all that is told of pulls agrees.
            if asked.operation == "manifest" and asked.method == "GET":
                self._of.pulls.labels(asked.registry).inc()
        elif event.status >= 500 or event.status == 429:
            self._of.failures.labels(asked.registry, str(event.status)).inc()

    def _of_requests(
        self, upstream: str, operation: str, outcome: str
    ) -> tuple[Counter, Histogram, Histogram]:
        """The three that every request counts in: held, for to look one up costs as much again."""
        key = upstream, operation, outcome
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = (
                self._of.requests.labels(upstream, operation, outcome),
                self._of.first_byte.labels(operation, outcome),
                self._of.duration.labels(operation, outcome),
            )
        return held

    def _answered(self, event: UpstreamAnswered) -> None:
        status = "none" if event.status is None else str(event.status)
        self._of.upstream_requests.labels(event.registry, event.method, status).inc()
        up = event.status is not None and event.status < 500
        self._of.upstream_up.labels(event.registry).set(up)
        if event.status is not None:
            self._of.upstream_answer.labels(event.registry).observe(event.seconds)
        if event.rate_limit is not None:
            self._of.ratelimit.labels(event.registry).set(event.rate_limit.remaining)
            if event.rate_limit.limit is not None:
                self._of.ratelimit_limit.labels(event.registry).set(event.rate_limit.limit)
