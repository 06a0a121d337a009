"""All that the cache knows of one image or blob."""

from cacheproxy.bootstrap.contents import Contents
from cacheproxy.bootstrap.eviction_order import EvictionOrder
from cacheproxy.bootstrap.offline import Cache
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.image import Image
from cacheproxy.domain.reference import Tag
from cacheproxy.ops.api.reports import Explanation

# What `docker pull nginx` means.
_DEFAULT_TAG = Tag("latest")


def explain(cache: Cache, asked: Image | Digest, now: float) -> Explanation:
    """Look up an image or a digest. A name without a tag means `latest`, as for clients."""
    if isinstance(asked, Digest):
        return _explained(cache, str(asked), asked, None, now)
    if asked.digest is not None:
        return _explained(cache, str(asked), asked.digest, None, now)
    image = Image(asked.repository, asked.tag or _DEFAULT_TAG)
    record = _record(cache, image)
    digest = record.digest if record else None
    if digest is None:
        digest = cache.ledger.relations().names.get(str(image))
    return _explained(cache, str(image), digest, record, now)


def cached_tags(cache: Cache, image: Image) -> list[str]:
    """The tags of an image's repository that are known here."""
    begin = f"{image.repository}:"
    return sorted(name for name in cache.ledger.relations().names if name.startswith(begin))


def _record(cache: Cache, image: Image) -> TagRecord | None:
    if cache.records is None or image.tag is None:
        return None
    return cache.records.tag(image.repository, image.tag)


def _explained(
    cache: Cache, asked: str, digest: Digest | None, record: TagRecord | None, now: float
) -> Explanation:
    checked_at = record.checked_at if record else None
    if digest is None:
        return Explanation(asked, None, checked_at, None, None, [], [], [], None, 0, None)
    order = EvictionOrder(cache, now)
    relations = cache.ledger.relations()
    entry = cache.ledger.entry(digest)
    content = Contents(cache.layout, order.bytes_before).of(digest)
    return Explanation(
        asked=asked,
        digest=digest,
        checked_at=checked_at,
        entry=entry,
        heat=entry.heat_at(now) if entry else None,
        tags=relations.tags_of(digest),
        repositories=cache.records.holders(digest) if cache.records else None,
        part_of=relations.parents_of(digest),
        content=content,
        bytes_here=sum(content.stored().values()),
        fate=order.fate(entry) if entry else None,
    )
