import json
from collections.abc import Iterator

import pytest

from cacheproxy.domain.errors import (
    CacheproxyError,
    Denied,
    DigestMismatch,
    MethodUnsupported,
    RangeNotSatisfiable,
    StartError,
    UpstreamLimited,
    UpstreamUnavailable,
)
from cacheproxy.edge.errors import RULES, body_of, headers_of, rule_of

# Distribution spec, "Error Codes".
_SPEC_CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}


def _leaves(kind: type[CacheproxyError]) -> Iterator[type[CacheproxyError]]:
    """The classes of which errors are made: those that have none below, adapters' own aside."""
    below = [child for child in kind.__subclasses__() if child.__module__ == kind.__module__]
    if not below:
        yield kind
    for child in below:
        yield from _leaves(child)


def _made(kind: type[CacheproxyError]) -> CacheproxyError:
    return RangeNotSatisfiable(7) if kind is RangeNotSatisfiable else kind("it broke")


# A process that cannot start answers nobody; and errors of the settings are no request's.
_ANSWERED = [
    kind
    for kind in _leaves(CacheproxyError)
    if kind is not StartError and kind.__module__ == CacheproxyError.__module__
]


@pytest.mark.parametrize("kind", [*RULES, *_ANSWERED])
def test_every_error_has_a_status_and_a_code(kind: type[CacheproxyError]) -> None:
    """Each error maps, below 500 to the spec's codes alone, and never to a 401 or a plain 500."""
    rule = rule_of(_made(kind))
    assert 400 <= rule.status < 600
    assert rule.status not in (401, 500)
    assert rule.code in _SPEC_CODES or rule.status >= 500
    assert rule.code.replace("_", "").isalpha()
    assert rule.code.isupper()


def test_there_are_errors_to_map() -> None:
    """The walk over the tree finds its leaves, and no rule is for what is no error of ours."""
    assert len(_ANSWERED) >= 17
    assert all(issubclass(kind, CacheproxyError) for kind in RULES)
    assert StartError not in RULES


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(DigestMismatch("x"), 502, "UNKNOWN", id="the nearest ancestor's"),
        pytest.param(Denied("x"), 403, "DENIED", id="its own"),
        pytest.param(CacheproxyError("x"), 500, "UNKNOWN", id="nobody's"),
        pytest.param(
            type("New", (UpstreamUnavailable,), {})("x"), 502, "UNAVAILABLE", id="a new one"
        ),
    ],
)
def test_an_error_without_a_rule_has_its_ancestors(
    error: CacheproxyError, status: int, code: str
) -> None:
    """A class without a rule has the one of the nearest class above it."""
    rule = rule_of(error)
    assert (rule.status, rule.code) == (status, code)


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        pytest.param(MethodUnsupported("x"), {"Allow": "GET, HEAD"}, id="method"),
        pytest.param(RangeNotSatisfiable(7), {"Content-Range": "bytes */7"}, id="range"),
        pytest.param(UpstreamLimited("x", 17.2), {"Retry-After": "18"}, id="limit"),
        pytest.param(UpstreamLimited("x", 0.0), {"Retry-After": "1"}, id="limit that is over"),
        pytest.param(UpstreamLimited("x"), {"Retry-After": "30"}, id="limit of unknown length"),
        pytest.param(UpstreamUnavailable("x", 6.2), {"Retry-After": "7"}, id="a 503"),
        pytest.param(UpstreamUnavailable("x"), {}, id="a failure of unknown length"),
        pytest.param(Denied("x"), {}, id="none"),
    ],
)
def test_some_errors_need_header_fields(error: CacheproxyError, headers: dict[str, str]) -> None:
    """What a client can do about an error is in its header fields."""
    assert headers_of(error) == headers


@pytest.mark.parametrize("message", ["it broke", 'a "quoted" \\ one', "\u00e9\n\x00", "\udcff", ""])
def test_a_body_is_as_the_spec_has_it(message: str) -> None:
    """An error's body is one error of the spec's shape, whatever is in its sentence."""
    body = body_of("DENIED", message)
    assert json.loads(body) == {"errors": [{"code": "DENIED", "message": message}]}
    assert body.isascii()
