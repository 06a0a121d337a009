import pytest

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    DigestInvalid,
    NameInvalid,
    TagInvalid,
    UpstreamAmbiguous,
    UpstreamUnknown,
)
from cacheproxy.domain.operation import ListReferrers, ListTags, Ping, PullBlob, PullManifest
from cacheproxy.domain.patterns import Patterns
from cacheproxy.domain.reference import Name, Repository, Tag
from cacheproxy.domain.routing import Route, Routes, canonical_host, looks_like_host
from cacheproxy.domain.target import parse

_HUB = Route("docker.io", "library")
_QUAY = Route("quay.io")
_LOCAL = Route("registry.local:5000", allow=Patterns(("team/**",), ("team/secret/**",)))
_LOCALHOST = Route("localhost")
_ROUTES = Routes(
    {
        "docker.io": _HUB,
        "index.docker.io": _HUB,
        "registry-1.docker.io": _HUB,
        "quay.io": _QUAY,
        "registry.local:5000": _LOCAL,
        "localhost": _LOCALHOST,
        "hub": _HUB,
    },
    default=_HUB,
)
_NO_DEFAULT = Routes(_ROUTES.by_host, default=None)
_DIGEST = Digest.of(b"")


def _manifest(registry: str, name: str, tag: str = "1") -> PullManifest:
    return PullManifest(Repository(registry, Name(name)), Tag(tag))


@pytest.mark.parametrize(
    ("raw", "registry", "name"),
    [
        pytest.param("/v2/a/b/manifests/1?ns=quay.io", "quay.io", "a/b", id="ns"),
        pytest.param("/v2/quay.io/a/b/manifests/1", "quay.io", "a/b", id="first component"),
        pytest.param("/quay.io/v2/a/b/manifests/1", "quay.io", "a/b", id="prefix"),
        pytest.param("/v2/a/b/manifests/1", "docker.io", "a/b", id="default"),
        pytest.param(
            "/v2/team/a/manifests/1?ns=registry.local%3A5000",
            "registry.local:5000",
            "team/a",
            id="ns with an encoded port",
        ),
        pytest.param(
            "/v2/team/a/manifests/1?ns=registry.local:5000",
            "registry.local:5000",
            "team/a",
            id="ns with a port",
        ),
        pytest.param(
            "/v2/registry.local%3A5000/team/a/manifests/1",
            "registry.local:5000",
            "team/a",
            id="first component with an encoded port",
        ),
        pytest.param(
            "/registry.local%3a5000/v2/team/a/manifests/1",
            "registry.local:5000",
            "team/a",
            id="prefix with an encoded port",
        ),
        pytest.param(
            "/v2/a/b/manifests/1?ns=index.docker.io", "docker.io", "a/b", id="alias by ns"
        ),
        pytest.param(
            "/v2/registry-1.docker.io/a/b/manifests/1", "docker.io", "a/b", id="alias by component"
        ),
        pytest.param(
            "/index.docker.io/v2/a/b/manifests/1", "docker.io", "a/b", id="alias by prefix"
        ),
        pytest.param("/hub/v2/a/b/manifests/1", "docker.io", "a/b", id="an alias that is one word"),
        pytest.param("/v2/hub/b/manifests/1", "docker.io", "hub/b", id="the same word in a name"),
        pytest.param("/v2/QUAY.IO/a/manifests/1", "quay.io", "a", id="upper case"),
        pytest.param("/v2/a/manifests/1?ns=quay.io.", "quay.io", "a", id="trailing dot"),
        pytest.param("/v2/a/manifests/1?ns=quay.io:443", "quay.io", "a", id="default port"),
        pytest.param("/v2/quay.io:80/a/manifests/1", "quay.io", "a", id="default port of http"),
        pytest.param("/v2/localhost/a/manifests/1", "localhost", "a", id="localhost"),
        pytest.param(
            "/quay.io/v2/quay.io/a/manifests/1?ns=quay.io", "quay.io", "a", id="all of them agree"
        ),
        pytest.param(
            "/docker.io/v2/a/b/manifests/1?ns=index.docker.io",
            "docker.io",
            "a/b",
            id="two names of one upstream",
        ),
        pytest.param(
            "/v2/docker.io/quay.io/a/manifests/1", "docker.io", "quay.io/a", id="a host only once"
        ),
        pytest.param(
            "/v2/my.app/b/manifests/1?ns=quay.io",
            "quay.io",
            "my.app/b",
            id="a component with a dot under ns",
        ),
        pytest.param(
            "/quay.io/v2/my.app/manifests/1", "quay.io", "my.app", id="and below a prefix"
        ),
        pytest.param(
            "/v2/a/my.app/manifests/1", "docker.io", "a/my.app", id="and behind the first"
        ),
        pytest.param("/v2/quay.io/blobs/tags/manifests/1", "quay.io", "blobs/tags", id="words"),
    ],
)
def test_a_request_is_for_one_upstream(raw: str, registry: str, name: str) -> None:
    """Whichever way a request names its upstream, it is that one's canonical name."""
    assert _ROUTES.resolve(parse(raw)) == _manifest(registry, name)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param("/v2/nginx/manifests/1", "library/nginx", id="default"),
        pytest.param("/v2/nginx/manifests/1?ns=docker.io", "library/nginx", id="ns"),
        pytest.param("/v2/docker.io/nginx/manifests/1", "library/nginx", id="first component"),
        pytest.param("/docker.io/v2/nginx/manifests/1", "library/nginx", id="prefix"),
        pytest.param("/v2/library/nginx/manifests/1", "library/nginx", id="there already"),
        pytest.param("/v2/library/manifests/1", "library/library", id="called so itself"),
        pytest.param("/v2/docker.io/library/a/manifests/1", "library/a", id="once"),
    ],
)
def test_official_images_are_in_the_library(raw: str, name: str) -> None:
    """A name of one component gets Docker Hub's namespace, once."""
    assert _ROUTES.resolve(parse(raw)) == _manifest("docker.io", name)


def test_no_other_upstream_has_a_library() -> None:
    """A name of one component stays as it is where no namespace is official."""
    assert _ROUTES.resolve(parse("/v2/quay.io/nginx/manifests/1")) == _manifest("quay.io", "nginx")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("/v2/evil.example/a/manifests/1", id="first component"),
        pytest.param("/v2/a/manifests/1?ns=evil.example", id="ns"),
        pytest.param("/evil.example/v2/a/manifests/1", id="prefix"),
        pytest.param("/v2/quay.io/a/manifests/1?ns=evil.example", id="ns before a known component"),
        pytest.param("/evil.example/v2/a/manifests/1?ns=quay.io", id="prefix before a known ns"),
        pytest.param("/evil.example/v2/", id="ping"),
        pytest.param("/v2/?ns=evil.example", id="ping with ns"),
        pytest.param("/v2/a/manifests/1?ns=", id="empty ns"),
        pytest.param("/v2/a/manifests/1?ns=169.254.169.254", id="an address"),
        pytest.param("/v2/127.0.0.1:22/a/manifests/1", id="an address with a port"),
        pytest.param("/v2/registry.local/team/a/manifests/1", id="a known host on another port"),
        pytest.param("/v2/registry.local:5001/team/a/manifests/1", id="another port"),
        pytest.param("/v2/localhost:5000/a/manifests/1", id="localhost with a port"),
        pytest.param("/v2/x:1/a/manifests/1", id="a word with a port"),
        pytest.param("/v2/evil.docker.io/a/manifests/1", id="a subdomain"),
        pytest.param("/v2/docker.io.evil.example/a/manifests/1", id="a longer host"),
        pytest.param("/v2/my.app/manifests/1", id="a name with a dot"),
        pytest.param("/v2/../a/manifests/1", id="parent"),
        pytest.param("/v2/a/manifests/1?ns=docker.io%0a", id="newline behind ns"),
        pytest.param("/v2/a/manifests/1?ns=docker.io/", id="slash behind ns"),
        pytest.param("/v2/a/manifests/1?ns=https://docker.io", id="a URL"),
        pytest.param("/unknown/v2/a/manifests/1", id="a prefix of one word"),
        pytest.param("/v2/v2/manifests/1?ns=%ff", id="no UTF-8"),
    ],
)
def test_an_unknown_host_is_never_the_default(raw: str) -> None:
    """What looks like a host, or is named as one, is configured or it is unknown."""
    with pytest.raises(UpstreamUnknown):
        _ROUTES.resolve(parse(raw))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("/v2/quay.io/a/manifests/1?ns=docker.io", id="component and ns"),
        pytest.param("/quay.io/v2/a/manifests/1?ns=docker.io", id="prefix and ns"),
        pytest.param("/quay.io/v2/docker.io/a/manifests/1", id="prefix and component"),
        pytest.param("/quay.io/v2/?ns=docker.io", id="ping"),
    ],
)
def test_two_upstreams_are_ambiguous(raw: str) -> None:
    """A request that names two different upstreams is for neither."""
    with pytest.raises(UpstreamAmbiguous):
        _ROUTES.resolve(parse(raw))


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param("/v2/quay.io/manifests/1", NameInvalid, id="an upstream without a name"),
        pytest.param("/v2/quay.io/A/manifests/1", NameInvalid, id="upper case"),
        pytest.param("/v2/quay.io//a/manifests/1", NameInvalid, id="two slashes"),
        pytest.param("/v2//a/manifests/1", NameInvalid, id="two slashes at first"),
        pytest.param("/v2/a/../b/manifests/1", NameInvalid, id="parent"),
        pytest.param("/v2/../a/manifests/1?ns=quay.io", NameInvalid, id="parent under ns"),
        pytest.param("/v2/a:b/c/manifests/1?ns=quay.io", NameInvalid, id="colon under ns"),
        pytest.param("/v2/" + "a" * 256 + "/manifests/1", NameInvalid, id="256 characters"),
        pytest.param("/v2/" + "a" * 250 + "/manifests/1", NameInvalid, id="with library, 258"),
        pytest.param("/v2/a/manifests/.1", TagInvalid, id="a tag that is none"),
        pytest.param("/v2/a/manifests/sha256:1", DigestInvalid, id="a digest that is none"),
        pytest.param("/v2/a/manifests/a:1", DigestInvalid, id="a colon in a tag"),
        pytest.param("/v2/a/blobs/latest", DigestInvalid, id="a blob by tag"),
        pytest.param("/v2/a/referrers/latest", DigestInvalid, id="referrers by tag"),
        pytest.param("/v2/registry.local:5000/other/manifests/1", Denied, id="not allowed"),
        pytest.param("/v2/registry.local:5000/team/secret/a/manifests/1", Denied, id="denied"),
        pytest.param(f"/v2/registry.local:5000/other/blobs/{_DIGEST}", Denied, id="nor its blobs"),
        pytest.param("/v2/registry.local:5000/other/tags/list", Denied, id="nor its tags"),
    ],
)
def test_what_cannot_be_is_refused(raw: str, error: type[CacheproxyError]) -> None:
    """Each part that is malformed or not allowed has its own error."""
    with pytest.raises(error):
        _ROUTES.resolve(parse(raw))


def test_each_endpoint_is_an_operation() -> None:
    """The five endpoints are five operations, each with what it needs."""
    repository = Repository("quay.io", Name("a"))
    asked = {
        "/v2/quay.io/a/manifests/1": PullManifest(repository, Tag("1")),
        f"/v2/quay.io/a/manifests/{_DIGEST}": PullManifest(repository, _DIGEST),
        f"/v2/quay.io/a/blobs/{_DIGEST}": PullBlob(repository, _DIGEST),
        "/v2/quay.io/a/tags/list?n=1": ListTags(repository, (("n", "1"),)),
        f"/v2/quay.io/a/referrers/{_DIGEST}?artifactType=x": ListReferrers(
            repository, _DIGEST, (("artifactType", "x"),)
        ),
        "/v2/": Ping(),
    }
    assert {raw: _ROUTES.resolve(parse(raw)) for raw in asked} == asked


def test_the_artifact_type_is_in_the_query() -> None:
    """The type to filter referrers by is the first of that name, if any."""
    repository = Repository("quay.io", Name("a"))
    assert ListReferrers(repository, _DIGEST).artifact_type is None
    query = (("n", "1"), ("artifactType", "x"), ("artifactType", "y"))
    assert ListReferrers(repository, _DIGEST, query).artifact_type == "x"


def test_without_a_default_an_upstream_must_be_named() -> None:
    """Where nothing is the default, a request that names no upstream is for none."""
    with pytest.raises(UpstreamUnknown):
        _NO_DEFAULT.resolve(parse("/v2/a/b/manifests/1"))
    assert _NO_DEFAULT.resolve(parse("/v2/")) == Ping()
    assert _NO_DEFAULT.resolve(parse("/v2/quay.io/a/manifests/1")) == _manifest("quay.io", "a")


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("docker.io", "docker.io"),
        ("Docker.IO", "docker.io"),
        ("docker.io.", "docker.io"),
        ("docker.io:443", "docker.io"),
        ("docker.io.:443", "docker.io"),
        ("docker.io:80", "docker.io"),
        ("docker.io:5000", "docker.io:5000"),
        ("docker.io:4430", "docker.io:4430"),
        ("docker.io:443\n", "docker.io:443\n"),
        ("", ""),
    ],
)
def test_hosts_are_compared_in_one_spelling(host: str, canonical: str) -> None:
    """Case, a trailing dot and a default port make no difference; everything else does."""
    assert canonical_host(host) == canonical
    assert canonical_host(canonical) == canonical


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("a.b", True),
        ("a:1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("a", False),
        ("", False),
    ],
)
def test_a_host_has_a_dot_or_a_port(component: str, expected: bool) -> None:
    """A first component is a host by Docker's rule."""
    assert looks_like_host(component) is expected
