"""A page with every metric on it, each with a sample: what rules and tables are held against."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import (
    Asked,
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
    Unexpected,
    UpstreamAnswered,
    UpstreamPaused,
    UpstreamPulled,
    UpstreamReceived,
    Warmed,
    WarmFailed,
)
from cacheproxy.domain.rate_limit import RateLimit
from cacheproxy.domain.store_events import Damaged, Evicted, Scrubbed, StoreFailed, StoreRecovered
from cacheproxy.domain.traffic import Traffic
from cacheproxy.ops.metrics import (
    BuildInfo,
    Metrics,
    Page,
    Prices,
    Reloads,
    RepositoryBytes,
    StoreBytes,
)
from tests.support.clock import FakeClock

_DIGEST = Digest.of(b"")
_BLOB = Responded(
    Asked("GET", "/v2/x", "192.0.2.7", "", "blob", "docker.io", "library/nginx", _DIGEST),
    "hit",
    200,
    1000,
    "store",
    0.002,
    0.2,
)
_MANIFEST = replace(_BLOB, asked=replace(_BLOB.asked, operation="manifest"), body_bytes=0)

# A day in short: a cold pull by two, a warm one, a failed download, a mistake, an outage.
DAY: tuple[Event, ...] = (
    UpstreamAnswered("docker.io", "GET", 401, 0.1),
    UpstreamAnswered(
        "docker.io", "GET", 200, 0.1, rate_limit=RateLimit(76, 100, 21600.0, "192.0.2.1")
    ),
    UpstreamPulled("docker.io", "library/nginx"),
    _MANIFEST,
    _MANIFEST,
    replace(_MANIFEST, asked=replace(_MANIFEST.asked, method="HEAD")),
    FillStarted("docker.io", _DIGEST),
    UpstreamReceived("docker.io", 400),
    UpstreamReceived("docker.io", 600),
    FillEnded("docker.io", _DIGEST, None, 1000, 1.0),
    replace(_BLOB, outcome="miss", source="fill"),
    replace(_BLOB, outcome="joined", source="fill"),
    _BLOB,
    FillStarted("docker.io", _DIGEST),
    FillStarted("docker.io", _DIGEST),
    UpstreamReceived("docker.io", 50),
    FillEnded("docker.io", _DIGEST, "it broke", 50, 1.0),
    FillStarted("docker.io", _DIGEST),
    PeerReceived(80),
    FillEnded("docker.io", _DIGEST, None, 80, 1.0, "peer"),
    PeerServed(20),
    Responded(Asked("GET", "/x", "192.0.2.7", ""), "error", 404, 30, "none", 0.001, 0.001),
    replace(_BLOB, outcome="error", status=502, source="none"),
    replace(_BLOB, outcome="error", status=429, source="none"),
    MetadataFailed("no room"),
    SharedStoreLost("redis://r:6379", "gone"),
    SharedStoreCalled("skipped"),
    SharedStoreCalled("skipped"),
    SharedStoreFound("redis://r:6379"),
    SharedStoreCalled("answered"),
    SharedStoreUnreadable("k", "it is no link"),
    ReplicasSeen(3),
    Warmed("docker.io/library/nginx:1", _DIGEST, None, 9, 0, 0, 0.1),
    WarmFailed("docker.io/library/nginx:2", "upstream answered 404", 0.1),
    Evicted("docker.io", _DIGEST, 9, "size", 4000.0),
    Evicted("docker.io", _DIGEST, 9, "idle", 4000.0),
    Evicted("docker.io", _DIGEST, 9, "size", 90_000.0),
    StoreFailed("the ledger cannot be written: database is locked"),
    StoreRecovered(),
    Scrubbed(700),
    Damaged(_DIGEST, "damaged", "quarantined", "it is another"),
    TaskFailed("scrub", OSError(5, "Input/output error"), 0.1),
    Unexpected(ZeroDivisionError()),
    UpstreamAnswered("docker.io", "HEAD", None, 5.0),
    UpstreamPaused("docker.io", 1.0, "it is down"),
)


def whole_page() -> Page:
    """The page after that day, of a proxy whose upstream has a price."""
    metrics = Metrics(("docker.io",))
    for event in DAY:
        metrics.observe(event)
    totals = {("docker.io", "library/nginx"): Traffic(3, 3000, fetched=1050)}
    return Page.of(
        metrics.registry,
        StoreBytes(lambda: (900, 100, 2000)),
        RepositoryBytes(lambda: totals, FakeClock()),
        Prices(lambda: ("USD", {"docker.io": 0.09})),
        BuildInfo(),
        Reloads(1_700_000_000.0),
    )


def sample_names() -> dict[str, frozenset[str]]:
    """Every name that a query can have, such as `…_bucket`, with its labels."""
    families = text_string_to_metric_families(whole_page().render().decode())
    return {
        sample.name: frozenset(sample.labels) for family in families for sample in family.samples
    }
