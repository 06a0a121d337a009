"""What is counted: each metric's name, its labels, and a sentence."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FIRST_BYTE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DURATION = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_ANSWER = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_AGE = (
    5 * _MINUTE,
    30 * _MINUTE,
    _HOUR,
    6 * _HOUR,
    _DAY,
    2 * _DAY,
    4 * _DAY,
    7 * _DAY,
    14 * _DAY,
    30 * _DAY,
)


class Definitions:
    """The metrics of one process, in a registry; those of requests, upstreams and the store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._define_requests()
        self._define_upstreams()
        self._define_store()
        self._define_shared()
        self.task_failures = self._counter(
            "cacheproxy_background_task_failures_total",
            "Failures of background tasks, each of which started again.",
            "task",
        )

    def begin(self, upstreams: Iterable[str]) -> None:
        """Show from the start what can be known by then: at nothing.

        A rate over a series that begins at one misses that one, and an alert with it.
        """
        for upstream in upstreams:
            for counter in (
                self.upstream_bytes,
                self.filled_bytes,
                self.pulls,
                self.upstream_pulls,
                self.pauses,
            ):
                counter.labels(upstream)
            for outcome in ("committed", "failed"):
                self.fills.labels(upstream, outcome)
        for reason in ("size", "idle", "space"):
            self.evictions.labels(reason)
            self.evicted_age.labels(reason)
        for problem in ("damaged", "unreadable", "missing"):
            self.damaged.labels(problem)
        for problem in ("unwritten", "unreadable"):
            self.metadata_failures.labels(problem)
        self.store_writable.set(1)
        self.replicas.set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def _latest(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge that is what it was set to last, by whichever worker."""
        return Gauge(name, text, labels, multiprocess_mode="mostrecent", registry=self._registry)

    def _define_requests(self) -> None:
        self.requests = self._counter(
            "cacheproxy_requests_total",
            "Requests of clients, by what the cache did for them.",
            "upstream",
            "operation",
            "outcome",
        )
        self.failures = self._counter(
            "cacheproxy_failures_total",
            "Requests of clients that failed for no fault of theirs, by what they were told.",
            "upstream",
            "status",
        )
        self.pulls = self._counter(
            "cacheproxy_pulls_total", "Manifests that clients have pulled.", "upstream"
        )
        self.served_bytes = self._counter(
            "cacheproxy_served_bytes_total",
            "Body bytes sent to clients, by where they came from.",
            "upstream",
            "source",
        )
        self.first_byte = self._histogram(
            "cacheproxy_time_to_first_byte_seconds",
            "From a request's head to its response's head.",
            _FIRST_BYTE,
            "operation",
            "outcome",
        )
        self.duration = self._histogram(
            "cacheproxy_request_duration_seconds",
            "From a request's head to its response's end.",
            _DURATION,
            "operation",
            "outcome",
        )

    def _define_upstreams(self) -> None:
        self.upstream_bytes = self._counter(
            "cacheproxy_upstream_bytes_total",
            "Body bytes that crossed the upstream link.",
            "upstream",
        )
        self.upstream_pulls = self._counter(
            "cacheproxy_upstream_pulls_total",
            "Manifests that upstream has given, which is what rate limits count.",
            "upstream",
        )
        self.upstream_requests = self._counter(
            "cacheproxy_upstream_requests_total",
            "Requests to upstream, by its answer's status; `none` where no answer came.",
            "upstream",
            "method",
            "status",
        )
        self.upstream_answer = self._histogram(
            "cacheproxy_upstream_answer_seconds",
            "From a request to upstream to its answer's head.",
            _ANSWER,
            "upstream",
        )
        self.upstream_up = self._latest(
            "cacheproxy_upstream_up",
            "Whether upstream's last answer was one, and no server error.",
            "upstream",
        )
        self.ratelimit = self._latest(
            "cacheproxy_upstream_ratelimit_remaining",
            "Pulls left by upstream's last word.",
            "upstream",
        )
        self.ratelimit_limit = self._latest(
            "cacheproxy_upstream_ratelimit_limit",
            "Pulls that upstream grants in its window, by its last word.",
            "upstream",
        )
        self.pauses = self._counter(
            "cacheproxy_upstream_pauses_total",
            "How often upstream was given a rest, after failures in a row.",
            "upstream",
        )

    def _define_store(self) -> None:
        self.store_writable = Gauge(
            "cacheproxy_store_writable",
            "Whether blobs are stored: 0 while a process cannot write the ledger.",
            multiprocess_mode="livemin",  # of all workers, the one that fares worst
            registry=self._registry,
        )
        self.fills_in_flight = Gauge(
            "cacheproxy_fills_in_flight",
            "Blobs being downloaded now.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.fills = self._counter(
            "cacheproxy_fills_total",
            "Downloads of blobs that have ended.",
            "upstream",
            "outcome",
        )
        self.filled_bytes = self._counter(
            "cacheproxy_filled_bytes_total",
            "Bytes of blobs that came over the upstream link and are in the store since.",
            "upstream",
        )
        self.warmed = self._counter(
            "cacheproxy_warmed_images_total",
            "Images that were to be in the cache before anybody asks: something of them came, "
            "nothing was new, or they could not be had.",
            "outcome",
        )
        self.evictions = self._counter(
            "cacheproxy_evictions_total",
            "Blobs that were removed: for the budget, because nobody asked for them, or for a "
            "volume that was fuller than expected.",
            "reason",
        )
        self.evicted_age = self._histogram(
            "cacheproxy_evicted_age_seconds",
            "How long blobs that were removed had been in the store.",
            _AGE,
            "reason",
        )
        self.scrubbed_bytes = self._counter(
            "cacheproxy_scrubbed_bytes_total",
            "Bytes of stored blobs that were read again in the background.",
        )
        self.damaged = self._counter(
            "cacheproxy_damaged_blobs_total",
            "Stored blobs that were not what their digests say.",
            "problem",
        )

    def _define_shared(self) -> None:
        self.peer_bytes = self._counter(
            "cacheproxy_peer_bytes_total",
            "Body bytes between this replica and others.",
            "direction",
        )
        self.replicas = Gauge(
            "cacheproxy_replicas",
            "Replicas that are there as far as this one knows, itself included.",
            # Each worker looks for itself. One that has just begun has not seen them yet.
            multiprocess_mode="livemax",
            registry=self._registry,
        )
        self.metadata_up = self._latest(
            "cacheproxy_metadata_up",
            "Whether the store of metadata that replicas share answers.",
            "store",
        )
        self.metadata_calls = self._counter(
            "cacheproxy_metadata_calls_total",
            "Calls to the store of metadata that replicas share, by how they ended.",
            "result",
        )
        self.metadata_failures = self._counter(
            "cacheproxy_metadata_failures_total",
            "Records that could not be written, and those that others spoilt.",
            "problem",
        )
