"""What the core answers: values that the edge turns into responses."""

from dataclasses import dataclass

from cacheproxy.domain import media_types
from cacheproxy.domain.byte_range import ByteRange
from cacheproxy.domain.cache_status import CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import Source
from cacheproxy.domain.records import Listing
from cacheproxy.ports import ManifestHead, Readable


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
        media_type: to send as Content-Type: that of a manifest which is pulled as a blob.
    """

    digest: Digest
    size: int | None
    content: Readable | None
    status: CacheStatus
    source: Source
    part: ByteRange | None = None
    media_type: str = media_types.OCTET_STREAM


@dataclass(frozen=True, slots=True)
class ListingAnswer:
    """A page of tags or referrers."""

    listing: Listing
    status: CacheStatus
    source: Source


def answer_of_head(
    head: ManifestHead | None, known: Digest | None, fresh_for: float
) -> ManifestAnswer | None:
    """Return the answer to a HEAD of a tag by upstream's response to one.

    Args:
        head: the response, if upstream gave one.
        known: the digest that the tag named before.
        fresh_for: seconds for which the tag is fresh from now on.

    Returns:
        None if the response lacks the digest, the size or a manifest's type.
    """
    if head is None or head.digest is None or head.size is None:
        return None
    media_type = media_types.of_manifest(head.media_type)
    if media_type is None:
        return None
    is_known = head.digest == known
    status = CacheStatus(
        "hit" if is_known else "miss", ttl=fresh_for, forward_status=200, is_revalidated=is_known
    )
    return ManifestAnswer(head.digest, media_type, head.size, None, status, "none")
