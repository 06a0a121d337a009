"""What the core needs of the world: few, narrow protocols that the adapters keep.

Each has one contract suite in `tests/contract`, run against every adapter.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Event
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.operation import Query
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Reference, Repository, Tag


class Clock(Protocol):
    """Time."""

    def now(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Observer(Protocol):
    """Whoever wants to know. Never raises, never waits."""

    def observe(self, event: Event) -> None:
        """Take note of a fact."""
        ...


class Readable(Protocol):
    """Bytes that can be read from any offset, by one reader; it must be closed."""

    def close(self) -> None:
        """Give back what it holds. Closing twice is harmless."""
        ...

    def try_read(self, offset: int, length: int) -> bytes | None:
        """Up to `length` bytes from `offset` if they are to be had without waiting, else None.

        Never empty.
        """
        ...

    def try_send(self, to: int, offset: int, length: int) -> int:
        """Give a socket up to `length` bytes, uncopied, if no disk need be waited for; how many.

        Raises:
            BlockingIOError: the socket takes nothing right now.
            ConnectionError: its peer has left.
        """
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, at least one; empty at the end.

        Raises:
            CacheproxyError: the bytes will never come.
        """
        ...


Identity = tuple[int, int]
"""Device and inode. Two files of equal identity have the same bytes, as far as both go."""


class BlobFile(Readable, Protocol):
    """A file with a blob's bytes: committed, or still being written.

    It stays readable until closed, also when its name is gone meanwhile.
    """

    @property
    def identity(self) -> Identity:
        """Of the file."""
        ...

    def share(self) -> "BlobFile":
        """Return another reader of the same file; each is closed by its holder."""
        ...


class StoredBlob(BlobFile, Protocol):
    """A committed blob."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...


class Ingest(Protocol):
    """A blob being written, by one writer. Invisible in the store until committed.

    Leaving its context without a commit keeps the bytes for a later attempt, unless they
    were discarded.
    """

    @property
    def offset(self) -> int:
        """Bytes that are there and hashed."""
        ...

    @property
    def resumed_at(self) -> int:
        """Bytes of them that an earlier attempt has left."""
        ...

    async def reserve(self, size: int) -> None:
        """Reserve the room for the whole blob, evicting what must go for it.

        Raises:
            StorageError: there is no such room.
        """
        ...

    async def append(self, chunk: bytes) -> None:
        """Write and hash. Where nothing is reserved, room is as it is needed.

        Raises:
            StorageError: the disk refused, or has no room left.
        """
        ...

    def verify(self) -> None:
        """Compare the digest.

        Raises:
            DigestMismatch: the bytes are not those that the digest names.
        """
        ...

    async def commit(self) -> None:
        """Make the verified blob visible, durably and at once.

        Raises:
            StorageError: the disk refused.
        """
        ...

    async def discard(self) -> None:
        """Drop the bytes: they are wrong, or there is no room for them.

        Whoever has the file open can read it on; nobody finds it any more.

        Raises:
            StorageError: the disk refused.
        """
        ...

    def reader(self) -> BlobFile:
        """Return a reader of what has been appended; the caller keeps within `offset`."""
        ...


class PartialBlob(Protocol):
    """A blob that somebody else is writing. Its file only ever grows."""

    def received(self) -> int:
        """Return the number of bytes on disk now."""
        ...

    def is_gone(self) -> bool:
        """Whether its writer has ended the file: committed or discarded it."""
        ...

    def reader(self) -> BlobFile:
        """Return a reader of what is on disk."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...


class BlobStore(Protocol):
    """Blobs by content. It alone is the truth about which bytes are here."""

    def open(self, digest: Digest, *, is_use: bool = True) -> StoredBlob | None:
        """The blob, or None where it is not here, or must be proven first. Quick.

        Args:
            digest: of it.
            is_use: it counts as asked for; not where that is counted already.
        """
        ...

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here, without asking for it."""
        ...

    async def prove(self, digest: Digest, size: int | None = None) -> StoredBlob | None:
        """The blob, also where it must be read again first; None where it is not, or wrong.

        What is wrong is put aside: it will not be found again. What has not the size that the
        blob is known to have is wrong without being read.
        """
        ...

    def use(self, digest: Digest) -> None:
        """Note that a blob was asked for which is still on its way."""
        ...

    async def document(self, digest: Digest) -> bytes | None:
        """A small blob's content whole, such as a manifest's; None where it is not here."""
        ...

    async def keep_manifest(self, repository: Repository, manifest: Manifest) -> None:
        """Store a verified manifest; what it refers to stays warm with it.

        One that somebody else is writing is waited for for a moment, and then left to them.

        Raises:
            StorageError: the disk refused, or has no room left for it.
        """
        ...

    async def name(self, repository: Repository, tag: Tag, digest: Digest) -> None:
        """Remember what a tag names: what is pinned is pinned by its tags.

        Raises:
            StorageError: the disk refused.
        """
        ...

    def ingest(
        self, repository: Repository, digest: Digest
    ) -> AbstractAsyncContextManager[Ingest | None]:
        """Begin, or take up again, the writing of a blob; None while another writes it.

        Raises:
            StorageError: the disk refused.
        """
        ...

    def watch(self, digest: Digest) -> PartialBlob | None:
        """Return what somebody else is writing; None if there is nothing (any more)."""
        ...


class TagStore(Protocol):
    """What upstream last said of names that change."""

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """The record of a tag."""
        ...

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Remember what upstream said of a tag; return False if something newer is known."""
        ...

    async def listing(self, key: str) -> Listing | None:
        """A page of tags or referrers."""
        ...

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        ...


class Directory(Protocol):
    """Which repository holds which digest."""

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, or None where nothing says that the repository holds the digest."""
        ...

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these. What is known is not forgotten by it."""
        ...


class Metadata(TagStore, Directory, Protocol):
    """Both, and its end."""

    async def close(self) -> None:
        """Write what is pending and give back what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """Upstream's answer to a HEAD of a manifest.

    Attributes:
        digest: None where upstream does not say; then only a GET can tell.
        size: in bytes, likewise.
        media_type: Content-Type without parameters, likewise.
    """

    digest: Digest | None
    size: int | None
    media_type: str | None


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """Upstream's answer to a GET of a manifest: unverified.

    Attributes:
        body: the bytes.
        content_type: as it was written; None where it was not.
        is_from_peer: another replica gave it.
    """

    body: bytes
    content_type: str | None
    is_from_peer: bool = False


class BlobStream(Protocol):
    """Upstream's answer to a GET of a blob."""

    @property
    def start(self) -> int:
        """The offset of the first byte that will come; 0 where upstream ignored the range."""
        ...

    @property
    def size(self) -> int | None:
        """Of the whole blob, where upstream said so."""
        ...

    @property
    def source(self) -> Literal["fill", "peer"]:
        """Whether it comes from upstream, to fill the store, or from another replica."""
        ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they come.

        Raises:
            UpstreamError: it broke off, or nothing came for too long.
        """
        ...


class Upstream(Protocol):
    """A registry.

    Every method may raise what `cacheproxy.domain.errors` lists below NotFound, Denied and
    UpstreamError; none retries for long.
    """

    @property
    def is_silent(self) -> bool:
        """Whether it lets all who ask it wait in vain: the next may wait as long."""
        ...

    @property
    def may_refresh(self) -> bool:
        """Whether it grants a pull for what is here in an older state, as far as is known."""
        ...

    async def head_manifest(self, repository: Repository, reference: Reference) -> ManifestHead:
        """Ask what a reference names, at no cost in body bytes (nor, on Docker Hub, in pulls)."""
        ...

    async def get_manifest(
        self, repository: Repository, reference: Reference, spend: Spend = "fetch"
    ) -> ManifestBody:
        """Fetch a manifest whole; `refresh` is for what is here in an older state."""
        ...

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Confirm that the repository holds a blob; its size where upstream says so."""
        ...

    def get_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[BlobStream]:
        """Begin to fetch a blob's bytes from `start` up to `stop`; None means its end."""
        ...

    def distrust(self, digest: Digest) -> None:
        """Avoid the sources that gave a blob lately: its bytes were not those of the digest."""

    async def list_tags(self, repository: Repository, query: Query) -> Listing:
        """Fetch a page of tags."""
        ...

    async def list_referrers(
        self, repository: Repository, digest: Digest, query: Query
    ) -> Listing | None:
        """Fetch a page of referrers; None where upstream lacks that API."""
        ...
