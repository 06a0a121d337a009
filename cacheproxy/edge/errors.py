"""The one table from our errors to HTTP and to the distribution spec's error codes."""

import json
import math
from dataclasses import dataclass

from cacheproxy.domain.errors import (
    BlobUnknown,
    CacheproxyError,
    ConnectionsBusy,
    ContentInvalid,
    Denied,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    MethodUnsupported,
    NameInvalid,
    NotAnEndpoint,
    RangeNotSatisfiable,
    RepositoryUnknown,
    StorageError,
    TagInvalid,
    UpstreamAmbiguous,
    UpstreamLimited,
    UpstreamOffline,
    UpstreamRefused,
    UpstreamResting,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnknown,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an error is to a client: a status, and a code of the distribution spec.

    Below 500 only the spec's own codes may be sent.
    """

    status: int
    code: str


# A tag that cannot be is a manifest that is not there: the conformance suite wants 404. And
# upstream's 401 never becomes ours: clients would try to log in to this proxy.
RULES: dict[type[CacheproxyError], Rule] = {
    NameInvalid: Rule(404, "NAME_INVALID"),
    TagInvalid: Rule(404, "MANIFEST_UNKNOWN"),
    DigestInvalid: Rule(400, "DIGEST_INVALID"),
    UpstreamAmbiguous: Rule(400, "NAME_INVALID"),
    UpstreamUnknown: Rule(404, "NAME_UNKNOWN"),
    NotAnEndpoint: Rule(404, "UNSUPPORTED"),
    MethodUnsupported: Rule(405, "UNSUPPORTED"),
    RangeNotSatisfiable: Rule(416, "SIZE_INVALID"),
    ManifestUnknown: Rule(404, "MANIFEST_UNKNOWN"),
    BlobUnknown: Rule(404, "BLOB_UNKNOWN"),
    RepositoryUnknown: Rule(404, "NAME_UNKNOWN"),
    Denied: Rule(403, "DENIED"),
    UpstreamLimited: Rule(429, "TOOMANYREQUESTS"),
    UpstreamTimeout: Rule(504, "UNAVAILABLE"),
    ConnectionsBusy: Rule(503, "UNAVAILABLE"),
    UpstreamRefused: Rule(502, "UNKNOWN"),
    UpstreamUnavailable: Rule(502, "UNAVAILABLE"),
    UpstreamResting: Rule(503, "UNAVAILABLE"),
    UpstreamOffline: Rule(503, "UNAVAILABLE"),
    ManifestInvalid: Rule(502, "MANIFEST_INVALID"),
    ContentInvalid: Rule(502, "UNKNOWN"),
    StorageError: Rule(503, "UNAVAILABLE"),
}

_UNEXPECTED = Rule(500, "UNKNOWN")
# What to say where upstream did not: long enough for a breaker to be worth its while.
_RETRY_AFTER = 30.0


def rule_of(error: CacheproxyError) -> Rule:
    """The rule for an error: its own class's, else its nearest ancestor's."""
    for ancestor in type(error).__mro__:
        if ancestor in RULES:
            return RULES[ancestor]
    return _UNEXPECTED


def headers_of(error: CacheproxyError) -> dict[str, str]:
    """The header fields that an error's response needs."""
    match error:
        case MethodUnsupported():
            return {"Allow": "GET, HEAD"}
        case RangeNotSatisfiable():
            return {"Content-Range": f"bytes */{error.size}"}
        case UpstreamLimited():
            seconds = _RETRY_AFTER if error.retry_after is None else error.retry_after
            return {"Retry-After": str(max(1, math.ceil(seconds)))}
        case UpstreamUnavailable() | ConnectionsBusy() if error.retry_after is not None:
            return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        case _:
            return {}


def body_of(code: str, message: str) -> bytes:
    """An error body by the distribution spec, "Error Codes"."""
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
