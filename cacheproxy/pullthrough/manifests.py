"""Pulling a manifest, by digest or by tag."""

import contextlib
import re

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain import media_types
from cacheproxy.domain.cache_status import HIT, CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    DigestMismatch,
    ManifestUnknown,
    NotFound,
    StorageError,
)
from cacheproxy.domain.freshness import Freshness, TagRecord, judge, survives, ttl
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Reference, Repository, Tag
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobStore, Clock, ManifestHead, Metadata
from cacheproxy.pullthrough.answers import ManifestAnswer
from cacheproxy.pullthrough.remote import Remote


class Manifests:
    """Manifests of all upstreams: verified whole, stored verbatim, served by digest."""

    def __init__(self, store: BlobStore, metadata: Metadata, clock: Clock, tasks: Tasks) -> None:
        self._store = store
        self._metadata = metadata
        self._clock = clock
        self._tasks = tasks
        self._fetching: Flights[tuple[Repository, Reference], Manifest] = Flights(tasks, "manifest")
        self._asking: Flights[tuple[Repository, Reference], ManifestHead] = Flights(tasks, "head")
        self._behind: Flights[tuple[Repository, Tag], None] = Flights(tasks, "revalidate")

    async def by_digest(self, remote: Remote, digest: Digest) -> ManifestAnswer:
        """A manifest by digest: what is here is served without a word to upstream.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had.
        """
        return await self._named(remote, digest, HIT)

    async def by_tag(self, remote: Remote, tag: Tag, *, head: bool) -> ManifestAnswer:
        """A manifest by tag: fresh, or as upstream now has it, or stale if upstream fails.

        Args:
            remote: the repository.
            tag: in it.
            head: only its head is asked for.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had, and nothing
                that is cached may stand in.
        """
        record = await self._metadata.tag(remote.repository, tag)
        now = self._clock.now()
        judged = Freshness.REVALIDATE if record is None else judge(record, remote.tags, now)
        if record is None or judged is Freshness.REVALIDATE:
            return await self._revalidated(remote, tag, record, head=head)
        if record.digest is None:
            raise ManifestUnknown(f"upstream had no {remote.repository}:{tag} a moment ago")
        left = ttl(record, remote.tags, now)
        if judged is Freshness.FRESH:
            return await self._named(remote, record.digest, CacheStatus("hit", ttl=left))
        self._revalidate_behind(remote, tag, record)
        return await self._named(remote, record.digest, CacheStatus("stale", ttl=left))

    async def _named(self, remote: Remote, digest: Digest, status: CacheStatus) -> ManifestAnswer:
        """A manifest that upstream holds for all we know; `status` is said if it is here."""
        body = await self._store.document(digest)
        if body is None:
            return await self._fetched(remote, digest)
        link = await self._metadata.link(remote.repository, digest)
        if link is None:
            # The bytes are here, by way of another repository. Is it in this one?
            await self._ask(remote, digest)
            link = Link(len(body))
        return _stored(body, link, digest, status)

    async def _revalidated(
        self, remote: Remote, tag: Tag, record: TagRecord | None, *, head: bool
    ) -> ManifestAnswer:
        try:
            return await self._asked(remote, tag, record, head=head)
        except CacheproxyError as error:
            now = self._clock.now()
            if record is not None and survives(record, remote.tags, now, error):
                return await self._stale(remote, record, error)
            if isinstance(error, NotFound):
                missing = TagRecord(None, now)
                await self._metadata.put_tag(remote.repository, tag, missing)
            raise

    async def _stale(
        self, remote: Remote, record: TagRecord, error: CacheproxyError
    ) -> ManifestAnswer:
        """What is here, although upstream could not say that it still holds; or the error."""
        digest = record.digest
        body = None if digest is None else await self._store.document(digest)
        link = None if digest is None else await self._metadata.link(remote.repository, digest)
        if digest is None or body is None or link is None:
            raise error
        left = ttl(record, remote.tags, self._clock.now())
        status = CacheStatus("stale", ttl=left, detail=_detail(error))
        return _stored(body, link, digest, status)

    async def _asked(
        self, remote: Remote, tag: Tag, record: TagRecord | None, *, head: bool
    ) -> ManifestAnswer:
        """By upstream's word of now: at best for the price of a HEAD."""
        if head or (record is not None and record.digest is not None):
            now = await self._ask(remote, tag)
            if now.digest is not None:
                answer = await self._by_head(remote, now, now.digest, head=head)
                checked = TagRecord(now.digest, self._clock.now())
                await self._metadata.put_tag(remote.repository, tag, checked)
                return answer
        return await self._fetched(remote, tag)

    async def _by_head(
        self, remote: Remote, now: ManifestHead, digest: Digest, *, head: bool
    ) -> ManifestAnswer:
        if head and now.size is not None and now.media_type is not None:
            status = CacheStatus("miss", ttl=remote.tags.fresh_for, forward_status=200)
            return ManifestAnswer(digest, now.media_type, now.size, None, status, "none")
        left = remote.tags.fresh_for
        status = CacheStatus("hit", ttl=left, forward_status=200, is_revalidated=True)
        return await self._named(remote, digest, status)

    def _revalidate_behind(self, remote: Remote, tag: Tag, record: TagRecord) -> None:
        """Ask upstream while the client already has its answer; a failure changes nothing."""

        async def revalidate() -> None:
            await self._revalidated(remote, tag, record, head=False)

        self._behind.launch((remote.repository, tag), revalidate)

    async def _ask(self, remote: Remote, reference: Reference) -> ManifestHead:
        """A HEAD, once for all who want it; what it confirms is remembered."""

        async def ask() -> ManifestHead:
            head = await remote.upstream.head_manifest(remote.repository, reference)
            digest = head.digest or (reference if isinstance(reference, Digest) else None)
            if digest is not None:
                media_type = head.media_type if head.media_type in _MANIFEST_TYPES else None
                link = Link(head.size, media_type)
                await self._metadata.add_links(remote.repository, {digest: link})
            return head

        head, _ = await self._asking.join((remote.repository, reference), ask)
        return head

    async def _fetched(self, remote: Remote, reference: Reference) -> ManifestAnswer:
        """A GET, once for all who want it."""
        key = (remote.repository, reference)
        manifest, joined = await self._fetching.join(key, lambda: self._fetch(remote, reference))
        status = CacheStatus("joined" if joined else "miss", forward_status=200, stored=True)
        return ManifestAnswer(
            manifest.digest,
            manifest.media_type,
            len(manifest.body),
            manifest.body,
            status,
            "upstream",
        )

    async def _fetch(self, remote: Remote, reference: Reference) -> Manifest:
        sent = await remote.upstream.get_manifest(remote.repository, reference)
        asked = reference if isinstance(reference, Digest) else None
        if asked is not None and not asked.names(sent.body):
            raise DigestMismatch(f"upstream sent a manifest that is not {asked}")
        manifest = manifests.parse(sent.body, sent.content_type, asked)
        await self._keep(remote.repository, manifest)
        if not isinstance(reference, Digest):
            record = TagRecord(manifest.digest, self._clock.now())
            await self._metadata.put_tag(remote.repository, reference, record)
        return manifest

    async def _keep(self, repository: Repository, manifest: Manifest) -> None:
        """Store it, and remember what it says the repository holds."""
        # A full disk is not the client's error; the next one fetches the manifest again.
        with contextlib.suppress(StorageError):
            await self._store.keep_document(manifest.digest, manifest.body)
        links = {child.digest: _link(child) for child in manifest.children}
        links[manifest.digest] = Link(len(manifest.body), manifest.media_type)
        await self._metadata.add_links(repository, links)


def _detail(error: CacheproxyError) -> str:
    """The error's name as a token: UpstreamTimeout becomes upstream-timeout."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


_MANIFEST_TYPES = media_types.INDEXES | media_types.MANIFESTS


def _link(child: manifests.Descriptor) -> Link:
    media_type = child.media_type if child.media_type in _MANIFEST_TYPES else None
    return Link(child.size, media_type)


def _stored(body: bytes, link: Link, digest: Digest, status: CacheStatus) -> ManifestAnswer:
    # Without a remembered type, as after the loss of the metadata, the body says it.
    media_type = link.media_type or manifests.parse(body, None, digest).media_type
    return ManifestAnswer(digest, media_type, len(body), body, status, "store")
