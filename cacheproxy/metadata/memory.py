"""Metadata in memory: for tests, and for trying things out. Gone with the process."""

from collections.abc import Mapping

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.freshness import TagRecord
from cacheproxy.domain.records import Link, Listing
from cacheproxy.domain.reference import Repository, Tag


class MemoryMetadata:
    """`Metadata` in dictionaries."""

    def __init__(self) -> None:
        self._tags: dict[tuple[Repository, Tag], TagRecord] = {}
        self._links: dict[tuple[Repository, Digest], Link] = {}
        self._listings: dict[str, Listing] = {}

    async def tag(self, repository: Repository, tag: Tag) -> TagRecord | None:
        """The record of a tag."""
        return self._tags.get((repository, tag))

    async def put_tag(self, repository: Repository, tag: Tag, record: TagRecord) -> bool:
        """Remember what upstream said of a tag."""
        self._tags[repository, tag] = record
        return True

    async def listing(self, key: str) -> Listing | None:
        """A page of tags or referrers."""
        return self._listings.get(key)

    async def put_listing(self, key: str, listing: Listing) -> None:
        """Remember a page."""
        self._listings[key] = listing

    async def link(self, repository: Repository, digest: Digest) -> Link | None:
        """The link, or None."""
        return self._links.get((repository, digest))

    async def add_links(self, repository: Repository, links: Mapping[Digest, Link]) -> None:
        """Remember that a repository holds these."""
        for digest, link in links.items():
            key = repository, digest
            self._links[key] = link.or_known(self._links.get(key))

    async def close(self) -> None:
        """Nothing is pending."""
