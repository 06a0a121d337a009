"""The values that the admin API answers with. Sizes are bytes, times seconds since the epoch."""

from dataclasses import dataclass, field
from typing import Literal

UpstreamState = Literal["up", "down", "paused", "unknown"]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The room that blobs take.

    Attributes:
        bytes: that blobs and downloads under way take.
        reserved_bytes: of that, what downloads do.
        max_bytes: that they may take.
        free_bytes: of the volume.
        blobs: how many there are, manifests included.
    """

    bytes: int
    reserved_bytes: int
    max_bytes: int
    free_bytes: int
    blobs: int


@dataclass(frozen=True, slots=True)
class FillStatus:
    """A download under way.

    Attributes:
        digest: of the blob.
        upstream: it is from there.
        repository: it was asked for under that name.
        received_bytes: that are on disk.
        size_bytes: of the whole, where that is known.
        seconds: since it began.
        followers: clients that read it as it comes in, in the process that fetches it.
    """

    digest: str
    upstream: str
    repository: str
    received_bytes: int
    size_bytes: int | None
    seconds: float
    followers: int


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """What is known of an upstream, by its last answers.

    Attributes:
        name: its canonical name; of a mirror, with that in brackets.
        state: it answers; it does not, or with server errors; it is not asked for a while;
            or it has not been asked yet.
        error: of its last failure, in a sentence, while that counts.
        paused_until: when it is asked again.
        ratelimit_remaining: pulls that it still grants, where it says so.
        ratelimit_limit: those that it grants in all, likewise.
        answered_at: when it last answered, or failed to.
    """

    name: str
    state: UpstreamState = "unknown"
    error: str | None = None
    paused_until: float | None = None
    ratelimit_remaining: int | None = None
    ratelimit_limit: int | None = None
    answered_at: float | None = None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica of one cache.

    Attributes:
        address: where the others reach it.
        is_self: it is the one that answers.
    """

    address: str
    is_self: bool


@dataclass(frozen=True, slots=True)
class Live:
    """What one process that serves pulls is about.

    Attributes:
        fills: its downloads.
        upstreams: as it has seen them.
        replicas: itself and the others; empty where it is alone.
        store_problem: why nothing is stored now, in a sentence; None while blobs are stored.
    """

    fills: list[FillStatus]
    upstreams: list[UpstreamStatus]
    replicas: list[ReplicaStatus]
    store_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What goes on now.

    Attributes:
        version: of cacheproxy.
        now: by this host's clock.
        started_at: when the server began.
        workers: processes that serve pulls.
        store: the room that blobs take.
        fills: downloads under way, of all workers.
        upstreams: those that are configured, and their mirrors that were asked.
        replicas: itself and the others; empty where it is alone.
        store_problem: why nothing is stored now, in a sentence; None while blobs are stored.
    """

    version: str
    now: float
    started_at: float
    workers: int
    store: StoreStatus
    fills: list[FillStatus]
    upstreams: list[UpstreamStatus]
    replicas: list[ReplicaStatus]
    store_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blob that would go.

    Attributes:
        digest: its name.
        size: the room that it takes.
        kind: what it is.
        upstream: it came from there; empty where that is not known.
        last_used: when it was last asked for.
        heat: how much it is asked for: uses, each of which counts half after two days.
        tags: that lead to it, a few of them.
    """

    digest: str
    size: int
    kind: Literal["blob", "manifest"]
    upstream: str
    last_used: float
    heat: float
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Eviction:
    """What would go next if room were needed, the first first.

    Attributes:
        policy: that decides.
        entries: in their order.
    """

    policy: str
    entries: list[Candidate]


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What to remove.

    Attributes:
        targets: tags, digests, repositories or upstreams, as `cacheproxy purge` reads them.
        dry_run: only say what would go.
    """

    targets: list[str]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """What to have here before it is asked for.

    Attributes:
        images: as container engines read them.
        platforms: such as `linux/amd64`; `all`; empty: those of `warm.platforms`.
        parallel: images at once, and blobs at once; None: `warm.parallel`.
    """

    images: list[str]
    platforms: list[str] = field(default_factory=list)
    parallel: int | None = None


@dataclass(frozen=True, slots=True)
class PushAccepted:
    """What a notification of a push comes to.

    Attributes:
        images: that will be here soon.
        ignored: what else was pushed, with the reason, in sentences.
    """

    images: list[str]
    ignored: list[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was not answered.

    Attributes:
        code: a word for programs.
        message: a sentence for people.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of an answer that is none."""

    error: Problem
