"""A day of pulls: what is said to be saved is what the clients got and the link did not carry."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import images
from tests.support.images import Image
from tests.support.parts import exposition, wire
from tests.support.parts.distant import DistantRegistry, distant_registry
from tests.support.parts.proxy import Proxy, proxy
from tests.support.parts.scratch import scratch
from tests.support.parts.swarm import Pull, pull_all
from tests.support.parts.tap import tap

pytestmark = pytest.mark.clients

TOKEN = "s3cret"
APP = images.simple(seed=21, size=3_000_000)
NEXT = images.simple(seed=22, size=2_000_000)
FAR_PORT = 5000


@pytest.fixture(scope="module")
def registry() -> Iterator[DistantRegistry]:
    """With two images."""
    with distant_registry() as running:
        running.hold("team/app", APP)
        running.hold("team/next", NEXT)
        yield running


class Clients:
    """Who pulls, and how many body bytes they have got."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.got = 0
        self.pulls = 0

    def pull(self, name: str, image: Image) -> None:
        """All of an image, as a client does: the tag by HEAD, then manifest and blobs."""
        base = f"{self.proxy.url}/v2/docker.io/{name}"
        wire.get(f"{base}/manifests/1", method="HEAD")
        self.get(f"{base}/manifests/1", image.manifest)
        self.pulls += 1
        for blob in image.blobs:
            self.get(f"{base}/blobs/{blob.digest}", blob.body)

    def get(self, url: str, body: bytes) -> None:
        """One body."""
        answer = wire.get(url)
        assert (answer.status, answer.body) == (200, body)
        self.got += len(answer.body)

    def many(self, name: str, image: Image, count: int) -> None:
        """Many ask for a layer at once, each from another place in it on."""
        layer = image.layers[0]
        target = f"/v2/docker.io/{name}/blobs/{layer.digest}"
        asked = [Pull(target, start=1000 * number) for number in range(count)]
        pulls = pull_all(("127.0.0.1", self.proxy.port), asked)
        assert [pull.error for pull in pulls] == [None] * count
        self.got += sum(len(layer.body) - 1000 * number for number in range(count))


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
def test_a_day_adds_up(registry: DistantRegistry, workers: int) -> None:
    """The link's own bytes, the metrics, the API and the page say the same, to the byte."""
    settings: dict[str, Any] = {"server": {"workers": workers}, "admin": {"token": TOKEN}}
    with scratch() as directory:
        settings["cache"] = {"directory": str(directory)}
        registry.wait_until_alone()  # what is under way still is for no count
        counted = registry.link.received()
        with (
            tap(registry.link.near, FAR_PORT) as seen,
            _left_alone(registry),
            proxy({"docker.io": registry.url}, settings=settings) as running,
        ):
            clients = Clients(running)
            _a_day(clients)
            saved = exposition.total(running.admin_url, "cacheproxy_saved_bytes_total")
            fetched = exposition.total(running.admin_url, "cacheproxy_upstream_bytes_total")
            savings = _ask(running, "/savings?period=today")
            page = _read(f"{running.admin_url}/dashboard").decode()
        with proxy({"docker.io": registry.url}, settings=settings) as again:
            after = _ask(again, "/savings?period=all")
    crossed = seen.body_bytes()
    assert seen.received == registry.link.received() - counted  # not a frame was missed
    assert fetched == crossed == savings["all"]["fetched_bytes"]
    assert saved == clients.got - crossed == savings["all"]["saved_bytes"]
    assert savings["all"]["pulls"] == clients.pulls
    # In all, today, in 7 days and in 35.
    assert page.count(f'<data value="{clients.got - crossed}"') == 4
    assert after["all"] == savings["all"]


@contextmanager
def _left_alone(registry: DistantRegistry) -> Iterator[None]:
    yield
    registry.wait_until_alone()


def _a_day(clients: Clients) -> None:
    """Cold, warm, many at once, what is not there, and a client that leaves."""
    clients.pull("team/app", APP)
    for _ in range(3):
        clients.pull("team/app", APP)
    clients.many("team/next", NEXT, 12)
    clients.pull("team/next", NEXT)
    base = f"{clients.proxy.url}/v2/docker.io"
    assert wire.get(f"{base}/team/missing/manifests/1").status == 404
    layer = APP.layers[0]
    answer = wire.get(f"{base}/team/app/blobs/{layer.digest}", headers={"Range": "bytes=5-9"})
    assert answer.body == layer.body[5:10]
    clients.got += 5


def _ask(proxy: Proxy, path: str) -> Any:
    return json.loads(_read(f"{proxy.admin_url}/api/v1{path}"))


def _read(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=60) as response:
        body: bytes = response.read()
        return body
