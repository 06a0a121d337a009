"""Pages of tags and of referrers: passed on as upstream wrote them, kept for a while."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from cacheproxy.domain import media_types
from cacheproxy.domain.cache_status import CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    ManifestUnknown,
    UpstreamRefused,
    UpstreamTimeout,
)
from cacheproxy.domain.freshness import Freshness, TagRecord, judge, survives, ttl
from cacheproxy.domain.operation import ListReferrers, ListTags
from cacheproxy.domain.records import Listing
from cacheproxy.domain.reference import Tag
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Metadata
from cacheproxy.pullthrough.answers import ListingAnswer
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.manifests import Manifests
from cacheproxy.pullthrough.remote import Remote

Fetch = Callable[[Listing | None], Coroutine[Any, Any, Listing]]
"""Asks upstream for a page, when there is one already or (None) none."""

# For the freshness rules a page is what a tag is: something that upstream said at a time.
_SOME_DIGEST = Digest.of(b"")


class Listings:
    """Tags and referrers of all upstreams."""

    def __init__(
        self, context: FillContext, metadata: Metadata, manifests: Manifests, tasks: Tasks
    ) -> None:
        self._metadata = metadata
        self._manifests = manifests
        self._clock = context.clock
        self._patience = context.patience
        self._fetching: Flights[str, Listing] = Flights(tasks, "listing")

    async def tags(self, remote: Remote, asked: ListTags) -> ListingAnswer:
        """A page of tags.

        Raises:
            NotFound, Denied, UpstreamError: it could not be had, and none is kept.
        """

        async def fetch(_: Listing | None) -> Listing:
            return await remote.upstream.list_tags(remote.repository, asked.query)

        return await self._page(remote, f"tags {asked.repository} {asked.query}", fetch)

    async def referrers(self, remote: Remote, asked: ListReferrers) -> ListingAnswer:
        """A page of referrers; where upstream lacks that API, what its fallback tag lists.

        Raises:
            Denied, UpstreamError: it could not be had, and none is kept.
        """

        async def fetch(kept: Listing | None) -> Listing:
            page = await self._find_referrers(remote, asked)
            if page is None and kept is not None and _has_some(kept):
                gone = ManifestUnknown("upstream has no list of these referrers any more")
                if survives(_as_tag(kept), remote.tags, self._clock.now(), gone):
                    raise gone
            return page or self._listing([], asked.artifact_type)

        key = f"referrers {asked.repository} {asked.digest} {asked.query}"
        return await self._page(remote, key, fetch)

    async def _page(self, remote: Remote, key: str, fetch: Fetch) -> ListingAnswer:
        kept = await self._metadata.listing(key)
        now = self._clock.now()
        if kept is not None and judge(_as_tag(kept), remote.tags, now) is Freshness.FRESH:
            left = ttl(_as_tag(kept), remote.tags, now)
            return ListingAnswer(kept, CacheStatus("hit", ttl=left), "store")

        async def keep() -> Listing:
            at = self._clock.now()
            listing = replace(await fetch(kept), checked_at=at)
            await self._metadata.put_listing(key, listing)
            return listing

        try:
            async with asyncio.timeout(self._patience_for(remote, kept)):
                listing, joined = await self._fetching.join(key, keep)
        except (CacheproxyError, TimeoutError) as problem:
            error = _as_error(problem)
            now = self._clock.now()
            if kept is None or not survives(_as_tag(kept), remote.tags, now, error):
                raise error from problem.__cause__
            left = ttl(_as_tag(kept), remote.tags, now)
            return ListingAnswer(kept, CacheStatus("stale", ttl=left), "store")
        status = CacheStatus("joined" if joined else "miss", forward_status=200, stored=True)
        return ListingAnswer(listing, status, "upstream")

    def _patience_for(self, remote: Remote, kept: Listing | None) -> float | None:
        """How long to wait where a page is kept that may stand in: what is asked goes on."""
        late, now = _as_error(TimeoutError()), self._clock.now()
        if kept is None or not survives(_as_tag(kept), remote.tags, now, late):
            return None
        # While upstream lets all who ask it wait in vain, nobody does who need not.
        return 0.0 if remote.upstream.is_silent else min(remote.tags.patience, self._patience)

    async def _find_referrers(self, remote: Remote, asked: ListReferrers) -> Listing | None:
        """Return what the API lists, or else the fallback tag; None if there is neither.

        Raises:
            UpstreamRefused: the API may only have failed, and there is no fallback tag.
        """
        query = asked.query
        try:
            page = await remote.upstream.list_referrers(remote.repository, asked.digest, query)
        except UpstreamRefused:
            page = await self._fallback(remote, asked)
            if page is None:
                raise
        return page or await self._fallback(remote, asked)

    async def _fallback(self, remote: Remote, asked: ListReferrers) -> Listing | None:
        """Return what the fallback tag lists (distribution spec, "Referrers Tag Schema").

        A 404 would be honest about upstream's API, but clients that get an empty list from a
        proxy do not look at the fallback tag themselves: signatures would vanish.

        Returns:
            The list in the API's form. None if there is no such tag; or if it names no index, or
            the subject itself, as in registries that take `sha256-…` for the digest.
        """
        tag = Tag.of_referrers(asked.digest)
        try:
            answer = await self._manifests.by_tag(remote, tag, head=False)
        except ManifestUnknown:
            return None
        body = answer.body or b""
        if answer.media_type not in media_types.INDEXES or asked.digest.names(body):
            return None
        found = json.loads(body).get("manifests") or []
        return self._listing([one for one in found if isinstance(one, dict)], asked.artifact_type)

    def _listing(self, descriptors: list[dict[str, Any]], artifact_type: str | None) -> Listing:
        chosen = [
            descriptor
            for descriptor in descriptors
            if artifact_type is None or descriptor.get("artifactType") == artifact_type
        ]
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": chosen}
        filters = None if artifact_type is None else "artifactType"
        body = json.dumps(index, separators=(",", ":")).encode()
        return Listing(body, media_types.OCI_INDEX, None, filters, self._clock.now())


def _has_some(referrers: Listing) -> bool:
    """Whether a page has any: an empty one is no loss where upstream has none."""
    try:
        page = json.loads(referrers.body)
    except ValueError:
        return False
    return isinstance(page, dict) and bool(page.get("manifests"))


def _as_error(problem: CacheproxyError | TimeoutError) -> CacheproxyError:
    """An error of ours; running out of patience is upstream's not having answered."""
    if isinstance(problem, CacheproxyError):
        return problem
    return UpstreamTimeout("upstream has not answered for longer than clients wait")


def _as_tag(listing: Listing) -> TagRecord:
    return TagRecord(_SOME_DIGEST, listing.checked_at)
