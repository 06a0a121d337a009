"""Everything that can go wrong, as one tree; `cacheproxy.edge.errors` maps it to HTTP.

CacheproxyError
├── StartError                 the process cannot serve as configured
├── RequestError               the client asked for what cannot be
│   ├── NameInvalid            the repository name does not match the grammar
│   ├── TagInvalid             the tag does not match the grammar
│   ├── DigestInvalid          the digest is malformed or of an algorithm that we cannot verify
│   ├── UpstreamAmbiguous      the request names two upstreams, or one twice
│   ├── UpstreamUnknown        the request names a registry that is not configured
│   ├── NotAnEndpoint          the path is none of the pull API's
│   ├── MethodUnsupported      push, delete
│   └── RangeNotSatisfiable    the range lies outside of the blob
├── NotFound                   upstream says that there is no such thing
│   ├── ManifestUnknown
│   ├── BlobUnknown
│   └── RepositoryUnknown
├── Denied                     upstream refuses us, or the operator's rules refuse the client
├── UpstreamError              upstream failed; a cached copy may stand in
│   ├── UpstreamLimited        429, or a 403 that says when to come back
│   ├── UpstreamTimeout        nothing came within a deadline
│   ├── ConnectionsBusy        all of our connections to it are in use
│   ├── UpstreamRefused        it will not do what we ask: 501, or a 4xx other than those above
│   └── UpstreamUnavailable    no connection, 5xx, a broken answer
│       ├── UpstreamResting    it failed a moment ago, and is not asked for a while
│       └── UpstreamOffline    it is not to be asked, by configuration
├── ContentInvalid             upstream sent what cannot be true; nothing is kept
│   ├── DigestMismatch
│   └── ManifestInvalid
└── StorageError               the local disk refused
"""


class CacheproxyError(Exception):
    """The root; `str()` is a sentence for a person."""


class StartError(CacheproxyError):
    """The process cannot serve as configured; the sentence says what to do."""


class RequestError(CacheproxyError):
    """The client asked for what cannot be; asking again will not help."""


class NameInvalid(RequestError):
    """The repository name does not match the distribution spec's grammar."""


class TagInvalid(RequestError):
    """The tag does not match the distribution spec's grammar."""


class DigestInvalid(RequestError):
    """The digest is malformed, or of an algorithm that cannot be verified here."""


class UpstreamAmbiguous(RequestError):
    """The request names two different upstreams, or repeats `ns`."""


class UpstreamUnknown(RequestError):
    """The request names a registry that is not configured: never dialled."""


class NotAnEndpoint(RequestError):
    """The path is none of the pull API's endpoints."""


class MethodUnsupported(RequestError):
    """Anything but GET and HEAD."""


class RangeNotSatisfiable(RequestError):
    """The range lies outside of the blob.

    Attributes:
        size: of the whole blob, in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"the range lies outside of the blob's {size} bytes")
        self.size = size


class NotFound(CacheproxyError):
    """Upstream says that there is no such thing."""


class ManifestUnknown(NotFound):
    """No such manifest in the repository."""


class BlobUnknown(NotFound):
    """No such blob in the repository."""


class RepositoryUnknown(NotFound):
    """No such repository."""


class Denied(CacheproxyError):
    """Upstream refuses us (401, 403), or the operator's rules refuse the client."""


class UpstreamError(CacheproxyError):
    """Upstream failed; what is cached may stand in for its answer.

    Attributes:
        is_response: the failure is a response that says so; not silence, nor a broken connection.
    """

    def __init__(self, message: str, *, is_response: bool = False) -> None:
        super().__init__(message)
        self.is_response = is_response


class UpstreamLimited(UpstreamError):
    """Upstream limits our requests: a 429, or a 403 that says when to come back.

    Attributes:
        retry_after: seconds until asking again may help, where upstream said so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamTimeout(UpstreamError):
    """Nothing came from upstream within a deadline."""


class ConnectionsBusy(UpstreamError):
    """All of our own connections to upstream were in use for too long; it was not asked.

    Attributes:
        retry_after: seconds until asking again may help.
    """

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamRefused(UpstreamError):
    """A 501, or a 4xx that says nothing of what exists or who may: upstream lacks a feature."""


class UpstreamUnavailable(UpstreamError):
    """No connection, a 5xx, or an answer that breaks the protocol.

    Attributes:
        retry_after: seconds until asking again may help; None if unknown.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, *, is_response: bool = False
    ) -> None:
        super().__init__(message, is_response=is_response)
        self.retry_after = retry_after


class UpstreamResting(UpstreamUnavailable):
    """It failed a moment ago: nobody asks it for a while."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)


class UpstreamOffline(UpstreamUnavailable):
    """It is not to be asked, by configuration."""


class ContentInvalid(CacheproxyError):
    """Upstream sent what cannot be true; nothing of it is kept."""


class DigestMismatch(ContentInvalid):
    """The bytes are not those that the digest names."""


class ManifestInvalid(ContentInvalid):
    """The manifest is too large, ambiguous, or not JSON of a known shape."""


class StorageError(CacheproxyError):
    """The local disk refused: full, read-only, or failing."""
