"""Writes that wait for the shared store, in bounded memory."""

import asyncio
from collections.abc import Mapping
from typing import Protocol, TypeVar

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag
from cacheproxy.ports import Metadata

K = TypeVar("K")
V = TypeVar("V")

_LIMIT = 10_000
# Pages are large, and soon fetched again.
_PAGES = 100
# In one call.
_BATCH = 200


class SharedStore(Metadata, Protocol):
    """A `Metadata` that others write too, and that can fail in every call."""


class Pending:
    """Tags, links and pages that wait; where there are too many, the oldest go."""

    def __init__(self, limit: int = _LIMIT, pages: int = _PAGES) -> None:
        self._limit = limit
        self._page_limit = pages
        self._tags: dict[tuple[Repository, Tag], TagRecord] = {}
        self._links: dict[tuple[Repository, Digest], Link] = {}
        self._pages: dict[str, Listing] = {}
        self.purges = 0
        """Counts what was forgotten since it was purged."""
        self.lock = asyncio.Lock()
        """Held by a purge, and by whoever copies what was read into our own store."""

    def __len__(self) -> int:
        return len(self._tags) + len(self._links) + len(self._pages)

    def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """What waits for a tag."""
        return self._tags.get((repository, tag))

    def listing(self, key: str) -> Listing | None:
        """What waits for a page."""
        return self._pages.get(key)

    def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Have a record wait, in place of another one."""
        self._tags.pop((repository, tag), None)
        self._tags[repository, tag] = record
        _bound(self._tags, self._limit)

    def strike_tag(self, repository: Repository, tag: Tag) -> None:
        """Drop what waits for a tag: the shared store knows something newer."""
        self._tags.pop((repository, tag), None)

    def strike_listing(self, key: str) -> None:
        """Drop what waits for a page, likewise."""
        self._pages.pop(key, None)

    def put_listing(self, key: str, listing: Listing) -> None:
        """Have a page wait, in place of another one."""
        self._pages.pop(key, None)
        self._pages[key] = listing
        _bound(self._pages, self._page_limit)

    def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Have links wait, with what is known of them."""
        for digest, link in links.items():
            key = repository, digest
            self._links[key] = link.or_known(self._links.pop(key, None))
        _bound(self._links, self._limit)

    def forget(self, scope: str, tag: str | None) -> None:
        """Drop what waits of a repository, of an upstream, or of one tag.

        Args:
            scope: `docker.io/library/nginx `, with the space that ends a name; or `docker.io/`.
            tag: only this one.
        """
        self.purges += 1
        for at in [k for k in self._tags if f"{k[0]} ".startswith(scope) and tag in (None, k[1])]:
            del self._tags[at]
        if tag is None:
            for key in [key for key in self._links if f"{key[0]} ".startswith(scope)]:
                del self._links[key]
            self._pages.clear()

    async def deliver(self, store: SharedStore) -> None:
        """Write all of it; what fails waits on.

        Raises:
            StorageError: it failed, and the rest was not tried.
        """
        while self._tags:
            (repository, tag), record = next(iter(self._tags.items()))
            await store.put_tag(repository, tag, record)
            _done(self._tags, (repository, tag), record)
        while self._links:
            repository, _ = next(iter(self._links))
            links = [item for item in self._links.items() if item[0][0] == repository][:_BATCH]
            await store.add_links(repository, {digest: link for (_, digest), link in links})
            for key, link in links:
                _done(self._links, key, link)
        while self._pages:
            name, page = next(iter(self._pages.items()))
            await store.put_listing(name, page)
            _done(self._pages, name, page)


def _done(waiting: dict[K, V], key: K, written: V) -> None:
    """What came meanwhile waits on."""
    if waiting.get(key) is written:
        del waiting[key]


def _bound(waiting: dict[K, V], limit: int) -> None:
    while len(waiting) > limit:
        del waiting[next(iter(waiting))]
