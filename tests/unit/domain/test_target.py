import pytest

from cacheproxy.domain.errors import CacheproxyError, NameInvalid, NotAnEndpoint, UpstreamAmbiguous
from cacheproxy.domain.target import Target, parse

_DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        pytest.param("/v2/", Target("ping"), id="ping"),
        pytest.param("/v2", Target("ping"), id="ping without slash"),
        pytest.param("/docker.io/v2/", Target("ping", "docker.io"), id="ping below a prefix"),
        pytest.param("/v2/?ns=docker.io", Target("ping", ns="docker.io"), id="ping with ns"),
        pytest.param(
            "/v2/library/nginx/manifests/1",
            Target("manifest", name="library/nginx", reference="1"),
            id="manifest",
        ),
        pytest.param(
            f"/v2/a/blobs/{_DIGEST}", Target("blob", name="a", reference=_DIGEST), id="blob"
        ),
        pytest.param("/v2/a/b/tags/list", Target("tags", name="a/b"), id="tags"),
        pytest.param(
            f"/v2/a/referrers/{_DIGEST}?artifactType=x%2Fy",
            Target("referrers", name="a", reference=_DIGEST, query=(("artifactType", "x/y"),)),
            id="referrers",
        ),
        pytest.param(
            "/quay.io/v2/a/b/manifests/1",
            Target("manifest", "quay.io", name="a/b", reference="1"),
            id="prefix",
        ),
        pytest.param(
            "/registry.local%3A5000/v2/a/manifests/1",
            Target("manifest", "registry.local:5000", name="a", reference="1"),
            id="prefix with an encoded port",
        ),
        pytest.param(
            "/v2/registry.local%3a5000/a/blobs/" + _DIGEST.replace(":", "%3A"),
            Target("blob", name="registry.local:5000/a", reference=_DIGEST),
            id="first component with an encoded port",
        ),
        pytest.param(
            "/v2/a/tags/list?n=5&ns=registry.local%3A5000&last=v1",
            Target("tags", ns="registry.local:5000", name="a", query=(("n", "5"), ("last", "v1"))),
            id="ns among others",
        ),
        pytest.param(
            "/v2/a/tags/list?last=&n=&n=2&last=%20%26",
            Target("tags", name="a", query=(("last", ""), ("n", ""), ("n", "2"), ("last", " &"))),
            id="empty and repeated parameters",
        ),
        pytest.param(
            "/v2/a/tags/list?_=1&n=2&N=3&access_token=x&next_page=a%3D",
            Target("tags", name="a", query=(("n", "2"), ("next_page", "a="))),
            id="other parameters",
        ),
        pytest.param("/v2/a/tags/list?ns=", Target("tags", ns="", name="a"), id="empty ns"),
        pytest.param("/v2/a/tags/list?", Target("tags", name="a"), id="empty query"),
        pytest.param("/v2/%61/tags/list", Target("tags", name="a"), id="an encoded letter"),
    ],
)
def test_a_target_is_taken_apart(raw: str, target: Target) -> None:
    """Each endpoint and each addressing is told apart, with what is encoded decoded once."""
    assert parse(raw) == target


@pytest.mark.parametrize(
    ("raw", "name", "reference"),
    [
        pytest.param("/v2/blobs/manifests/1", "blobs", "1", id="blobs"),
        pytest.param("/v2/manifests/manifests/1", "manifests", "1", id="manifests"),
        pytest.param("/v2/a/manifests/b/manifests/1", "a/manifests/b", "1", id="within"),
        pytest.param("/v2/tags/list/manifests/list", "tags/list", "list", id="tags"),
        pytest.param("/v2/v2/manifests/v2", "v2", "v2", id="v2"),
        pytest.param("/v2/a/manifests/manifests", "a", "manifests", id="a tag"),
    ],
)
def test_words_of_the_api_are_names_too(raw: str, name: str, reference: str) -> None:
    """The endpoint is read from the right, since its words are legal in names and tags."""
    assert parse(raw) == Target("manifest", name=name, reference=reference)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("", id="nothing"),
        pytest.param("/", id="root"),
        pytest.param("/v1/", id="v1"),
        pytest.param("/v1/repositories/a/tags", id="v1 tags"),
        pytest.param("/V2/", id="upper case"),
        pytest.param("v2/", id="no leading slash"),
        pytest.param("//v2/", id="empty prefix"),
        pytest.param("/a/b/v2/x/tags/list", id="prefix of two"),
        pytest.param("http://host/v2/a/tags/list", id="absolute form"),
        pytest.param("/v2/_catalog", id="catalog"),
        pytest.param("/v2/_oci/ext/discover", id="extensions"),
        pytest.param("/v2/a", id="a name alone"),
        pytest.param("/v2//", id="two slashes"),
        pytest.param("/v2/tags/list", id="tags of nothing"),
        pytest.param("/v2/manifests/1", id="manifest of nothing"),
        pytest.param("/v2/a/manifests/", id="no reference"),
        pytest.param("/v2/a/blobs/", id="no digest"),
        pytest.param("/v2/a/tags/list/", id="trailing slash"),
        pytest.param("/v2/a/tags/lists", id="another word"),
        pytest.param("/v2/a/blobs/uploads/", id="an upload"),
        pytest.param("/v2/a/blobs/uploads/123", id="an upload's URL"),
        pytest.param("/metrics", id="metrics"),
        pytest.param("/v2/a/tags/list?" + "a" * 5000, id="a query that is too long"),
    ],
)
def test_what_is_no_endpoint_is_refused(raw: str) -> None:
    """Everything but the pull API's five endpoints is none."""
    with pytest.raises(NotAnEndpoint):
        parse(raw)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("%2f", id="encoded slash"),
        pytest.param("%2F", id="encoded slash, upper case"),
        pytest.param("%00", id="NUL"),
        pytest.param("%0a", id="encoded newline"),
        pytest.param("%25", id="encoded percent sign"),
        pytest.param("%252f", id="doubly encoded slash"),
        pytest.param("%", id="percent sign"),
        pytest.param("%4", id="half an escape"),
        pytest.param("%zz", id="no escape"),
        pytest.param("%u0041", id="another kind of escape"),
        pytest.param("%5c", id="encoded backslash"),
        pytest.param("%3f", id="encoded question mark"),
        pytest.param("%c3%a9", id="encoded accent"),
        pytest.param("\\", id="backslash"),
        pytest.param("\n", id="newline"),
        pytest.param(" ", id="space"),
        pytest.param("#", id="fragment"),
        pytest.param(";", id="semicolon"),
        pytest.param("\u00e9", id="accent"),
        pytest.param("\udcff", id="a byte that is no UTF-8"),
        pytest.param("\u2215", id="what looks like a slash"),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/v2/a{}/tags/list",
        "/v2/a/manifests/1{}",
        "/docker.io{}/v2/a/tags/list",
        "/v2/a/tags/list{}",
    ],
)
def test_characters_that_no_name_has_are_refused(path: str, odd: str) -> None:
    """An odd character is refused in every part of the path, plain or encoded."""
    with pytest.raises(NameInvalid):
        parse(path.format(odd))


def test_two_ns_are_ambiguous() -> None:
    """Whoever gives `ns` twice may mean either, even where both are the same."""
    with pytest.raises(UpstreamAmbiguous):
        parse("/v2/a/tags/list?ns=docker.io&n=1&ns=docker.io")


def test_dots_are_left_for_the_name_to_refuse() -> None:
    """`..` is not resolved: no path but the written one is ever meant."""
    assert parse("/v2/a/../b/tags/list").name == "a/../b"
    assert parse("/v2/a/%2e%2e/b/tags/list").name == "a/../b"
    assert parse("/v2/a//b/tags/list").name == "a//b"


@pytest.mark.parametrize("length", [10, 10_000, 1_000_000])
def test_a_refusal_does_not_repeat_what_was_asked(length: int) -> None:
    """However long a target is, the sentence that refuses it is short."""
    with pytest.raises(CacheproxyError) as caught:
        parse("/v2/" + "x" * length)
    assert len(str(caught.value)) < 100
