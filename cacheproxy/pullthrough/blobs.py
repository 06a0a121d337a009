"""Pulling a blob: from the store, from a download in flight, or by starting one."""

from collections.abc import Callable
from dataclasses import replace

from cacheproxy.domain.byte_range import ByteRange, RangeFrom, RequestedRange
from cacheproxy.domain.cache_status import HIT, CacheStatus, Outcome
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    RequestError,
    StorageError,
    UpstreamUnavailable,
)
from cacheproxy.domain.operation import PullBlob
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Repository
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Metadata, StoredBlob
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.fill import Fill, Fills
from cacheproxy.pullthrough.follower import Follower
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.relay import Relay
from cacheproxy.pullthrough.remote import Remote

# A download may fail for reasons of another repository, or its blob be evicted at once: then
# the pull begins anew, so often at the most.
_ATTEMPTS = 4


class Blobs:
    """Blobs of all upstreams: one copy by content, one download at a time for each."""

    def __init__(self, context: FillContext, metadata: Metadata, tasks: Tasks) -> None:
        self._context = context
        self._store = context.store
        self._metadata = metadata
        self._tasks = tasks
        self.fills = Fills(context, tasks)
        self._confirming: Flights[tuple[Repository, Digest], int | None] = Flights(tasks, "confirm")

    async def pull(self, remote: Remote, asked: PullBlob, *, head: bool) -> BlobAnswer:
        """Return a blob, if it is one of this repository's.

        Args:
            remote: the repository.
            asked: which blob; a range says from where it will be read.
            head: only its size is asked for; its body is not fetched.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had.
            RangeNotSatisfiable: it could, but it has no such bytes.
        """
        for _ in range(_ATTEMPTS):
            link = await self._metadata.link(remote.repository, asked.digest)
            if link is None and self._is_known_otherwise(remote, asked.digest):
                # A digest is no licence to read: is it in this repository too?
                await self._confirm(remote, asked.digest)
                link = Link()
            stored = None if link is None else self._store.open(asked.digest)
            if stored is not None:
                answer: BlobAnswer | None = _hit(asked, stored, head=head)
            elif head:
                answer = await self._head(remote, asked.digest, link)
            else:
                answer = await self._fetch(remote, asked, link)
            if answer is not None:
                return _typed(answer, link)
        raise UpstreamUnavailable(f"{asked.digest} came and went {_ATTEMPTS} times")

    async def keep(
        self, remote: Remote, digest: Digest, begun: Callable[[Fill], None], *, is_use: bool
    ) -> Fill | None:
        """Have a blob in the store, read by nobody; None if it was there already.

        Args:
            remote: the repository.
            digest: of the blob.
            begun: is told of the download, if there is one, before that is waited for.
            is_use: it counts as asked for, also if it is here.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had.
            StorageError: it could not be kept.
        """
        link = await self._metadata.link(remote.repository, digest)
        if link is None:
            await self._confirm(remote, digest)
            link = Link()
        for _ in range(_ATTEMPTS):
            if self._is_stored(digest, is_use=is_use):
                return None
            fill, _ = self.fills.join(digest, _origin(remote, digest, link))
            begun(fill)
            try:
                with fill.attended():
                    await fill.progress.wait_committed()
            except StorageError:
                raise
            except CacheproxyError as error:
                self._raise_if_ours(error, fill, remote.repository)
            else:
                return fill
        raise UpstreamUnavailable(f"{digest} failed {_ATTEMPTS} times for other repositories")

    def _is_stored(self, digest: Digest, *, is_use: bool) -> bool:
        if not is_use:
            return self._store.has(digest)
        stored = self._store.open(digest)
        if stored is not None:
            stored.close()
        return stored is not None

    async def follow(self, fill: Fill) -> BlobAnswer:
        """Read along with a download, for another replica.

        Raises:
            CacheproxyError: it is not under way any more.
        """
        with fill.attended():
            await fill.wait_open()
            asked = PullBlob(fill.repository, fill.digest)
            answer = self._followed(fill, None, asked, "joined")
        if answer is None:
            raise UpstreamUnavailable("this replica does not get it any more")
        return answer

    def _is_known_otherwise(self, remote: Remote, digest: Digest) -> bool:
        """Whether it is here, or on its way, and not by way of this repository."""
        fill = self.fills.get(digest)
        if fill is not None:
            return fill.origins.next_of(remote.repository) is None
        stored = self._store.open(digest, is_use=False)
        if stored is not None:
            stored.close()
        return stored is not None

    async def _head(self, remote: Remote, digest: Digest, link: Link | None) -> BlobAnswer:
        """Return the size alone: by a descriptor, a download in flight, or upstream's response.

        A manifest is answered for by upstream: not all registries have manifests as blobs.
        """
        size = None if link is None or link.media_type is not None else link.size
        fill = self.fills.get(digest)
        if size is None and fill is not None:
            size = fill.state.size
        if size is not None:
            return BlobAnswer(digest, size, None, CacheStatus("hit", detail="size"), "none")
        size = await self._confirm(remote, digest)
        status = CacheStatus("miss", forward_status=200)
        return BlobAnswer(digest, size, None, status, "none")

    async def _confirm(self, remote: Remote, digest: Digest) -> int | None:
        """Have upstream confirm that the repository holds the blob; return its size if stated.

        The size is passed on and not kept, since nothing has verified it.
        """

        async def confirm() -> int | None:
            size = await remote.upstream.head_blob(remote.repository, digest)
            await self._metadata.add_links(remote.repository, {digest: Link()})
            return size

        size, _ = await self._confirming.join((remote.repository, digest), confirm)
        return size

    async def _fetch(self, remote: Remote, asked: PullBlob, link: Link | None) -> BlobAnswer | None:
        """Follow the download, which is begun if there is none; None to begin anew."""
        origin = _origin(remote, asked.digest, link)
        fill, is_joined = self.fills.join(asked.digest, origin)
        try:
            with fill.attended():
                return await self._attend(fill, origin, asked, "joined" if is_joined else "miss")
        except StorageError:
            return await self._past_the_disk(origin, asked, fill.state.size)
        except RequestError:
            raise
        except CacheproxyError as error:
            self._raise_if_ours(error, fill, remote.repository)
            return None

    @staticmethod
    def _raise_if_ours(error: CacheproxyError, fill: Fill, repository: Repository) -> None:
        """Raise an error, unless it only says something of other repositories."""
        if fill.origins.was_tried(repository):
            raise (fill.origins.error_of(repository) or error).with_traceback(None)

    async def _attend(
        self, fill: Fill, origin: Origin, asked: PullBlob, outcome: Outcome
    ) -> BlobAnswer | None:
        size = await fill.wait_open(origin.repository)
        is_wrong = size is not None and origin.size not in (None, size)
        if is_wrong or not origin.linked:
            # Upstream began to send it, so the repository holds it; and the size that upstream
            # states overrules a descriptor's.
            link = Link(size if is_wrong else None)
            await self._metadata.add_links(origin.repository, {asked.digest: link})
        part = _part(asked.range, size)
        if part is not None and self._is_far(fill, asked.range, part):
            return await self._relayed(origin, part)
        return self._followed(fill, origin, asked, outcome)

    def _is_far(self, fill: Fill, wanted: RequestedRange | None, part: ByteRange) -> bool:
        """Whether a part is so far ahead that to wait for it would be mere silence.

        Some clients want the end of a large blob first, and say where that ends. A range that
        is open belongs to a client that takes the whole blob in pieces, or goes on with one:
        it gets all of them from the one download.
        """
        is_open = isinstance(wanted, RangeFrom) and wanted.last is None
        return not is_open and part.start - fill.state.received > self._context.relay_ahead

    def _followed(
        self, fill: Fill, origin: Origin | None, asked: PullBlob, outcome: Outcome
    ) -> BlobAnswer | None:
        """Read along; or from the store, where it is by now; None if it has gone already."""
        status = CacheStatus(outcome, stored=True)
        if fill.progress.has_ended:
            fill.progress.raise_if_failed()
            # Who has begun a download has used it: the store counts that with the blob.
            stored = self._store.open(asked.digest, is_use=outcome == "joined")
            if stored is None:
                return None
            return replace(_hit(asked, stored, head=False), status=status, source=fill.source)
        part = _part(asked.range, fill.state.size)
        content = Follower(fill, origin, part, (self._context, self._tasks))
        if outcome == "joined":
            self._store.use(asked.digest)
        return BlobAnswer(asked.digest, content.size, content, status, fill.source, part)

    async def _relayed(self, origin: Origin, part: ByteRange) -> BlobAnswer:
        """Send a part from far ahead, past the download that goes on."""
        relay = Relay(origin, (part.start, part.stop), None, self._context, self._tasks)
        status = CacheStatus("bypass", detail="range")
        return await self._opened(origin, relay, status, part.size, part)

    async def _past_the_disk(self, origin: Origin, asked: PullBlob, size: int | None) -> BlobAnswer:
        """Send it from upstream: the disk does not take it, and that is not the client's error."""
        if size is None and asked.range is not None:
            size = await origin.confirm()
        part = _part(asked.range, size)
        span = (part.start, part.stop) if part else (0, size)
        hasher = origin.digest.hasher() if part is None else None
        relay = Relay(origin, span, hasher, self._context, self._tasks)
        return await self._opened(origin, relay, CacheStatus("bypass", detail="disk"), size, part)

    async def _opened(
        self,
        origin: Origin,
        relay: Relay,
        status: CacheStatus,
        size: int | None,
        part: ByteRange | None,
    ) -> BlobAnswer:
        try:
            said = await relay.open()
        except BaseException:
            relay.close()
            raise
        size = size if size is not None else said
        return BlobAnswer(origin.digest, size, relay, status, "upstream", part)


def _origin(remote: Remote, digest: Digest, link: Link | None) -> Origin:
    size = link.size if link is not None else None
    return Origin(remote.upstream, remote.repository, digest, size, link is not None, remote.retry)


def _part(wanted: RequestedRange | None, size: int | None) -> ByteRange | None:
    """Return the bytes that are wanted; None for the whole, also if its size is unknown."""
    return None if wanted is None or size is None else wanted.resolve(size)


def _typed(answer: BlobAnswer, link: Link | None) -> BlobAnswer:
    """Return the answer with a manifest's type, if the blob is known to be one.

    containerd keeps the type that a HEAD of a blob states.
    """
    if link is None or link.media_type is None:
        return answer
    return replace(answer, media_type=link.media_type)


def _hit(asked: PullBlob, stored: StoredBlob, *, head: bool) -> BlobAnswer:
    try:
        part = None if head else _part(asked.range, stored.size)
    except CacheproxyError:
        stored.close()
        raise
    return BlobAnswer(asked.digest, stored.size, stored, HIT, "store", part)
