import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    Denied,
    DigestInvalid,
    NameInvalid,
    RequestError,
    TagInvalid,
    UpstreamUnknown,
)
from cacheproxy.domain.image import parse_image, pullable
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.routing import Route, Routes

DIGEST = Digest.of(b"")
HUB = Route("docker.io", "library", Patterns(deny=("secret/**",)))
QUAY = Route("quay.io")
ROUTES = Routes({"docker.io": HUB, "index.docker.io": HUB, "quay.io": QUAY}, HUB)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("team/app:V1", "docker.io/team/app:V1"),
        ("docker.io/nginx", "docker.io/library/nginx"),
        ("Index.Docker.IO/nginx:1", "docker.io/library/nginx:1"),
        ("quay.io/nginx:1", "quay.io/nginx:1"),
        ("quay.io:443/a/b", "quay.io/a/b"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("old.example.com/app:1", "old.example.com/app:1"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("secret/app:1", "docker.io/secret/app:1"),
        ("a.b:1", "docker.io/library/a.b:1"),
    ],
)
def test_a_name_means_what_it_does_to_engines(written: str, meant: str) -> None:
    """Registry and namespace are filled in; what is not configured or denied is a name too."""
    assert str(parse_image(written, ROUTES)) == meant


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("", NameInvalid),
        ("Nginx", NameInvalid),
        ("team/a:b/c", NameInvalid),
        ("a:b:c", NameInvalid),
        ("quay.io/", NameInvalid),
        ("nginx:", TagInvalid),
        ("nginx:-", TagInvalid),
        ("nginx@", DigestInvalid),
        ("nginx@1", DigestInvalid),
        ("https://quay.io/a", RequestError),
    ],
)
def test_what_is_no_name_is_refused(written: str, error: type[RequestError]) -> None:
    """What cannot name an image is an error that says so."""
    with pytest.raises(error):
        parse_image(written, ROUTES)


def test_without_a_default_a_registry_must_be_named() -> None:
    """Where no upstream is the default, a name without one means nothing."""
    with pytest.raises(UpstreamUnknown, match="none is the default"):
        parse_image("nginx", Routes({"quay.io": QUAY}, None))


def test_what_may_be_pulled_has_an_upstream_that_allows_it() -> None:
    """A name is dialled only for a configured upstream whose rules allow it."""
    image = parse_image("nginx:1", ROUTES)
    assert pullable(image, ROUTES) == image
    with pytest.raises(Denied, match="not allowed by this proxy's rules"):
        pullable(parse_image("secret/app:1", ROUTES), ROUTES)
    with pytest.raises(UpstreamUnknown, match=r"'old\.example\.com' is not a configured upstream"):
        pullable(parse_image("old.example.com/app:1", ROUTES), ROUTES)
