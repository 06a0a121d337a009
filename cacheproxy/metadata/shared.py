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
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.metadata.pending import Pending, SharedStore
from cacheproxy.metadata.redis_connection import RedisFailed
from cacheproxy.ports import Metadata, Observer

T = TypeVar("T")
R = TypeVar("R", TagRecord, Listing)

# After a write was refused: a store that is full, or that may not be written to.
_AGAIN_SECONDS = 10.0
# Clocks that were measured are apart by less.
_SAME_TIME = 1.0

# A record is read again if something was purged meanwhile; after so many times it is unknown.
_READS = 5


class SharedMetadata:
    """A `Metadata` of two. No failure of the shared one is a failure of this.

    Start `deliver` as a task.
    """

    def __init__(self, shared: SharedStore, local: Metadata, observer: Observer) -> None:
        self._shared = shared
        self._local = local
        self._observer = observer
        self.pending = Pending()
        self._wake = asyncio.Event()

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """The record of a tag: the newer one of the two stores'."""
        for _ in range(_READS):
            waiting = self.pending.tag(repository, tag)
            if waiting is not None:
                return waiting
            purges = self.pending.purges
            here = await self._local.tag(repository, tag)
            try:
                there = await self._shared.tag(repository, tag)
            except StorageError:
                return here
            if purges == self.pending.purges:
                break  # else it may be what was purged meanwhile that was read
        else:
            return None
        if here is not None and _is_newer(here, there):
            self.pending.put_tag(repository, tag, here)
            self._wake.set()
            return here
        if there is not None and there != here:
            await self._keep(lambda: self._local.put_tag(repository, tag, there))
        return there

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Remember what upstream said of a tag."""
        await self._keep(lambda: self._local.put_tag(repository, tag, record))
        await self._tell(
            lambda: self._shared.put_tag(repository, tag, record),
            lambda: self.pending.put_tag(repository, tag, record),
        )

    async def listing(self, key: str) -> Listing | None:
        """A page of tags or referrers: the newer one of the two stores'."""
        here = await self._local.listing(key)
        try:
            there = await self._shared.listing(key)
        except StorageError:
            return here
        if here is not None and _is_newer(here, there):
            return here
        if there is not None and there != here:
            await self._keep(lambda: self._local.put_listing(key, there))
        return there

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        await self._keep(lambda: self._local.put_listing(key, listing))
        await self._tell(
            lambda: self._shared.put_listing(key, listing),
            lambda: self.pending.put_listing(key, listing),
        )

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, with all that either store knows of it."""
        for _ in range(_READS):
            purges = self.pending.purges
            here = await self._local.link(repository, digest)
            try:
                there = await self._shared.link(repository, digest)
            except StorageError:
                return here
            if purges == self.pending.purges:
                break
        else:
            return None
        known = here if there is None else there.or_known(here)
        if known is not None and known != there:
            self.pending.add_links(repository, {digest: known})
            self._wake.set()
        if known is not None and known != here:
            found = {digest: known}
            await self._keep(lambda: self._local.add_links(repository, found))
        return known

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these."""
        await self._keep(lambda: self._local.add_links(repository, links))
        await self._tell(
            lambda: self._shared.add_links(repository, links),
            lambda: self.pending.add_links(repository, links),
        )

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

    async def _tell(self, write: Callable[[], Awaitable[None]], wait: Callable[[], None]) -> None:
        """Into the shared store, or into what waits for it."""
        try:
            await write()
        except RedisFailed:
            wait()
        except StorageError as error:  # it will never be written
            self._observer.observe(MetadataFailed(str(error)))

    async def _keep(self, write: Callable[[], Awaitable[None]]) -> None:
        """Into our own store; that it has no room is no reason to tell nobody."""
        try:
            await write()
        except StorageError as error:
            self._observer.observe(MetadataFailed(str(error)))


def _is_newer(here: R, there: R | None) -> bool:
    """Whether the shared store has lost what it once had, or never got it."""
    return there is None or here.checked_at > there.checked_at + _SAME_TIME
