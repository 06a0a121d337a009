"""Facts that the core and the adapters state; metrics, logs, the dashboard and tests observe.

Events are plain values, and stating one never fails and never waits.
"""

from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.cache_status import Outcome
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.rate_limit import RateLimit
from cacheproxy.domain.store_events import (
    Damaged,
    Evicted,
    LedgerReplaced,
    Scrubbed,
    Stored,
    StoreFailed,
    StoreRecovered,
)

Source = Literal["store", "fill", "peer", "upstream", "none"]
"""Where a body came from: from disk; from a download under way, by upstream or by another
replica; from upstream past the disk; or there was none."""


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
        digest: of the content that the body is, or is a part of; None where there is no body,
            and for listings and errors.
        size: of that content, whole, in bytes; None where that is not known.
    """

    asked: Asked
    outcome: Outcome
    status: int
    body_bytes: int
    source: Source
    first_byte: float
    duration: float
    error: str | None = None
    digest: Digest | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class UpstreamAnswered:
    """Upstream has answered a request, or has not.

    Attributes:
        registry: the upstream's canonical name.
        method: of the request.
        status: of the answer; None where none came.
        seconds: until the answer's head.
        rate_limit: what is left of the pulls that it grants, where upstream said so.
    """

    registry: str
    method: str
    status: int | None
    seconds: float
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class UpstreamPaused:
    """Upstream failed several times in a row, and is not asked for a while.

    Attributes:
        registry: the upstream's canonical name.
        seconds: for so long.
        error: of the last failure, in a sentence.
    """

    registry: str
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class UpstreamResumed:
    """Upstream answers again."""

    registry: str


@dataclass(frozen=True, slots=True)
class UpstreamReceived:
    """Body bytes have crossed the upstream link, for a repository."""

    registry: str
    body_bytes: int
    repository: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamPulled:
    """A registry, and no mirror of it, has given a manifest: rate limits count those."""

    registry: str
    repository: str


@dataclass(frozen=True, slots=True)
class PeerReceived:
    """Body bytes have come from another replica."""

    body_bytes: int


@dataclass(frozen=True, slots=True)
class PeerServed:
    """Body bytes have gone to another replica."""

    body_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicasSeen:
    """So many replicas are there, as far as this one knows, itself included; it has changed."""

    count: int


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
        source: upstream (`fill`), or another replica; the last one, where it was both.
    """

    registry: str
    digest: Digest
    error: str | None
    body_bytes: int
    seconds: float
    source: Source = "fill"


@dataclass(frozen=True, slots=True)
class Warmed:
    """All that is wanted of an image is in the store, though nobody has asked for it.

    Attributes:
        image: its name.
        digest: of its manifest or index.
        before: what its tag named before; None where nobody knew.
        fetched_bytes: of its blobs, that came from upstream for this.
        replica_bytes: that came from other replicas.
        here_bytes: that were here already.
        seconds: since it was begun.
    """

    image: str
    digest: Digest
    before: Digest | None
    fetched_bytes: int
    replica_bytes: int
    here_bytes: int
    seconds: float

    @property
    def is_news(self) -> bool:
        """Whether anything is different now."""
        return self.digest != self.before or bool(self.fetched_bytes or self.replica_bytes)


@dataclass(frozen=True, slots=True)
class WarmFailed:
    """An image could not be had whole.

    Attributes:
        image: its name, as far as it was understood.
        error: why, in a sentence.
        seconds: since it was begun.
    """

    image: str
    error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class UpkeepFailed:
    """The store could not be looked after, for now; it is tried again."""

    error: str


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A background task has failed, and starts again.

    Attributes:
        task: its name, one of a fixed set.
        error: the failure.
        pause: seconds until it starts again.
    """

    task: str
    error: BaseException
    pause: float


@dataclass(frozen=True, slots=True)
class MetadataFailed:
    """The metadata store refused to write; what it was to keep is lost with the process."""

    error: str


@dataclass(frozen=True, slots=True)
class SharedStoreLost:
    """The store that replicas share does not answer: what each knows by itself stands in.

    Attributes:
        url: of the store, without its password.
        error: how it failed, in a sentence.
    """

    url: str
    error: str


@dataclass(frozen=True, slots=True)
class SharedStoreFound:
    """The store that replicas share answers, at first or again."""

    url: str


@dataclass(frozen=True, slots=True)
class SharedStoreCalled:
    """The store that replicas share was to be asked.

    Attributes:
        outcome: it `answered`; `refused` this one call; `failed` to answer; or it was
            `skipped`, having failed a moment ago.
    """

    outcome: Literal["answered", "refused", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class SharedStoreUnreadable:
    """A key in the store that replicas share has what none of them has written there.

    Attributes:
        key: its name.
        error: how that showed, in a sentence.
    """

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class Unexpected:
    """Something went wrong that no error of ours describes: a mistake in this program."""

    error: BaseException


Event = (
    Unexpected
    | Evicted
    | Scrubbed
    | Damaged
    | MetadataFailed
    | StoreFailed
    | StoreRecovered
    | LedgerReplaced
    | UpkeepFailed
    | TaskFailed
    | SharedStoreLost
    | SharedStoreFound
    | SharedStoreCalled
    | SharedStoreUnreadable
    | Responded
    | UpstreamAnswered
    | UpstreamReceived
    | UpstreamPulled
    | PeerReceived
    | PeerServed
    | ReplicasSeen
    | Stored
    | UpstreamPaused
    | UpstreamResumed
    | FillStarted
    | FillEnded
    | Warmed
    | WarmFailed
)
