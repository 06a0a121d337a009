"""What was asked for lately, kept in memory in front of a slower store.

A warm hit must not wait for a thread or a server, so it reads here. Writes go through to the
store; what is here is a copy, bounded, and forgotten after a while.

Where replicas tell each other what changes, a tag may be kept for longer: while they can be
heard, it is read again behind whoever asks for it.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import MetadataFailed
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.recent import Recent
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Metadata, Observer

_LIMIT = 100_000
# How long another process may have said otherwise before this one notices.
_TAG_SECONDS = 5.0
# And how long it is kept while it would be heard.
_TOLD_SECONDS = 60.0
# Links are only ever added.
_LINK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class _Copy:
    record: TagRecord
    read_at: float


class HotMetadata:
    """A `Metadata` in front of a `Metadata`.

    A store that fails to write is told to the observer and to nobody else: what it was to
    keep is kept here for a while, and upstream knows it too.
    """

    def __init__(
        self,
        store: Metadata,
        observer: Observer,
        tag_seconds: float = _TAG_SECONDS,
        tasks: Tasks | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            store: behind.
            observer: is told what cannot be written.
            tag_seconds: how long a tag is answered without asking the store.
            tasks: ask it behind, where it is known who says what changes.
        """
        self._store = store
        self._observer = observer
        self._tag_seconds = tag_seconds
        self._tags: Recent[_Copy] = Recent(_LIMIT)
        self._links: Recent[Link] = Recent(_LIMIT)
        self._writes = 0
        self._forgets = 0
        self._hears = False
        self._rereading: Flights[str, TagRecord | None] | None = None
        if tasks is not None:
            self._rereading = Flights(tasks, "reread")

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """The record of a tag."""
        key = f"{repository} {tag}"
        copy = await self._tags.get(key)
        if copy is None:
            return await self._reread(repository, tag)
        if _now() - copy.read_at >= self._tag_seconds:
            if self._rereading is None or not self._hears:
                return await self._reread(repository, tag)
            self._rereading.launch(key, lambda: self._reread(repository, tag))
        return copy.record

    async def _reread(self, repository: Repository, tag: Tag) -> TagRecord | None:
        writes = self._writes
        record = await self._store.tag(repository, tag)
        # What was written while the store was read is newer than what was read.
        if record is not None and writes == self._writes:
            await self._keep_tag(f"{repository} {tag}", record)
        return record

    async def _keep_tag(self, key: str, record: TagRecord) -> None:
        seconds = _TOLD_SECONDS if self._rereading is not None else self._tag_seconds
        await self._tags.set(key, _Copy(record, _now()), seconds)

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Remember what upstream said of a tag; return False if something newer is known."""
        key, is_newest = f"{repository} {tag}", True
        self._writes += 1
        forgets = self._forgets
        with self._reported():
            is_newest = await self._store.put_tag(repository, tag, record)
        self._writes += 1
        if is_newest and forgets == self._forgets:
            await self._keep_tag(key, record)
        else:
            await self._tags.drop(key)  # the store knows which one counts
        return is_newest

    def hears(self, *, hears: bool) -> None:
        """Whether what changes elsewhere is heard, and `forget` called for it."""
        self._hears = hears

    async def forget(self, scope: str, tag: Tag | None = None, *, is_purge: bool = False) -> None:
        """Drop the copies of a repository's tags, of an upstream's or of all; the store has them.

        Args:
            scope: `docker.io/library/nginx `, with the space that ends a name; `docker.io/`; or
                nothing, for all.
            tag: only this one.
            is_purge: the links of the scope, too.
        """
        self._writes += 1
        self._forgets += 1
        if tag is not None:
            await self._tags.drop(f"{scope}{tag}")
            return
        await self._tags.drop_below(scope)
        if is_purge:
            await self._links.drop_below(scope)

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
            known = None if _says_all(link) else await self.link(repository, digest)
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


def _says_all(link: Link) -> bool:
    """Whether it is a blob's, by its descriptor: nothing that is known of one says more.

    Should it be a manifest's after all, by another word on it, that is read once more.
    """
    return link.size is not None and link.media_type is None


def _now() -> float:
    return asyncio.get_running_loop().time()
