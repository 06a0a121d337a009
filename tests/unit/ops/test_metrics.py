import subprocess
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, Gauge

from cacheproxy.domain.cache_status import Outcome
from cacheproxy.domain.events import (
    Asked,
    Event,
    FillEnded,
    Responded,
    Source,
    UpstreamAnswered,
    UpstreamReceived,
)
from cacheproxy.domain.store_events import Evicted, StoreFailed, StoreRecovered
from cacheproxy.ops.metrics import Metrics, Page, SavedBytes
from cacheproxy.ops.observers import Observers
from tests.support.counted import DAY, whole_page
from tests.support.parts.process import require
from tests.unit.ops.events import BLOB, DIGEST

_REFUSED = replace(BLOB, outcome="error", status=404, body_bytes=90, source="none")
_NOBODY = Responded(Asked("GET", "/x", "192.0.2.7", ""), "error", 404, 30, "none", 0.001, 0.001)


def _response(outcome: Outcome, count: int, source: Source) -> Responded:
    return replace(BLOB, outcome=outcome, body_bytes=count, source=source)


def _samples(page: Page) -> dict[str, str]:
    lines = page.render().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of two upstreams, of which one is never asked."""
    return Metrics(("docker.io", "quay.io"))


@pytest.fixture
def page(metrics: Metrics) -> Page:
    """What they show."""
    return Page(metrics.registry, SavedBytes(metrics.registry))


def test_what_happened_is_counted(metrics: Metrics, page: Page) -> None:
    """Each event is counted once, where it belongs; histograms count what requests do."""
    for event in DAY:
        metrics.observe(event)
    plain = {
        name: value
        for name, value in _samples(page).items()
        if "_bucket{" not in name and "_sum{" not in name
    }
    assert plain == {
        "cacheproxy_store_writable": "1.0",
        'cacheproxy_requests_total{operation="blob",outcome="miss",upstream="docker.io"}': "1.0",
        'cacheproxy_requests_total{operation="blob",outcome="joined",upstream="docker.io"}': "1.0",
        'cacheproxy_requests_total{operation="blob",outcome="hit",upstream="docker.io"}': "1.0",
        'cacheproxy_requests_total{operation="invalid",outcome="error",upstream=""}': "1.0",
        'cacheproxy_requests_total{operation="blob",outcome="error",upstream="docker.io"}': "2.0",
        'cacheproxy_requests_total{operation="manifest",outcome="hit",upstream="docker.io"}': "3.0",
        'cacheproxy_served_bytes_total{source="fill",upstream="docker.io"}': "2000.0",
        'cacheproxy_served_bytes_total{source="store",upstream="docker.io"}': "1000.0",
        'cacheproxy_upstream_bytes_total{upstream="docker.io"}': "1050.0",
        'cacheproxy_upstream_bytes_total{upstream="quay.io"}': "0.0",
        'cacheproxy_saved_bytes_total{upstream="docker.io"}': "1950.0",
        'cacheproxy_saved_bytes_total{upstream="quay.io"}': "0.0",
        'cacheproxy_upstream_up{upstream="docker.io"}': "0.0",
        'cacheproxy_upstream_ratelimit_remaining{upstream="docker.io"}': "76.0",
        'cacheproxy_upstream_ratelimit_limit{upstream="docker.io"}': "100.0",
        'cacheproxy_upstream_pauses_total{upstream="docker.io"}': "1.0",
        'cacheproxy_upstream_pauses_total{upstream="quay.io"}': "0.0",
        'cacheproxy_upstream_answer_seconds_count{upstream="docker.io"}': "2.0",
        'cacheproxy_pulls_total{upstream="docker.io"}': "2.0",
        'cacheproxy_pulls_total{upstream="quay.io"}': "0.0",
        'cacheproxy_upstream_pulls_total{upstream="docker.io"}': "1.0",
        'cacheproxy_upstream_pulls_total{upstream="quay.io"}': "0.0",
        'cacheproxy_failures_total{status="502",upstream="docker.io"}': "1.0",
        'cacheproxy_failures_total{status="429",upstream="docker.io"}': "1.0",
        'cacheproxy_filled_bytes_total{upstream="docker.io"}': "1000.0",
        'cacheproxy_filled_bytes_total{upstream="quay.io"}': "0.0",
        'cacheproxy_peer_bytes_total{direction="received"}': "80.0",
        'cacheproxy_peer_bytes_total{direction="sent"}': "20.0",
        'cacheproxy_warmed_images_total{outcome="failed"}': "1.0",
        'cacheproxy_warmed_images_total{outcome="new"}': "1.0",
        'cacheproxy_evictions_total{reason="size"}': "2.0",
        'cacheproxy_evictions_total{reason="idle"}': "1.0",
        'cacheproxy_evictions_total{reason="space"}': "0.0",
        'cacheproxy_evicted_age_seconds_count{reason="size"}': "2.0",
        'cacheproxy_evicted_age_seconds_count{reason="idle"}': "1.0",
        'cacheproxy_evicted_age_seconds_count{reason="space"}': "0.0",
        "cacheproxy_replicas": "3.0",
        "cacheproxy_fills_in_flight": "1.0",
        "cacheproxy_scrubbed_bytes_total": "700.0",
        'cacheproxy_damaged_blobs_total{problem="damaged"}': "1.0",
        'cacheproxy_damaged_blobs_total{problem="unreadable"}': "0.0",
        'cacheproxy_damaged_blobs_total{problem="missing"}': "0.0",
        'cacheproxy_metadata_up{store="redis"}': "1.0",
        'cacheproxy_metadata_calls_total{result="answered"}': "1.0",
        'cacheproxy_metadata_calls_total{result="skipped"}': "2.0",
        'cacheproxy_metadata_failures_total{problem="unwritten"}': "1.0",
        'cacheproxy_metadata_failures_total{problem="unreadable"}': "1.0",
        'cacheproxy_background_task_failures_total{task="scrub"}': "1.0",
        'cacheproxy_fills_total{outcome="committed",upstream="docker.io"}': "2.0",
        'cacheproxy_fills_total{outcome="failed",upstream="docker.io"}': "1.0",
        'cacheproxy_fills_total{outcome="committed",upstream="quay.io"}': "0.0",
        'cacheproxy_fills_total{outcome="failed",upstream="quay.io"}': "0.0",
        **{
            f'cacheproxy_upstream_requests_total{{{labels},upstream="docker.io"}}': "1.0"
            for labels in (
                'method="GET",status="401"',
                'method="GET",status="200"',
                'method="HEAD",status="none"',
            )
        },
        **{
            f'cacheproxy_{name}_seconds_count{{operation="{operation}",outcome="{outcome}"}}': count
            for name in ("time_to_first_byte", "request_duration")
            for operation, outcome, count in (
                ("blob", "miss", "1.0"),
                ("blob", "joined", "1.0"),
                ("blob", "hit", "1.0"),
                ("blob", "error", "2.0"),
                ("manifest", "hit", "3.0"),
                ("invalid", "error", "1.0"),
            )
        },
    }


def test_an_error_body_is_no_served_content(metrics: Metrics, page: Page) -> None:
    """What says that there is nothing to serve counts as a request, and saves no byte."""
    metrics.observe(_REFUSED)
    samples = _samples(page)
    labels = 'operation="blob",outcome="error",upstream="docker.io"'
    assert samples[f"cacheproxy_requests_total{{{labels}}}"] == "1.0"
    assert samples['cacheproxy_saved_bytes_total{upstream="docker.io"}'] == "0.0"
    assert not [name for name in samples if name.startswith("cacheproxy_served_bytes_total")]


def test_times_are_in_their_buckets(metrics: Metrics, page: Page) -> None:
    """A time counts in every bucket that it fits into, and in the sum."""
    metrics.observe(replace(BLOB, first_byte=0.0025, duration=1801.0))
    samples = _samples(page)
    labels = 'operation="blob",outcome="hit"'
    first = f'cacheproxy_time_to_first_byte_seconds_bucket{{le="%s",{labels}}}'
    assert (samples[first % "0.001"], samples[first % "0.0025"]) == ("0.0", "1.0")
    last = f'cacheproxy_request_duration_seconds_bucket{{le="%s",{labels}}}'
    assert (samples[last % "1800.0"], samples[last % "+Inf"]) == ("0.0", "1.0")
    assert samples[f"cacheproxy_request_duration_seconds_sum{{{labels}}}"] == "1801.0"


@pytest.mark.parametrize(
    ("status", "up"),
    [(200, "1.0"), (404, "1.0"), (429, "1.0"), (500, "0.0"), (503, "0.0"), (None, "0.0")],
)
def test_an_upstream_is_up_as_of_its_last_answer(
    metrics: Metrics, page: Page, status: int | None, up: str
) -> None:
    """Any answer but a server error shows that upstream is up; none shows that it is not."""
    metrics.observe(UpstreamAnswered("docker.io", "GET", 200 if up == "0.0" else 500, 0.1))
    metrics.observe(UpstreamAnswered("docker.io", "GET", status, 0.1))
    assert _samples(page)['cacheproxy_upstream_up{upstream="docker.io"}'] == up


def test_an_age_is_in_its_bucket(metrics: Metrics, page: Page) -> None:
    """What was evicted within six hours can be told from what was there for longer."""
    for age in (299.0, 6 * 3600.0, 6 * 3600.1, 40 * 86_400.0):
        metrics.observe(Evicted("docker.io", DIGEST, 1, "size", age))
    samples = _samples(page)
    bucket = 'cacheproxy_evicted_age_seconds_bucket{le="%s",reason="size"}'
    counts = [samples[bucket % le] for le in ("300.0", "21600.0", "2.592e+06", "+Inf")]
    assert counts == ["1.0", "2.0", "3.0", "4.0"]


@pytest.mark.parametrize(
    ("status", "is_counted"), [(404, False), (403, False), (499, False), (429, True), (504, True)]
)
def test_a_failure_is_what_the_client_could_not_help(
    metrics: Metrics, page: Page, status: int, is_counted: bool
) -> None:
    """Rate limits and server errors count as failures; wrong requests and lost clients do not."""
    metrics.observe(replace(_REFUSED, status=status))
    name = f'cacheproxy_failures_total{{status="{status}",upstream="docker.io"}}'
    assert (name in _samples(page)) == is_counted


def test_bytes_of_another_replica_are_not_fetched_ones(metrics: Metrics, page: Page) -> None:
    """What was kept is told from what came over the link, and what failed is not kept."""
    metrics.observe(FillEnded("docker.io", DIGEST, None, 1000, 1.0))
    metrics.observe(FillEnded("docker.io", DIGEST, None, 500, 1.0, "peer"))
    metrics.observe(FillEnded("docker.io", DIGEST, "it broke", 70, 1.0))
    assert _samples(page)['cacheproxy_filled_bytes_total{upstream="docker.io"}'] == "1000.0"


def test_what_can_happen_is_shown_before_it_does(page: Page) -> None:
    """What alerts look at begins at nothing, so that its first time is an increase."""
    samples = _samples(page)
    for name in (
        'damaged_blobs_total{problem="damaged"}',
        'upstream_pauses_total{upstream="quay.io"}',
        'fills_total{outcome="failed",upstream="quay.io"}',
        'evictions_total{reason="space"}',
        'evicted_age_seconds_bucket{le="21600.0",reason="size"}',
        'metadata_failures_total{problem="unwritten"}',
    ):
        assert samples[f"cacheproxy_{name}"] == "0.0"
    assert samples["cacheproxy_replicas"] == "1.0"


def test_what_is_saved_never_goes_back(metrics: Metrics, page: Page) -> None:
    """While more is fetched than served the counter waits, and never falls."""
    seen: list[float] = []
    steps: list[Event] = [
        UpstreamReceived("docker.io", 5000),
        _response("miss", 1000, "fill"),
        _response("joined", 6000, "fill"),
        UpstreamReceived("docker.io", 3000),
        _response("hit", 500, "store"),
        _response("hit", 9500, "store"),
    ]
    for event in steps:
        metrics.observe(event)
        seen.append(float(_samples(page)['cacheproxy_saved_bytes_total{upstream="docker.io"}']))
    assert seen == [0.0, 0.0, 2000.0, 2000.0, 2000.0, 9000.0]


def test_all_observers_are_told_in_order() -> None:
    """Many observers are one, and each is told every event."""
    told: list[tuple[str, Event]] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def observe(self, event: Event) -> None:
            told.append((self.name, event))

    observers = Observers([Named("a"), Named("b")])
    observers.observe(DAY[0])
    observers.observe(DAY[2])
    assert told == [(name, DAY[at]) for at in (0, 2) for name in ("a", "b")]


def _promtool(page: bytes) -> subprocess.CompletedProcess[bytes]:
    promtool = require("promtool", "prometheus")
    return subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, timeout=100, check=False
    )


def test_prometheus_finds_nothing_to_say() -> None:
    """Prometheus' own check has no remark on names, units, help texts and types of any metric."""
    checked = _promtool(whole_page().render())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_day_has_all_that_is_counted(metrics: Metrics) -> None:
    """No kind of event is counted that the day in short leaves out."""
    assert set(metrics._counted_by) <= {type(event) for event in DAY}


def test_prometheus_would_say_so() -> None:
    """The check fails for a metric that is none."""
    registry = CollectorRegistry()
    Gauge("bad_total", "A gauge that is called like a counter.", registry=registry)
    assert _promtool(Page(registry).render()).returncode != 0


def test_a_store_that_fails_shows_at_once(metrics: Metrics, page: Page) -> None:
    """The gauge says from the start that blobs are stored, and 0 from the failure to its end."""
    name = "cacheproxy_store_writable"
    assert _samples(page)[name] == "1.0"
    metrics.observe(StoreFailed("the ledger cannot be written: database is locked"))
    assert _samples(page)[name] == "0.0"
    metrics.observe(StoreRecovered())
    assert _samples(page)[name] == "1.0"
