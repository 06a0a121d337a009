import pytest

from cacheproxy.domain.errors import CacheproxyError, UpstreamUnknown
from cacheproxy.domain.operation import ListTags, PullManifest
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.domain.routing import Route, Routes
from cacheproxy.edge.targets import Targets

_HUB = Route("docker.io", "library")
_ROUTES = Routes({"docker.io": _HUB}, _HUB)


def test_the_same_words_mean_the_same() -> None:
    """A target is read once, and means each time what the parser and the routes made of it."""
    targets = Targets(_ROUTES)
    first = targets.read("/v2/nginx/manifests/1?ns=docker.io")
    assert first is targets.read("/v2/nginx/manifests/1?ns=docker.io")
    target, operation = first
    assert target.ns == "docker.io"
    assert operation == PullManifest(Repository("docker.io", Name("library/nginx")), Tag("1"))


def test_long_ones_are_read_each_time() -> None:
    """Who writes much into a target does not fill the memory with it."""
    raw = f"/v2/nginx/tags/list?n=1&x={'x' * 600}"
    targets = Targets(_ROUTES)
    first, again = targets.read(raw), targets.read(raw)
    assert isinstance(first[1], ListTags)
    assert first == again
    assert first is not again


@pytest.mark.parametrize("raw", ["/", "/v2/quay.io/a/manifests/1", "/v2/a/blobs/sha256:0"])
def test_what_means_nothing_never_does(raw: str) -> None:
    """An error is one the second time too."""
    targets = Targets(_ROUTES)
    for _ in range(2):
        with pytest.raises(CacheproxyError):
            targets.read(raw)


def test_other_routes_have_their_own() -> None:
    """What was configured before does not live on."""
    assert Targets(_ROUTES).read("/v2/nginx/manifests/1")
    with pytest.raises(UpstreamUnknown):
        Targets(Routes({}, None)).read("/v2/nginx/manifests/1")
