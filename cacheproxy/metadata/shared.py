"""A store that replicas share, in front of one of this replica's own.

What this replica has seen it keeps itself too, so that it serves all of it while the shared
store is down, slow, full or empty. What the shared store has lost is put there again by whoever
reads it; what could not be written there waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NoReturn, TypeVar

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import StorageError
from cacheproxy.domain.events import MetadataFailed
from cacheproxy.domain.freshness import TagRecord, newest
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.metadata.cluster_clock import ClusterClock
from cacheproxy.metadata.pending import Pending, SharedStore
from cacheproxy.metadata.redis_connection import RedisFailed
from cacheproxy.ports import Metadata, Observer

T = TypeVar("T")
R = TypeVar("R", TagRecord, Listing)

# After a write was refused: a store that is full, or that may not be written to.
_AGAIN_SECONDS = 10.0
# A record is read again if something was purged meanwhile; after so many times it is unknown.
_READS = 5


class SharedMetadata:
    """A `Metadata` of two. No failure of the shared one is a failure of this.

    Start `deliver` as a task.
    """

    def __init__(
        self, shared: SharedStore, local: Metadata, observer: Observer, clock: ClusterClock
    ) -> None:
        self._shared = shared
        self._local = local
        self._observer = observer
        self._clock = clock
        self.pending = Pending()
        self._wake = asyncio.Event()

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """Return the newest record of a tag: of those that wait, our own and the shared one."""
        for _ in range(_READS):
            purges = self.pending.purges
            own = await self._local.tag(repository, tag)
            try:
                shared = await self._shared.tag(repository, tag)
            except StorageError:
                return self._newest(None, self.pending.tag(repository, tag), own)
            async with self.pending.lock:
                # Else what was read may be what was purged meanwhile.
                if purges == self.pending.purges:
                    return await self._reconcile(repository, tag, shared, own)
        return None

    async def _reconcile(
        self, repository: Repository, tag: Tag, shared: TagRecord | None, own: TagRecord | None
    ) -> TagRecord | None:
        """Return the newest record, and have it written to where it is not known."""
        waiting = self.pending.tag(repository, tag)
        found = self._newest(shared, waiting, own)
        if found is None:
            return None
        if found is shared:
            self.pending.strike_tag(repository, tag)
        elif found != waiting:
            self.pending.put_tag(repository, tag, found)
            self._wake.set()
        if not _is_same(found, own):
            await self._keep(lambda: self._local.put_tag(repository, tag, found))
        return found

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Remember what upstream said of a tag; return False if something newer is known."""
        known = self._newest(
            self.pending.tag(repository, tag), await self._local.tag(repository, tag)
        )
        record = self._clock.sign(record)
        if self._newest(record, known) is not record:
            return False
        await self._keep(lambda: self._local.put_tag(repository, tag, record))
        try:
            is_newest = await self._shared.put_tag(repository, tag, record)
        except StorageError as error:
            self._waits(error, lambda: self.pending.put_tag(repository, tag, record))
            return True
        self.pending.strike_tag(repository, tag)
        return is_newest

    async def listing(self, key: str) -> Listing | None:
        """Return the newest page of tags or referrers, as for a tag."""
        own = await self._local.listing(key)
        try:
            shared = await self._shared.listing(key)
        except StorageError:
            return self._newest(None, self.pending.listing(key), own)
        found = self._newest(shared, self.pending.listing(key), own)
        if found is not None and not _is_same(found, own):
            await self._keep(lambda: self._local.put_listing(key, found))
        return found

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        listing = self._clock.sign(listing)
        await self._keep(lambda: self._local.put_listing(key, listing))
        try:
            await self._shared.put_listing(key, listing)
        except StorageError as error:
            self._waits(error, lambda: self.pending.put_listing(key, listing))
        else:
            self.pending.strike_listing(key)

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, with all that either store knows of it."""
        for _ in range(_READS):
            purges = self.pending.purges
            own = await self._local.link(repository, digest)
            try:
                shared = await self._shared.link(repository, digest)
            except StorageError:
                return own
            async with self.pending.lock:
                if purges == self.pending.purges:
                    return await self._merge(repository, digest, shared, own)
        return None

    async def _merge(
        self, repository: Repository, digest: Digest, shared: Link | None, own: Link | None
    ) -> Link | None:
        """Return all that is known of a link, and have it written to where it is not known."""
        known = own if shared is None else shared.or_known(own)
        if known is None:
            return None
        found = {digest: known}
        if known != shared:
            self.pending.add_links(repository, found)
            self._wake.set()
        if known != own:
            await self._keep(lambda: self._local.add_links(repository, found))
        return known

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these."""
        await self._keep(lambda: self._local.add_links(repository, links))
        try:
            await self._shared.add_links(repository, links)
        except StorageError as error:
            self._waits(error, lambda: self.pending.add_links(repository, links))

    def found(self) -> None:
        """The shared store is there again: what waits can be written."""
        self._wake.set()

    async def deliver(self, catch_up: Callable[[], Awaitable[object]]) -> NoReturn:
        """Write what waits, whenever there is hope for it; for ever.

        Args:
            catch_up: drops what was purged while nobody listened here. What is told to the
                shared store is what it lost, and never what somebody took from it.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS if self.pending else None):
                    await self._wake.wait()
            self._wake.clear()
            with suppress(StorageError):
                await catch_up()
                await self.pending.deliver(self._shared)

    async def close(self) -> None:
        """Close both, after a last attempt to write what waits."""
        with suppress(StorageError):
            await self.pending.deliver(self._shared)
        await self._shared.close()
        await self._local.close()

    def _newest(self, *records: R | None) -> R | None:
        """Return the record that counts; of equals the first one."""
        settled = [None if record is None else self._clock.settle(record) for record in records]
        return newest(settled, self._clock.now())

    def _waits(self, error: StorageError, wait: Callable[[], None]) -> None:
        """Have a write wait that has failed, unless it would fail again."""
        if isinstance(error, RedisFailed):
            wait()
        else:
            self._observer.observe(MetadataFailed(str(error)))

    async def _keep(self, write: Callable[[], Awaitable[object]]) -> None:
        """Into our own store; that it has no room is no reason to tell nobody."""
        try:
            await write()
        except StorageError as error:
            self._observer.observe(MetadataFailed(str(error)))


def _is_same(one: R, other: R | None) -> bool:
    return other is not None and (one, one.epoch) == (other, other.epoch)
