"""Pulling a manifest, by digest or by tag."""

import asyncio
import contextlib
import re

from cacheproxy.domain import manifest as manifests
from cacheproxy.domain import media_types, schema1
from cacheproxy.domain.cache_status import HIT, CacheStatus
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    DigestMismatch,
    ManifestInvalid,
    ManifestUnknown,
    NotFound,
    StorageError,
    UpstreamLimited,
    UpstreamTimeout,
)
from cacheproxy.domain.events import Source
from cacheproxy.domain.freshness import (
    Freshness,
    TagRecord,
    judge,
    moment_after,
    survives,
    ttl,
)
from cacheproxy.domain.manifest import Manifest
from cacheproxy.domain.rate_limit import Spend
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Reference, Repository, Tag
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import ManifestHead, Metadata
from cacheproxy.pullthrough.answers import ManifestAnswer, answer_of_head
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.remote import Remote

# What is fetched once for all who want it.
_Fetch = tuple[Repository, Reference, Spend]


class Manifests:
    """Manifests of all upstreams: verified whole, stored verbatim, served by digest."""

    def __init__(self, context: FillContext, metadata: Metadata, tasks: Tasks) -> None:
        self._store = context.store
        self._metadata = metadata
        self._clock = context.clock
        self._patience = context.patience
        self._tasks = tasks
        self._fetching: Flights[_Fetch, tuple[Manifest, Source]] = Flights(tasks, "manifest")
        self._asking: Flights[tuple[Repository, Reference], ManifestHead | None]
        self._asking = Flights(tasks, "head")
        self._behind: Flights[tuple[Repository, Tag], None] = Flights(tasks, "revalidate")

    async def by_digest(
        self, remote: Remote, digest: Digest, spend: Spend = "fetch"
    ) -> ManifestAnswer:
        """A manifest by digest: what is here is served without a word to upstream.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had.
        """
        return await self._named(remote, digest, HIT, spend)

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
        status = CacheStatus("hit" if judged is Freshness.FRESH else "stale", ttl=left)
        if judged is not Freshness.FRESH:
            self._revalidate_behind(remote, tag, record)
        return await self._of_tag(remote, tag, record, status)

    async def latest(
        self, remote: Remote, tag: Tag, within: float, spend: Spend
    ) -> tuple[ManifestAnswer, Digest | None]:
        """A manifest by tag as upstream has it now, and what the tag named before.

        However fresh what is known is, and never what is stale: nobody waits who would rather
        have that.

        Args:
            remote: the repository.
            tag: in it.
            within: upstream is not asked if it has said so many seconds ago, or less.
            spend: what a pull counts as, should it cost one.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had.
        """
        record = await self._metadata.tag(remote.repository, tag)
        known = None if record is None else record.digest
        if record is not None and 0 <= self._clock.now() - record.checked_at < within:
            if known is not None:
                return await self._of_tag(remote, tag, record, HIT, spend), known
            raise ManifestUnknown(f"upstream had no {remote.repository}:{tag} a moment ago")
        at = moment_after(record, self._clock.now())
        try:
            return await self._asked(remote, tag, record, head=False, spend=spend), known
        except NotFound as error:
            if not survives(record, remote.tags, self._clock.now(), error):
                await self._metadata.put_tag(remote.repository, tag, TagRecord(None, at))
            raise

    async def _named(
        self, remote: Remote, digest: Digest, status: CacheStatus, spend: Spend = "fetch"
    ) -> ManifestAnswer:
        """A manifest that upstream holds for all we know; `status` is said if it is here."""
        body = await self._store.document(digest)
        if body is None:
            return await self._fetched(remote, digest, spend)
        link = await self._link_of(remote, digest)
        if link is None:
            return await self._fetched(remote, digest, spend)
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

    async def _link_of(self, remote: Remote, digest: Digest) -> Link | None:
        """Return the link of a manifest whose bytes are here; None if only a GET can confirm it.

        The bytes may have come by way of another repository, or as a blob.
        """
        link = await self._metadata.link(remote.repository, digest)
        if link is not None and (link.is_read or link.media_type is not None):
            return link
        head = await self._ask(remote, digest, None)
        return None if head is None else Link(media_type=media_types.of_manifest(head.media_type))

    async def _of_tag(
        self,
        remote: Remote,
        tag: Tag,
        record: TagRecord,
        status: CacheStatus,
        spend: Spend = "fetch",
    ) -> ManifestAnswer:
        """Return the manifest that a tag names; by tag if upstream lacks the digest.

        Regions of one registry differ: one may have the tag, and not yet its digest.
        """
        if record.digest is None:
            return await self._fetched(remote, tag, spend, record)
        try:
            return await self._named(remote, record.digest, status, spend)
        except NotFound:
            return await self._fetched(remote, tag, spend, record)

    async def _revalidated(
        self, remote: Remote, tag: Tag, record: TagRecord | None, *, head: bool
    ) -> ManifestAnswer:
        """By upstream's word, or by what is here if that does not come in time.

        Who has something to fall back on does not wait for all of it, since clients do not
        either; and not at all while upstream lets all who ask it wait in vain.
        """
        if not remote.upstream.is_silent:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_for(remote, record)):
                    return await self._answered(remote, tag, record, head=head)
        late = UpstreamTimeout("upstream has not answered for longer than clients wait")
        spare = await self._stale(remote, record, late)
        if record is None or spare is None:
            # There is nothing to fall back on; what is under way is joined.
            return await self._answered(remote, tag, record, head=head)
        self._revalidate_behind(remote, tag, record)
        return spare

    def _patience_for(self, remote: Remote, record: TagRecord | None) -> float | None:
        if record is None or record.digest is None:
            return None
        return min(remote.tags.patience, self._patience)

    async def _answered(
        self, remote: Remote, tag: Tag, record: TagRecord | None, *, head: bool
    ) -> ManifestAnswer:
        """By upstream's word, or by what is here if that is an error which it may outlive."""
        at = moment_after(record, self._clock.now())
        try:
            return await self._asked(remote, tag, record, head=head)
        except CacheproxyError as error:
            stale = await self._stale(remote, record, error)
            if stale is not None:
                return stale
            now = self._clock.now()
            if isinstance(error, NotFound) and not survives(record, remote.tags, now, error):
                await self._metadata.put_tag(remote.repository, tag, TagRecord(None, at))
            raise

    async def _stale(
        self, remote: Remote, record: TagRecord | None, error: CacheproxyError
    ) -> ManifestAnswer | None:
        """Return the cached manifest of a tag, despite an error; None if none may be served.

        Blobs of it may be missing here: a pull fails at those alone, and a node may have them.
        """
        now = self._clock.now()
        if record is None or record.digest is None or not survives(record, remote.tags, now, error):
            return None
        body = await self._store.document(record.digest)
        link = await self._metadata.link(remote.repository, record.digest)
        if body is None or link is None:
            return None
        status = CacheStatus("stale", ttl=ttl(record, remote.tags, now), detail=_detail(error))
        return _stored(body, link, record.digest, status)

    async def _asked(
        self,
        remote: Remote,
        tag: Tag,
        record: TagRecord | None,
        *,
        head: bool,
        spend: Spend = "fetch",
    ) -> ManifestAnswer:
        """By upstream's word of now: at best for the price of a HEAD."""
        known = None if record is None else record.digest
        if not head and known is None:
            return await self._fetched(remote, tag, spend, record)
        at = moment_after(record, self._clock.now())
        now = await self._ask(remote, tag, known)
        new = TagRecord(None if now is None else now.digest, at)
        if head and await self._is_kept_for_others(remote, record, new.digest):
            # Who is told of a new manifest fetches it next.
            raise UpstreamLimited("upstream grants no pull for what is here in an older state")
        left = remote.tags.fresh_for
        answer = answer_of_head(now, known, left) if head else None
        if answer is None:
            if await self._is_spare(remote, record):
                spend = "refresh"
            status = CacheStatus("hit", ttl=left, forward_status=200, is_revalidated=True)
            answer = await self._of_tag(remote, tag, new, status, spend)
        if new.digest not in (None, known):
            # Only now that it is here: until then the known manifest is worth more.
            await self._remember(remote.repository, tag, TagRecord(answer.digest, at))
        return answer

    async def _is_spare(self, remote: Remote, record: TagRecord | None) -> bool:
        """Whether something older is here that can be served, should a pull not be granted."""
        return await self._stale(remote, record, UpstreamLimited("")) is not None

    async def _is_kept_for_others(
        self, remote: Remote, record: TagRecord | None, new: Digest | None
    ) -> bool:
        """Whether a new manifest would cost a pull that is worth more elsewhere."""
        if new is None or remote.upstream.may_refresh or self._store.has(new):
            return False
        return await self._is_spare(remote, record)

    def _revalidate_behind(self, remote: Remote, tag: Tag, record: TagRecord) -> None:
        """Ask upstream while the client already has its answer; a failure changes nothing."""

        async def revalidate() -> None:
            await self._answered(remote, tag, record, head=False)

        self._behind.launch((remote.repository, tag), revalidate)

    async def _ask(
        self, remote: Remote, reference: Reference, known: Digest | None
    ) -> ManifestHead | None:
        """Ask by HEAD, once for all who want it, and remember what it confirms.

        Args:
            remote: the repository.
            reference: in it.
            known: the digest that the tag named before; None if unknown, so that its record is
                not refreshed.

        Returns:
            None if only a GET can tell: HEAD is optional, and where it is missing a 404 says
            nothing of the manifest.
        """

        async def ask() -> ManifestHead | None:
            asked_at = self._clock.now()
            try:
                head = await remote.upstream.head_manifest(remote.repository, reference)
            except NotFound:
                return None
            if head is None:
                return None
            digest = reference if isinstance(reference, Digest) else head.digest
            if digest is not None:
                link = Link(media_type=media_types.of_manifest(head.media_type))
                await self._metadata.add_links(remote.repository, {digest: link})
            if isinstance(reference, Tag) and digest is not None and known is not None:
                record = await self._metadata.tag(remote.repository, reference)
                if record is not None and record.digest == digest:
                    at = moment_after(record, asked_at)
                    await self._remember(remote.repository, reference, TagRecord(digest, at))
            return head

        head, _ = await self._asking.join((remote.repository, reference), ask)
        return head

    async def _fetched(
        self,
        remote: Remote,
        reference: Reference,
        spend: Spend = "fetch",
        known: TagRecord | None = None,
    ) -> ManifestAnswer:
        """Fetch a manifest, once for all who want it; `known` is what a tag named before."""
        key = (remote.repository, reference, spend)
        (manifest, source), joined = await self._fetching.join(
            key, lambda: self._fetch(remote, reference, spend, known)
        )
        is_stored = manifest.media_type not in media_types.SCHEMAS_1
        status = CacheStatus("joined" if joined else "miss", forward_status=200, stored=is_stored)
        return ManifestAnswer(
            manifest.digest,
            manifest.media_type,
            len(manifest.body),
            manifest.body,
            status,
            source,
        )

    async def _fetch(
        self, remote: Remote, reference: Reference, spend: Spend, known: TagRecord | None
    ) -> tuple[Manifest, Source]:
        at = moment_after(known, self._clock.now())
        sent = await remote.upstream.get_manifest(remote.repository, reference, spend)
        asked = reference if isinstance(reference, Digest) else None
        if asked is not None and not asked.names(sent.body):
            raise DigestMismatch(f"upstream sent a manifest that is not {asked}")
        old = schema1.parse(sent.body) if asked is None else None
        if old is not None:
            return old, "upstream"
        manifest = manifests.parse(sent.body, sent.content_type, asked)
        await self._keep(remote.repository, manifest)
        if not isinstance(reference, Digest):
            await self._remember(remote.repository, reference, TagRecord(manifest.digest, at))
        return manifest, "peer" if sent.is_from_peer else "upstream"

    async def _remember(self, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Remember what a tag names, unless something newer is known."""
        if await self._metadata.put_tag(repository, tag, record) and record.digest is not None:
            with contextlib.suppress(StorageError):
                await self._store.name(repository, tag, record.digest)

    async def _keep(self, repository: Repository, manifest: Manifest) -> None:
        """Store it, and remember what it says the repository holds."""
        # A full disk is not the client's error; the next one fetches the manifest again.
        with contextlib.suppress(StorageError):
            await self._store.keep_manifest(repository, manifest)
        await self._link(repository, manifest)

    async def _link(self, repository: Repository, manifest: Manifest) -> None:
        # What an index names may be a manifest, whatever type it states: no blob of that size.
        is_index = manifest.media_type in media_types.INDEXES
        links = {
            child.digest: Link(
                None if is_index else child.size, media_types.of_manifest(child.media_type)
            )
            for child in manifest.children
        }
        links[manifest.digest] = Link(len(manifest.body), manifest.media_type, is_read=True)
        await self._metadata.add_links(repository, links)


def _detail(error: CacheproxyError) -> str:
    """The error's name as a token: UpstreamTimeout becomes upstream-timeout."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


def _stored(body: bytes, link: Link, digest: Digest, status: CacheStatus) -> ManifestAnswer:
    # Without a remembered type, as after the loss of the metadata, the body says it.
    media_type = link.media_type or manifests.parse(body, None, digest).media_type
    return ManifestAnswer(digest, media_type, len(body), body, status, "store")
