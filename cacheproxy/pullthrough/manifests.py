"""Pulling a manifest, by digest or by tag."""

import asyncio
import contextlib
import re

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain import media_types
from cacheproxy.domain.cache_status import HIT, CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    DigestMismatch,
    ManifestInvalid,
    ManifestUnknown,
    NotFound,
    StorageError,
    UpstreamTimeout,
)
from cacheproxy.domain.freshness import Freshness, TagRecord, judge, survives, ttl
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Reference, Repository, Tag
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import ManifestHead, Metadata
from cacheproxy.pullthrough.answers import ManifestAnswer
from cacheproxy.pullthrough.fill import FillContext
from cacheproxy.pullthrough.remote import Remote


class Manifests:
    """Manifests of all upstreams: verified whole, stored verbatim, served by digest."""

    def __init__(self, context: FillContext, metadata: Metadata, tasks: Tasks) -> None:
        self._store = context.store
        self._metadata = metadata
        self._clock = context.clock
        self._patience = context.patience
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
            link = Link()
        if not link.is_read:
            # So it is here by another repository's pull, and what it refers to is linked to
            # that one alone; or the metadata was lost.
            try:
                manifest = manifests.parse(body, link.media_type, digest)
            except ManifestInvalid:
                return await self._fetched(remote, digest)  # a blob: upstream says so
            link = Link(len(body), manifest.media_type, is_read=True)
            await self._link(remote.repository, manifest)
        return _stored(body, link, digest, status)

    async def _revalidated(
        self, remote: Remote, tag: Tag, record: TagRecord | None, *, head: bool
    ) -> ManifestAnswer:
        try:
            # What is asked goes on; but who has something to fall back on does not wait for
            # all of it, since clients do not either.
            async with asyncio.timeout(self._patience if record is not None else None):
                return await self._asked(remote, tag, record, head=head)
        except (CacheproxyError, TimeoutError) as problem:
            error = as_error(problem)
            now = self._clock.now()
            if record is not None and survives(record, remote.tags, now, error):
                return await self._stale(remote, record, error)
            if isinstance(error, NotFound):
                missing = TagRecord(None, now)
                await self._metadata.put_tag(remote.repository, tag, missing)
            raise error from problem.__cause__

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
        known = None if record is None else record.digest
        if not head and known is None:
            return await self._fetched(remote, tag)
        now = await self._ask(remote, tag)
        left = remote.tags.fresh_for
        status = CacheStatus("hit", ttl=left, forward_status=200, is_revalidated=True)
        if now.digest is None:
            return await self._fetched(remote, tag)
        if not head or now.size is None or now.media_type not in _MANIFEST_TYPES:
            answer = await self._named(remote, now.digest, status)
            if now.digest != known:
                # Only now that it is here: until then what was known is worth more.
                await self._remember(remote.repository, tag, now.digest)
            return answer
        if now.digest != known:
            await self._remember(remote.repository, tag, now.digest)
            status = CacheStatus("miss", ttl=left, forward_status=200)
        return ManifestAnswer(now.digest, now.media_type, now.size, None, status, "none")

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
                link = Link(media_type=media_type)
                await self._metadata.add_links(remote.repository, {digest: link})
            if isinstance(reference, Tag) and digest is not None:
                known = await self._metadata.tag(remote.repository, reference)
                if known is not None and known.digest == digest:
                    await self._remember(remote.repository, reference, digest)
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
            await self._remember(remote.repository, reference, manifest.digest)
        return manifest

    async def _remember(self, repository: Repository, tag: Tag, digest: Digest) -> None:
        """What a tag names now, by upstream's word."""
        record = TagRecord(digest, self._clock.now())
        await self._metadata.put_tag(repository, tag, record)
        with contextlib.suppress(StorageError):
            await self._store.name(repository, tag, digest)

    async def _keep(self, repository: Repository, manifest: Manifest) -> None:
        """Store it, and remember what it says the repository holds."""
        # A full disk is not the client's error; the next one fetches the manifest again.
        with contextlib.suppress(StorageError):
            await self._store.keep_manifest(repository, manifest)
        await self._link(repository, manifest)

    async def _link(self, repository: Repository, manifest: Manifest) -> None:
        links = {child.digest: _link_to(child) for child in manifest.children}
        links[manifest.digest] = Link(len(manifest.body), manifest.media_type, is_read=True)
        await self._metadata.add_links(repository, links)


def as_error(problem: CacheproxyError | TimeoutError) -> CacheproxyError:
    """An error of ours; running out of patience is upstream's not having answered."""
    if isinstance(problem, CacheproxyError):
        return problem
    return UpstreamTimeout("upstream has not answered for longer than clients wait")


def _detail(error: CacheproxyError) -> str:
    """The error's name as a token: UpstreamTimeout becomes upstream-timeout."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


_MANIFEST_TYPES = media_types.INDEXES | media_types.MANIFESTS


def _link_to(child: manifests.Descriptor) -> Link:
    media_type = child.media_type if child.media_type in _MANIFEST_TYPES else None
    return Link(child.size, media_type)


def _stored(body: bytes, link: Link, digest: Digest, status: CacheStatus) -> ManifestAnswer:
    # Without a remembered type, as after the loss of the metadata, the body says it.
    media_type = link.media_type or manifests.parse(body, None, digest).media_type
    return ManifestAnswer(digest, media_type, len(body), body, status, "store")
