"""What the core answers: values that the edge turns into responses."""

from dataclasses import dataclass

from cacheproxy.domain.byte_range import ByteRange
from cacheproxy.domain.cache_status import CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Source
from cacheproxy.domain.records import Listing
from cacheproxy.ports import Readable


@dataclass(frozen=True, slots=True)
class ManifestAnswer:
    """A manifest.

    Attributes:
        digest: of the manifest.
        media_type: to send as Content-Type.
        size: in bytes.
        body: None where only its head was asked for, and is all that is known.
        status: what the cache did.
        source: where the body came from.
    """

    digest: Digest
    media_type: str
    size: int
    body: bytes | None
    status: CacheStatus
    source: Source


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """A blob.

    Attributes:
        digest: of the blob.
        size: in bytes; None where upstream does not say until it ends.
        content: to read and to close; None where only its head was asked for.
        status: what the cache did.
        source: where the content comes from.
        part: that is to be read of the content, in order; None for the whole, also where a part
            was asked for and the size is not known.
    """

    digest: Digest
    size: int | None
    content: Readable | None
    status: CacheStatus
    source: Source
    part: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class ListingAnswer:
    """A page of tags or referrers."""

    listing: Listing
    status: CacheStatus
    source: Source
