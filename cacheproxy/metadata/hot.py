"""What was asked for lately, kept in memory in front of a slower store.

A warm hit must not wait for a thread or a server, so it reads here. Writes go through to the
store first; what is here is a copy, bounded, and forgotten after a while.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import MetadataFailed
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.recent import Recent
from cacheproxy.ports import Metadata, Observer

_LIMIT = 100_000
# How long another process may have said otherwise before this one notices.
_TAG_SECONDS = 5.0
# Links are only ever added.
_LINK_SECONDS = 3600.0


class HotMetadata:
    """A `Metadata` in front of a `Metadata`.

    A store that fails to write is told to the observer and to nobody else: what it was to
    keep is kept here for a while, and upstream knows it too.
    """

    def __init__(
        self, store: Metadata, observer: Observer, tag_seconds: float = _TAG_SECONDS
    ) -> None:
        self._store = store
        self._observer = observer
        self._tag_seconds = tag_seconds
        self._tags: Recent[TagRecord] = Recent(_LIMIT)
        self._links: Recent[Link] = Recent(_LIMIT)
        self._writes = 0

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """The record of a tag."""
        key = f"{repository} {tag}"
        record = await self._tags.get(key)
        if record is None:
            writes = self._writes
            record = await self._store.tag(repository, tag)
            # What was written while the store was read is newer than what was read.
            if record is not None and writes == self._writes:
                await self._tags.set(key, record, self._tag_seconds)
        return record

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Remember what upstream said of a tag."""
        self._writes += 1
        await self._tags.set(f"{repository} {tag}", record, self._tag_seconds)
        with self._reported():
            await self._store.put_tag(repository, tag, record)

    async def listing(self, key: str) -> Listing | None:
        """A page of tags or referrers: not hot enough to be kept here."""
        return await self._store.listing(key)

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        with self._reported():
            await self._store.put_listing(key, listing)

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, or None; only what is known is kept here, for it stays true."""
        key = f"{repository} {digest}"
        link = await self._links.get(key)
        if link is None:
            writes = self._writes
            link = await self._store.link(repository, digest)
            if link is not None and writes == self._writes:
                await self._links.set(key, link, _LINK_SECONDS)
        return link

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these."""
        self._writes += 1
        for digest, link in links.items():
            known = await self.link(repository, digest)
            key = f"{repository} {digest}"
            # Read again, after all waiting: another may have added what it knows meanwhile.
            merged = link.or_known(await self._links.get(key)).or_known(known)
            await self._links.set(key, merged, _LINK_SECONDS)
        with self._reported():
            await self._store.add_links(repository, links)

    async def close(self) -> None:
        """Close the store behind."""
        await self._tags.close()
        await self._links.close()
        await self._store.close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._observer.observe(MetadataFailed(str(error)))
