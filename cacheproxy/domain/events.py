"""Facts that the core and the adapters state; metrics, logs, the dashboard and tests observe.

Events are plain values, and stating one never fails and never waits.
"""

from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.cache_status import Outcome
from cacheproxy.domain.digest import Digest

Source = Literal["store", "fill", "upstream", "none"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for what, as far as it was understood.

    Attributes:
        method: of the request.
        target: as it was written.
        client: its address.
        user_agent: as it was written; empty where there is none.
        operation: `ping`, `manifest`, `blob`, `tags`, `referrers` or `invalid`.
        registry: the upstream's canonical name; empty where none was understood.
        repository: its name within the registry, likewise.
        reference: a tag or a digest, likewise.
    """

    method: str
    target: str
    client: str
    user_agent: str
    operation: str = "invalid"
    registry: str = ""
    repository: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Responded:
    """A response has ended, whole or cut.

    Attributes:
        asked: what it responds to.
        outcome: what the cache did.
        status: the HTTP status that was sent; 499 where the client left before any was.
        body_bytes: of the body that went out.
        source: where those came from.
        first_byte: seconds from the request's head to the response's.
        duration: seconds from the request's head to the response's end.
        error: what went wrong, in a sentence; None where nothing did.
    """

    asked: Asked
    outcome: Outcome
    status: int
    body_bytes: int
    source: Source
    first_byte: float
    duration: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamAnswered:
    """Upstream has answered a request, or has not.

    Attributes:
        registry: the upstream's canonical name.
        method: of the request.
        status: of the answer; None where none came.
        seconds: until the answer's head.
        ratelimit_remaining: what is left of the pull rate limit, where upstream said so.
    """

    registry: str
    method: str
    status: int | None
    seconds: float
    ratelimit_remaining: int | None = None


@dataclass(frozen=True, slots=True)
class UpstreamReceived:
    """Body bytes have crossed the upstream link."""

    registry: str
    body_bytes: int


@dataclass(frozen=True, slots=True)
class FillStarted:
    """A blob's download has begun."""

    registry: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class FillEnded:
    """A blob's download has ended.

    Attributes:
        registry: the upstream's canonical name.
        digest: of the blob.
        error: the reason, where nothing was stored; None where the blob is in the store.
        body_bytes: of the blob that are on disk, those of an earlier attempt included.
        seconds: since it began.
    """

    registry: str
    digest: Digest
    error: str | None
    body_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Evicted:
    """A blob was removed to make room.

    Attributes:
        registry: the upstream that it came from; empty where that is not known any more.
        digest: of the blob.
        size: the room that it took, in bytes.
        reason: the budget; nobody asked for it; or the volume was fuller than expected.
        age: seconds since it was stored.
    """

    registry: str
    digest: Digest
    size: int
    reason: Literal["size", "idle", "space"]
    age: float


@dataclass(frozen=True, slots=True)
class MetadataFailed:
    """The metadata store refused to write; what it was to keep is lost with the process."""

    error: str


@dataclass(frozen=True, slots=True)
class Unexpected:
    """Something went wrong that no error of ours describes: a mistake in this program."""

    error: BaseException


Event = (
    Unexpected
    | Evicted
    | MetadataFailed
    | Responded
    | UpstreamAnswered
    | UpstreamReceived
    | FillStarted
    | FillEnded
)
