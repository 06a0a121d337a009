"""An upstream whose packets vanish: what that costs pulls of what is cached, and of what is not."""

import hashlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.images import OCI_MANIFEST, Image
from tests.support.parts import wire
from tests.support.parts.distant import DistantRegistry, bulk, distant_registry
from tests.support.parts.process import wait_until
from tests.support.parts.proxy import Proxy, proxy

pytestmark = [pytest.mark.clients, pytest.mark.alone]

_PULLS = 100
_IMAGES = {f"team/app-{number}": bulk(number, 200_000) for number in range(4)}
_NEW = bulk(99, 200_000)
_CONNECT_TIMEOUT, _LONGEST_PAUSE = 1.0, 4.0
_UPSTREAM = {
    "connect_timeout": f"{_CONNECT_TIMEOUT:g}s",
    "breaker": {"longest_pause": f"{_LONGEST_PAUSE:g}s"},
    # Every pull is of a stale tag, which upstream is asked about.
    "tags": {"fresh_for": "0s"},
}
_ACCEPT = {"Accept": OCI_MANIFEST}


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy with everything in its cache, and its upstream."""

    proxy: Proxy
    registry: DistantRegistry

    def manifest(self, repository: str, tag: str = "1") -> wire.Answer:
        """The answer to a pull of a manifest."""
        url = f"{self.proxy.url}/v2/docker.io/{repository}/manifests/{tag}"
        return wire.get(url, headers=_ACCEPT)

    def pull(self, repository: str, image: Image) -> float:
        """Pull an image by its tag, and say how many seconds that took.

        Raises:
            AssertionError: it was not that one, whole.
        """
        begun = time.monotonic()
        answer = self.manifest(repository)
        assert (answer.status, answer.body) == (200, image.manifest)
        for digest in image.all_blobs:
            blob = wire.get(f"{self.proxy.url}/v2/docker.io/{repository}/blobs/{digest}")
            assert blob.status == 200
            assert "sha256:" + hashlib.sha256(blob.body).hexdigest() == digest
        return time.monotonic() - begun

    def pulls(self) -> list[float]:
        """How long each of a hundred pulls took."""
        images = list(_IMAGES.items())
        return [self.pull(*images[number % len(images)]) for number in range(_PULLS)]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with distant_registry() as registry:
        for repository, image in _IMAGES.items():
            registry.hold(repository, image)
        with proxy({"docker.io": {"url": registry.url, **_UPSTREAM}}) as running:
            scene = Scene(running, registry)
            for repository, image in _IMAGES.items():
                scene.pull(repository, image)
            yield scene


def test_a_black_hole(scene: Scene) -> None:
    """Cached pulls go on as before, others fail soon, and all is fresh again after the pause."""
    before = scene.pulls()
    scene.registry.link.swallow()

    uncached = [_timed(scene, f"none-{number}") for number in range(3)]
    during = scene.pulls()
    uncached += [_timed(scene, f"none-{number}") for number in range(3, 20)]

    scene.registry.link.restore()
    begun = time.monotonic()
    scene.registry.hold("team/app-0", _NEW)
    wait_until(lambda: scene.manifest("team/app-0").body == _NEW.manifest, 30.0, "it is fresh")
    fresh = time.monotonic() - begun
    scene.pull("team/app-0", _NEW)

    _show("100 cached pulls before", before)
    _show("100 cached pulls during", during)
    _show("20 uncached pulls during", [seconds for _, seconds in uncached])
    print(f"fresh again after {fresh:.2f} s")  # noqa: T201  # what was measured is to be seen
    assert statistics.median(during) < statistics.median(before) + 0.05
    assert {status for status, _ in uncached} == {503, 504}
    assert uncached[0][0] == 504
    assert max(seconds for _, seconds in uncached) < _CONNECT_TIMEOUT + 1.0
    assert fresh < 1.25 * _LONGEST_PAUSE + _CONNECT_TIMEOUT + 1.0


def test_a_black_hole_under_cached_pulls_alone(scene: Scene) -> None:
    """Also if no other pull has found out: one waits for as long as to connect, the rest do not."""
    before = scene.pulls()
    scene.registry.link.swallow()
    during = scene.pulls()
    _show("100 cached pulls before", before)
    _show("100 cached pulls during", during)
    assert statistics.median(during) < statistics.median(before) + 0.05
    assert during[0] < _CONNECT_TIMEOUT + 1.0
    assert max(during[1:]) < _CONNECT_TIMEOUT / 2


def _timed(scene: Scene, tag: str) -> tuple[int, float]:
    begun = time.monotonic()
    status = scene.manifest("team/app-0", tag).status
    return status, time.monotonic() - begun


def _show(what: str, seconds: list[float]) -> None:
    median, longest = statistics.median(seconds) * 1000, max(seconds) * 1000
    print(f"{what}: median {median:.1f} ms, longest {longest:.1f} ms")  # noqa: T201
