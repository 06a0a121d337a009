"""Targets: whatever is asked is understood or refused, and what is meant is what is understood."""

from collections.abc import Callable
from typing import assert_never
from urllib.parse import urlencode

from hypothesis import assume, example, given
from hypothesis import strategies as st

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, Denied, RequestError
from cacheproxy.domain.operation import (
    LIST_PARAMETERS,
    ListReferrers,
    ListTags,
    Operation,
    Ping,
    PullBlob,
    PullManifest,
    Query,
)
from cacheproxy.domain.reference import Name, Repository
from cacheproxy.domain.routing import Route, Routes, canonical_host
from cacheproxy.domain.target import parse
from tests.support.grammar import any_text, digests, names, tags

_HUB = Route("docker.io", "library")
_QUAY = Route("quay.io")
_LOCAL = Route("registry.local:5000")
# What hosts a request may call each upstream by.
_SPELLINGS = {
    "docker.io": ("docker.io", "Docker.IO", "docker.io.", "docker.io:443", "index.docker.io"),
    "quay.io": ("quay.io", "QUAY.io"),
    "registry.local:5000": ("registry.local:5000", "Registry.Local:5000"),
}
_ROUTES = Routes(
    {
        "docker.io": _HUB,
        "index.docker.io": _HUB,
        "quay.io": _QUAY,
        "registry.local:5000": _LOCAL,
    },
    default=_HUB,
)

_queries = st.lists(
    st.tuples(st.sampled_from(sorted(LIST_PARAMETERS)), st.text(max_size=12)),
    max_size=3,
).map(tuple)


def _repository(registry: str, name: Name) -> Repository:
    if registry == "docker.io" and "/" not in name:
        return Repository(registry, Name(f"library/{name}"))
    return Repository(registry, name)


_repositories = st.builds(_repository, st.sampled_from(sorted(_SPELLINGS)), names)
_operations: st.SearchStrategy[PullManifest | PullBlob | ListTags | ListReferrers] = st.one_of(
    st.builds(PullManifest, _repositories, tags | digests),
    st.builds(PullBlob, _repositories, digests),
    st.builds(ListTags, _repositories, _queries),
    st.builds(ListReferrers, _repositories, digests, _queries),
)


def _with_colons_encoded(path: str) -> str:
    return path.replace(":", "%3A")


# Some clients encode the colons of digests and of ports, some do not.
_encodings = st.sampled_from((str, _with_colons_encoded))


def _ending(operation: Operation) -> tuple[str, Query]:
    match operation:
        case PullManifest(_, reference):
            return f"manifests/{reference}", ()
        case PullBlob(_, digest):
            return f"blobs/{digest}", ()
        case ListTags(_, query):
            return "tags/list", query
        case ListReferrers(_, digest, query):
            return f"referrers/{digest}", query
        case Ping():
            return "", ()
        case never:
            assert_never(never)


def _with_query(path: str, *pairs: tuple[str, str]) -> str:
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _begins_with_a_host(name: str) -> bool:
    return canonical_host(name.partition("/")[0]) in _ROUTES.by_host


@given(_operations, _encodings, st.data())
def test_the_operation_comes_back_by_ns(
    operation: PullManifest | PullBlob | ListTags | ListReferrers,
    encoded: Callable[[str], str],
    data: st.DataObject,
) -> None:
    """What containerd asks for with `ns`, before or behind the rest of the query, is understood."""
    repository = operation.repository
    assume(not _begins_with_a_host(repository.name))
    host = data.draw(st.sampled_from(_SPELLINGS[repository.registry]))
    ending, query = _ending(operation)
    pairs = (("ns", host), *query) if data.draw(st.booleans()) else (*query, ("ns", host))
    target = _with_query(encoded(f"/v2/{repository.name}/{ending}"), *pairs)
    assert _ROUTES.resolve(parse(target)) == operation


@given(_operations, _encodings, st.data())
def test_the_operation_comes_back_by_first_component(
    operation: PullManifest | PullBlob | ListTags | ListReferrers,
    encoded: Callable[[str], str],
    data: st.DataObject,
) -> None:
    """What podman asks for with the host as the first component of the name is understood."""
    repository = operation.repository
    host = data.draw(st.sampled_from(_SPELLINGS[repository.registry]))
    ending, query = _ending(operation)
    target = _with_query(encoded(f"/v2/{host}/{repository.name}/{ending}"), *query)
    assert _ROUTES.resolve(parse(target)) == operation


@given(_operations, _encodings, st.data())
def test_the_operation_comes_back_by_prefix(
    operation: PullManifest | PullBlob | ListTags | ListReferrers,
    encoded: Callable[[str], str],
    data: st.DataObject,
) -> None:
    """What is asked of a mirror URL whose path is the host is understood."""
    repository = operation.repository
    assume(not _begins_with_a_host(repository.name))
    host = data.draw(st.sampled_from(_SPELLINGS[repository.registry]))
    ending, query = _ending(operation)
    target = _with_query(encoded(f"/{host}/v2/{repository.name}/{ending}"), *query)
    assert _ROUTES.resolve(parse(target)) == operation


@given(_operations, _encodings)
def test_the_operation_comes_back_by_default(
    operation: PullManifest | PullBlob | ListTags | ListReferrers, encoded: Callable[[str], str]
) -> None:
    """What Docker asks for without naming an upstream is the default's."""
    repository = operation.repository
    assume(repository.registry == "docker.io")
    assume("." not in repository.name.partition("/")[0])
    ending, query = _ending(operation)
    target = _with_query(encoded(f"/v2/{repository.name}/{ending}"), *query)
    assert _ROUTES.resolve(parse(target)) == operation


@given(_operations, st.data())
def test_any_character_may_be_percent_encoded_once(
    operation: PullManifest | PullBlob | ListTags | ListReferrers, data: st.DataObject
) -> None:
    """A path means the same whichever of its characters but the slashes are percent-encoded."""
    ending, _ = _ending(operation)
    path = f"/v2/{operation.repository.registry}/{operation.repository.name}/{ending}"
    chosen = data.draw(st.lists(st.booleans(), min_size=len(path), max_size=len(path)))
    encoded = "".join(
        f"%{ord(character):02x}" if choice and character != "/" else character
        for character, choice in zip(path, chosen, strict=True)
    )
    assert parse(encoded) == parse(path)
    doubly = encoded.replace("%", "%25")
    if doubly != encoded:
        assert _refusal(doubly) is not None


_PLAIN = ["/", "//", "v2", "manifests", "blobs", "tags", "list", "referrers", "a", "latest"]
_HOSTS = ["docker.io", "quay.io", "evil.example", "?", "ns=", "ns=quay.io", "&"]
_ODD = ["..", "A", "%2f", "%2F", "%00", "%25", "%", "\\", "\n", " ", "\u00e9", "\udcff", "x" * 300]
_PIECES = [*_PLAIN, *_HOSTS, *_ODD, "sha256:" + "0" * 64]
_assembled = st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)
_behind_v2 = (any_text | _assembled).map("/v2/".__add__)


@given(any_text | _assembled | _behind_v2)
@example("/v2/a/tags/list?ns=%ff")
@example("/v2/" + "a/" * 5000 + "tags/list")
def test_any_text_is_an_operation_or_refused(raw: str) -> None:
    """Every text is an operation on a configured upstream, or a refusal that is the client's."""
    try:
        operation = _ROUTES.resolve(parse(raw))
    except (RequestError, Denied) as error:
        assert str(error).isascii()  # noqa: PT017 - raising is one of two outcomes
        assert len(str(error)) < 1000  # noqa: PT017 - likewise: a hostile target is not echoed whole
    else:
        _assert_well_formed(operation)


def _assert_well_formed(operation: Operation) -> None:
    match operation:
        case Ping():
            return
        case PullManifest(repository, reference):
            assert type(reference).parse(reference) == reference
        case PullBlob(repository, digest) | ListReferrers(repository, digest):
            assert Digest.parse(digest) == digest
        case ListTags(repository):
            pass
        case never:
            assert_never(never)
    assert repository.registry in _SPELLINGS
    assert Name.parse(repository.name) == repository.name
    assert not {"..", "."} & set(repository.name.split("/"))


def _refusal(raw: str) -> CacheproxyError | None:
    try:
        _ROUTES.resolve(parse(raw))
    except CacheproxyError as error:
        return error
    return None


@given(
    st.sampled_from(("%2f", "%2F", "%00", "%0a", "%25", "%5c", "%ff", "\\", "\n", "é", " ")), names
)
def test_no_odd_character_gets_into_a_path(odd: str, name: Name) -> None:
    """A character that no name has is refused wherever in the path it stands."""
    path = f"/v2/{name}/tags/list"
    for at in range(1, len(path) + 1):
        assert _refusal(path[:at] + odd + path[at:]) is not None
