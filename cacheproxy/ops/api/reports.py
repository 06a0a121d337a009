"""What there is to say of the cache directory: by the commands, and by the admin API."""

from dataclasses import dataclass
from typing import Literal

from cacheproxy.domain.budget import Entry, PolicyName
from cacheproxy.domain.digest import Digest

Foreseen = Literal["foresight"]

# Seconds, and accesses, below which a record says little.
LONG_ENOUGH = 7 * 86400
MANY_ENOUGH = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a manifest refers to, or that manifest itself.

    Attributes:
        digest: of it.
        media_type: by the manifest that refers to it, or by itself; None where neither says.
        platform: that an index gives for it.
        size: of its file; where that is not here, as the manifest says.
        is_here: whether it is stored.
        bytes_before: would be evicted before it.
        parts: of its own.
    """

    digest: Digest
    media_type: str | None
    platform: str | None
    size: int | None
    is_here: bool
    bytes_before: int | None
    parts: tuple["Part", ...]

    def stored(self) -> dict[Digest, int]:
        """The sizes of all that is here, each once however often it is referred to."""
        found = {self.digest: self.size or 0} if self.is_here else {}
        for part in self.parts:
            found |= part.stored()
        return found


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the cache that an upstream may take. As of `Fate`.

    Attributes:
        registry: the upstream.
        bytes_before: of this upstream's.
        room: of this upstream's.
    """

    registry: str
    bytes_before: int | None
    room: int


@dataclass(frozen=True, slots=True)
class Fate:
    """When a blob goes.

    Attributes:
        policy: which chooses.
        pins: the patterns of `cache.pins` for which it never goes.
        bytes_before: go before it; None for what never goes, or is not in the ledger.
        room: bytes that may still come before anything must go.
        idle_at: when it goes if nobody asks for it until then, in seconds since the epoch.
        share: the same, within its upstream's share; None where that has none.
    """

    policy: str
    pins: tuple[str, ...]
    bytes_before: int | None
    room: int
    idle_at: float | None
    share: Share | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known.

    Attributes:
        asked: what was asked for, in full.
        digest: that it is; None for a tag that upstream does not have.
        checked_at: when upstream last said what the tag names, in seconds since the epoch.
        entry: what the ledger has of it.
        heat: of the entry, now.
        tags: that name it.
        repositories: that hold it, sorted; None where that is not recorded here.
        part_of: the stored manifests that refer to it.
        content: it and its parts.
        bytes_here: of it and all its parts that are stored.
        fate: when it goes.
    """

    asked: str
    digest: Digest | None
    checked_at: float | None
    entry: Entry | None
    heat: float | None
    tags: list[str]
    repositories: list[str] | None
    part_of: list[Digest]
    content: Part | None
    bytes_here: int
    fate: Fate | None

    @property
    def is_known(self) -> bool:
        """Whether there is anything to say."""
        content = self.content is not None and self.content.is_here
        named = self.tags or self.repositories or self.part_of
        return bool(content or named or self.entry or self.checked_at is not None)


@dataclass(frozen=True, slots=True)
class PurgedTarget:
    """What became of one thing that was to go.

    Attributes:
        target: that was named, in full.
        known: whether there was anything of it.
        freed_bytes: of what is gone.
        removed: blobs that are gone.
        shared: blobs that belong to it too, and stay, since others refer to them.
        shared_bytes: of those.
        in_use: blobs that are there in spite of it: they are being read, or cannot be removed.
        tags: that are forgotten.
        shared_records: of what replicas share, that are forgotten.
    """

    target: str
    known: bool
    freed_bytes: int
    removed: list[Digest]
    shared: list[Digest]
    shared_bytes: int
    in_use: list[Digest]
    tags: list[str]
    shared_records: int

    @property
    def is_well(self) -> bool:
        """Whether all of it is gone."""
        return self.known and not self.in_use


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What was removed, or would be.

    Attributes:
        dry_run: it was only said.
        targets: each that was named.
    """

    dry_run: bool
    targets: list[PurgedTarget]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is based on.

    Attributes:
        accesses: that count.
        blobs: distinct ones among them, manifests included.
        blob_bytes: of these, each once.
        served_bytes: that clients got.
        since: when the first one was asked for, in seconds since the epoch.
        until: and the last one.
        accesses_before: that do not count, but fill the caches.
        newer_segments, foreign_segments: that were left out.
        is_weak: whether it is too little to rely on.
    """

    accesses: int
    blobs: int
    blob_bytes: int
    served_bytes: int
    since: float
    until: float
    accesses_before: int
    newer_segments: int
    foreign_segments: int
    is_weak: bool


@dataclass(frozen=True, slots=True)
class PlanTally:
    """What a cache would have done.

    Attributes:
        byte_hit_ratio: of the bytes that clients got, what was not fetched.
        hit_ratio: of the uses, those of what was there.
        upstream_bytes: that it would have fetched.
        uses: of blobs and manifests.
        hits: of those, of what was there.
    """

    byte_hit_ratio: float
    hit_ratio: float
    upstream_bytes: int
    uses: int
    hits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow(PlanTally):
    """The same, of a cache of one size and policy.

    Attributes:
        max_size: of it, in bytes.
        policy: by which it evicts; `foresight` knows what will be asked for.
        is_today: whether it is the one that is configured.
        saved_bytes: that it would have fetched less than that one; negative: more.
    """

    max_size: int
    policy: PolicyName | Foreseen
    is_today: bool
    saved_bytes: int


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What other sizes and policies would have done.

    Attributes:
        basis: what it is based on.
        rows: by size, then by policy.
        everything_kept: if nothing ever went.
        volume_bytes: of the volume that the cache is on.
    """

    basis: Basis
    rows: list[PlanRow]
    everything_kept: PlanTally
    volume_bytes: int

    @property
    def today(self) -> PlanRow:
        """The cache that is configured."""
        (today,) = [row for row in self.rows if row.is_today]
        return today
