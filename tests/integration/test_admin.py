"""What operators see on the admin port: health, and numbers that are exactly right."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy import __version__
from cacheproxy.domain.events import FillEnded
from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.numbers import numbers_of
from tests.support.scripted_registry import (
    Match,
    Redirect,
    ScriptedRegistry,
    StatusFault,
    WithHeader,
)
from tests.support.seen import see

_REPOSITORY = "library/app"
_IMAGE = images.simple(seed=121, size=100_000)
_BLOB = _IMAGE.layers[0]
_BY_TAG = "/v2/app/manifests/1"
_BY_BLOB = f"/v2/app/blobs/{_BLOB.digest}"


@pytest.fixture
async def quay() -> AsyncIterator[ScriptedRegistry]:
    """A second upstream, which is never asked."""
    async with ScriptedRegistry() as registry:
        yield registry


@pytest.fixture
async def proxy(
    hub: ScriptedRegistry, quay: ScriptedRegistry, tmp_path: Path
) -> AsyncIterator[HastyProxy]:
    """In front of both."""
    hub.add_image(_REPOSITORY, "1", _IMAGE)
    upstreams = {"docker.io": hub, "quay.io": quay}
    async with hasty_proxy(upstreams, tmp_path, Wanted()) as running:
        yield running


async def _stored(proxy: HastyProxy, digest: str) -> None:
    """Wait until a blob that has been served has its name in the store, too."""
    name = digest.partition(":")[2]
    async with asyncio.timeout(60):
        while name not in {file.name for file in proxy.files("blobs")}:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.002)


async def test_health(proxy: HastyProxy) -> None:
    """It is alive and ready from the start, whatever upstream is."""
    for path, word in (("/healthz", "ok"), ("/readyz", "ready")):
        async with proxy.client.get(proxy.admin_url + path) as response:
            assert response.status == 200
            assert await response.json() == {"status": word}


async def test_upstream_is_no_matter_of_health(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """What is cached is served while upstream is down, so it stays ready."""
    await hub.stop()
    assert (await see(proxy, _BY_TAG)).status == 502
    for path in ("/healthz", "/readyz"):
        async with proxy.client.get(proxy.admin_url + path) as response:
            assert response.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/dashboard"])
async def test_not_where_clients_pull(proxy: HastyProxy, path: str) -> None:
    """Nothing of the admin port is on the port for pulls, nor the other way round."""
    assert (await see(proxy, path)).status == 404
    async with proxy.client.get(f"{proxy.admin_url}/v2/") as response:
        assert response.status == 404


async def test_the_page_before_any_request(proxy: HastyProxy) -> None:
    """Each upstream is there from the start, so that a rate begins at nothing."""
    numbers = await numbers_of(proxy)
    for upstream in ("docker.io", "quay.io"):
        assert numbers.get("upstream_bytes_total", upstream=upstream) == 0
        assert numbers.get("saved_bytes_total", upstream=upstream) == 0


async def test_bytes(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """After three pulls of an image the bytes served, fetched and saved are exactly right."""
    blobs = sum(len(blob.body) for blob in _IMAGE.blobs)
    size = len(_IMAGE.manifest) + blobs
    for _ in range(3):
        await see(proxy, _BY_TAG)
        for blob in _IMAGE.blobs:
            await see(proxy, f"/v2/app/blobs/{blob.digest}")
            await _stored(proxy, blob.digest)
    numbers = await numbers_of(proxy)
    assert numbers.served("upstream") == len(_IMAGE.manifest)
    assert numbers.served("fill", "store") == blobs + size * 2
    assert numbers.get("upstream_bytes_total", upstream="docker.io") == size
    assert hub.body_bytes == size
    assert numbers.get("saved_bytes_total", upstream="docker.io") == size * 2
    assert numbers.get("upstream_bytes_total", upstream="quay.io") == 0


async def test_bytes_of_parts_and_heads(proxy: HastyProxy) -> None:
    """Of a range its bytes are counted, and of a HEAD, a 304 and an error none as the blob's."""
    await see(proxy, _BY_BLOB)
    await _stored(proxy, _BLOB.digest)
    before = await numbers_of(proxy)
    await see(proxy, _BY_BLOB, headers={"Range": "bytes=10-19"})
    await see(proxy, _BY_BLOB, headers={"If-None-Match": "*"})
    await see(proxy, _BY_BLOB, method="HEAD")
    await see(proxy, f"/v2/app/blobs/{_BLOB.digest[:-1]}")
    numbers = await numbers_of(proxy)
    assert numbers.served("fill", "store") - before.served("fill", "store") == 10
    assert numbers.get("saved_bytes_total", upstream="docker.io") == 10


async def test_requests(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Requests are counted by upstream, operation and what the cache did."""
    await see(proxy, _BY_TAG)
    await see(proxy, _BY_TAG)
    await see(proxy, "/v2/app/tags/list")
    await see(proxy, "/v2/")
    await see(proxy, "/v2/App/manifests/1")
    await see(proxy, "/v2/app/manifests/absent")
    await see(proxy, "/v2/evil.example/app/manifests/1")
    numbers = await numbers_of(proxy)

    def count(operation: str, outcome: str, upstream: str = "docker.io") -> float | None:
        labels = {"upstream": upstream, "operation": operation, "outcome": outcome}
        return numbers.get("requests_total", **labels)

    assert count("manifest", "miss") == 1
    assert count("manifest", "hit") == 1
    assert count("manifest", "error") == 1
    assert count("tags", "miss") == 1
    assert count("ping", "hit", "") == 1
    assert count("invalid", "error", "") == 2
    assert sum(len(labels) for labels in numbers.labels("requests_total")) == 6 * 3
    observed = numbers.get("request_duration_seconds_count", operation="manifest", outcome="hit")
    assert observed == 1


async def test_pulls(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Pulls of clients are counted, and those that upstream saw, as a rate limit counts them."""
    for method in ("GET", "GET", "HEAD", "GET"):
        await see(proxy, _BY_TAG, method=method)
    await see(proxy, "/v2/app/manifests/absent")
    numbers = await numbers_of(proxy)
    assert numbers.get("pulls_total", upstream="docker.io") == 3
    assert numbers.get("upstream_pulls_total", upstream="docker.io") == 1
    assert numbers.get("pulls_total", upstream="quay.io") == 0


async def test_failures(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """What fails for upstream's sake is counted by its status, what is not there is not."""
    await see(proxy, "/v2/app/manifests/absent")
    hub.script(Match.manifest("other"), StatusFault(500))
    await see(proxy, "/v2/app/manifests/other")
    found = (await numbers_of(proxy)).labels("failures_total")
    assert found == [{"upstream": "docker.io", "status": "502"}]


async def test_repositories(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """The page has what was served, fetched and saved for each repository, soon after."""
    hub.add_image("library/other", "1", _IMAGE)
    for path in (_BY_TAG, _BY_TAG, "/v2/other/manifests/1"):
        await see(proxy, path)
    size = len(_IMAGE.manifest)

    async def bytes_of(repository: str) -> list[float | None]:
        labels = {"upstream": "docker.io", "repository": f"library/{repository}"}
        numbers = await numbers_of(proxy)
        names = ("served", "fetched", "saved")
        return [numbers.get(f"repository_{name}_bytes", **labels) for name in names]

    expected = [[2 * size, size, size], [size, size, 0]]
    async with asyncio.timeout(60):
        while [await bytes_of(name) for name in ("app", "other")] != expected:
            proxy.clock.advance(1)
            await asyncio.sleep(0.01)


async def test_prices(hub: ScriptedRegistry, tmp_path: Path) -> None:
    """An upstream's price is on the page, in the currency of all prices; so is the version."""
    wanted = Wanted(upstream={"price_per_gb": 0.09})
    async with hasty_proxy({"docker.io": hub}, tmp_path, wanted) as proxy:
        numbers = await numbers_of(proxy)
    assert numbers.get("price_per_gigabyte", upstream="docker.io", currency="USD") == 0.09
    assert [labels["version"] for labels in numbers.labels("build_info")] == [__version__]
    assert numbers.get("config_last_reload_success") == 1
    assert numbers.get("replicas") == 1


async def test_labels_are_bounded(proxy: HastyProxy) -> None:
    """No client can make up a label: what is not configured is counted under no name."""
    for number in range(20):
        await see(proxy, f"/v2/host{number}.example/app/manifests/1")
        await see(proxy, f"/v2/app/manifests/1?ns=host{number}.example")
        await see(proxy, f"/v2/App{number}/manifests/1")
        await see(proxy, "/v2/app/manifests/1", method="PATCH")
    numbers = await numbers_of(proxy)
    assert [labels["upstream"] for labels in numbers.labels("requests_total")] == [""]


async def test_upstream(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Requests to upstream are counted by their answers, and its rate limit is shown."""
    hub.script(Match.manifest("1"), WithHeader("ratelimit-remaining", "76;w=21600"))
    hub.script(Match.blob(), Redirect())
    await see(proxy, _BY_TAG)
    await see(proxy, _BY_BLOB)
    await see(proxy, "/v2/app/manifests/absent")
    numbers = await numbers_of(proxy)

    def count(status: str) -> float | None:
        labels = {"upstream": "docker.io", "method": "GET", "status": status}
        return numbers.get("upstream_requests_total", **labels)

    assert (count("200"), count("307"), count("404"), count("none")) == (2, 1, 1, None)
    assert numbers.get("upstream_ratelimit_remaining", upstream="docker.io") == 76
    assert numbers.get("upstream_up", upstream="docker.io") == 1
    hub.script(Match.manifest("other"), StatusFault(500))
    await see(proxy, "/v2/app/manifests/other")
    assert (await numbers_of(proxy)).get("upstream_up", upstream="docker.io") == 0
    await hub.stop()
    await see(proxy, "/v2/app/manifests/third")
    numbers = await numbers_of(proxy)
    assert numbers.get("upstream_up", upstream="docker.io") == 0
    assert (count("500"), count("none")) == (1, 1)
    assert numbers.get("upstream_ratelimit_remaining", upstream="docker.io") == 76


async def test_fills(proxy: HastyProxy) -> None:
    """Downloads are counted when they have ended."""
    await see(proxy, _BY_BLOB)
    await see(proxy, f"/v2/app/blobs/{images.sha256(b'absent')}")
    async with asyncio.timeout(60):
        while len(proxy.events.of(FillEnded)) < 2:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.002)
    numbers = await numbers_of(proxy)
    assert numbers.get("fills_total", upstream="docker.io", outcome="committed") == 1
    assert numbers.get("fills_total", upstream="docker.io", outcome="failed") == 1
    assert numbers.get("fills_in_flight") == 0
