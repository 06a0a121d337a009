import subprocess
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, Gauge

from cacheproxy.domain.cache_status import Outcome
from cacheproxy.domain.events import (
    Asked,
    Event,
    FillEnded,
    FillStarted,
    MetadataFailed,
    Responded,
    Source,
    Unexpected,
    UpstreamAnswered,
    UpstreamReceived,
)
from cacheproxy.ops.metrics import Metrics, Page, SavedBytes
from cacheproxy.ops.observers import Observers
from tests.support.parts.process import require
from tests.unit.ops.events import BLOB, DIGEST

_REFUSED = replace(BLOB, outcome="error", status=404, body_bytes=90, source="none")
_NOBODY = Responded(Asked("GET", "/x", "192.0.2.7", ""), "error", 404, 30, "none", 0.001, 0.001)


def _response(outcome: Outcome, count: int, source: Source) -> Responded:
    return replace(BLOB, outcome=outcome, body_bytes=count, source=source)


# A day in short: a cold pull by two, a warm one, a failed download, a mistake, an outage.
_SCRIPT: list[Event] = [
    UpstreamAnswered("docker.io", "GET", 401, 0.1),
    UpstreamAnswered("docker.io", "GET", 200, 0.1, ratelimit_remaining=76),
    FillStarted("docker.io", DIGEST),
    UpstreamReceived("docker.io", 400),
    UpstreamReceived("docker.io", 600),
    FillEnded("docker.io", DIGEST, None, 1000, 1.0),
    _response("miss", 1000, "fill"),
    _response("joined", 1000, "fill"),
    _response("hit", 1000, "store"),
    FillStarted("docker.io", DIGEST),
    FillStarted("docker.io", DIGEST),
    UpstreamReceived("docker.io", 50),
    FillEnded("docker.io", DIGEST, "it broke", 50, 1.0),
    _NOBODY,
    MetadataFailed("no room"),
    Unexpected(ZeroDivisionError()),
    UpstreamAnswered("docker.io", "HEAD", None, 5.0),
]


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
    for event in _SCRIPT:
        metrics.observe(event)
    plain = {
        name: value
        for name, value in _samples(page).items()
        if "_bucket{" not in name and "_sum{" not in name
    }
    assert plain == {
        'cacheproxy_requests_total{operation="blob",outcome="miss",upstream="docker.io"}': "1.0",
        'cacheproxy_requests_total{operation="blob",outcome="joined",upstream="docker.io"}': "1.0",
        'cacheproxy_requests_total{operation="blob",outcome="hit",upstream="docker.io"}': "1.0",
        'cacheproxy_requests_total{operation="invalid",outcome="error",upstream=""}': "1.0",
        'cacheproxy_served_bytes_total{source="fill",upstream="docker.io"}': "2000.0",
        'cacheproxy_served_bytes_total{source="store",upstream="docker.io"}': "1000.0",
        'cacheproxy_upstream_bytes_total{upstream="docker.io"}': "1050.0",
        'cacheproxy_upstream_bytes_total{upstream="quay.io"}': "0.0",
        'cacheproxy_saved_bytes_total{upstream="docker.io"}': "1950.0",
        'cacheproxy_saved_bytes_total{upstream="quay.io"}': "0.0",
        'cacheproxy_upstream_up{upstream="docker.io"}': "0.0",
        'cacheproxy_upstream_ratelimit_remaining{upstream="docker.io"}': "76.0",
        "cacheproxy_fills_in_flight": "1.0",
        'cacheproxy_fills_total{outcome="committed",upstream="docker.io"}': "1.0",
        'cacheproxy_fills_total{outcome="failed",upstream="docker.io"}': "1.0",
        **{
            f'cacheproxy_upstream_requests_total{{{labels},upstream="docker.io"}}': "1.0"
            for labels in (
                'method="GET",status="401"',
                'method="GET",status="200"',
                'method="HEAD",status="none"',
            )
        },
        **{
            f'cacheproxy_{name}_seconds_count{{operation="{operation}",outcome="{outcome}"}}': "1.0"
            for name in ("time_to_first_byte", "request_duration")
            for operation, outcome in (
                ("blob", "miss"),
                ("blob", "joined"),
                ("blob", "hit"),
                ("invalid", "error"),
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
    observers.observe(_SCRIPT[0])
    observers.observe(_SCRIPT[2])
    assert told == [(name, _SCRIPT[at]) for at in (0, 2) for name in ("a", "b")]


def _promtool(page: bytes) -> subprocess.CompletedProcess[bytes]:
    promtool = require("promtool", "prometheus")
    return subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, timeout=30, check=False
    )


def test_prometheus_finds_nothing_to_say(metrics: Metrics, page: Page) -> None:
    """Prometheus' own check has no remark on names, units, help texts and types."""
    for event in _SCRIPT:
        metrics.observe(event)
    checked = _promtool(page.render())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_prometheus_would_say_so() -> None:
    """The check fails for a metric that is none."""
    registry = CollectorRegistry()
    Gauge("bad_total", "A gauge that is called like a counter.", registry=registry)
    assert _promtool(Page(registry).render()).returncode != 0
