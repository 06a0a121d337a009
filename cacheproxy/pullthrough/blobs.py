"""Pulling a blob: from the store, from a download in flight, or by starting one."""

from collections.abc import Callable

from cacheproxy.domain.byte_range import ByteRange, RangeFrom, RequestedRange
from cacheproxy.domain.cache_status import HIT, CacheStatus, Outcome
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, StorageError
from cacheproxy.domain.operation import PullBlob
from cacheproxy.domain.records import Link
from cacheproxy.domain.reference import Repository
from cacheproxy.inprocess.flights import Flights
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Metadata
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.fill import Fill, FillContext
from cacheproxy.pullthrough.follower import Follower
from cacheproxy.pullthrough.origin import Origin
from cacheproxy.pullthrough.relay import Relay
from cacheproxy.pullthrough.remote import Remote


class Blobs:
    """Blobs of all upstreams: one copy by content, one download at a time for each."""

    def __init__(self, context: FillContext, metadata: Metadata, tasks: Tasks) -> None:
        self._context = context
        self._store = context.store
        self._metadata = metadata
        self._tasks = tasks
        self._fills: dict[Digest, Fill] = {}
        self._confirming: Flights[tuple[Repository, Digest], int | None] = Flights(tasks, "confirm")

    async def pull(self, remote: Remote, asked: PullBlob, *, head: bool) -> BlobAnswer:
        """A blob, if it is one of this repository's.

        Args:
            remote: the repository.
            asked: which blob; a range says from where it will be read.
            head: only its size is asked for; its body is not fetched.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid: it could not be had.
            RangeNotSatisfiable: it could, but it has no such bytes.
        """
        digest = asked.digest
        link = await self._metadata.link(remote.repository, digest)
        if link is None and self._is_here_for_others(remote, digest):
            # A digest is no licence to read: is it in this repository too?
            await self._confirmed(remote, digest)
            link = Link()
        stored = self._store.open(digest)
        if stored is not None and link is not None:
            return BlobAnswer(digest, stored.size, stored, HIT, "store")
        if stored is not None:
            stored.close()  # it landed while we looked: look again, now that it is here
            return await self.pull(remote, asked, head=head)
        if head:
            return await self._head(remote, digest, link)
        return await self._filled(remote, asked, link)

    async def keep(
        self, remote: Remote, digest: Digest, begun: Callable[[Fill], None], *, is_use: bool
    ) -> Fill | None:
        """Have a blob in the store, read by nobody; None where it was there already.

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
            await self._confirmed(remote, digest)
            link = Link()
        if self._is_stored(digest, is_use=is_use):
            return None
        flying = self._fills.get(digest)
        fill = flying or self._start(remote, digest, link)
        begun(fill)
        try:
            with fill.attended():
                await fill.landed()
        except CacheproxyError:
            if flying is None or flying.origin.repository == remote.repository:
                raise
            # It failed for another repository, which says nothing of ours.
            return await self.keep(remote, digest, begun, is_use=is_use)
        return fill

    def _is_stored(self, digest: Digest, *, is_use: bool) -> bool:
        if not is_use:
            return self._store.has(digest)
        stored = self._store.open(digest)
        if stored is not None:
            stored.close()
        return stored is not None

    @property
    def fills(self) -> list[Fill]:
        """The downloads that this process knows of."""
        return list(self._fills.values())

    def is_coming(self, digest: Digest) -> bool:
        """Whether a download of it is known to this process."""
        return digest in self._fills

    def coming(self, remote: Remote, digest: Digest) -> Fill:
        """A download that is under way, here or in another process."""
        return self._fills.get(digest) or self._start(remote, digest, Link())

    async def follow(self, remote: Remote, fill: Fill) -> BlobAnswer:
        """Read along with such a download.

        Raises:
            CacheproxyError: it is not under way any more.
        """
        digest = fill.origin.digest
        with fill.attended():
            await fill.open()
            return await self._followed(fill, remote, PullBlob(remote.repository, digest), "joined")

    def _is_here_for_others(self, remote: Remote, digest: Digest) -> bool:
        """Whether it is here, or on its way, and not by way of this repository."""
        flying = self._fills.get(digest)
        if flying is not None:
            return flying.origin.repository != remote.repository
        stored = self._store.open(digest, is_use=False)
        if stored is not None:
            stored.close()
        return stored is not None

    async def _head(self, remote: Remote, digest: Digest, link: Link | None) -> BlobAnswer:
        """The size alone: a manifest has said it, or a download knows it, or upstream does."""
        size = None if link is None else link.size
        if size is None and digest in self._fills:
            size = self._fills[digest].state.size
        if size is not None:
            return BlobAnswer(digest, size, None, CacheStatus("hit", detail="size"), "none")
        size = await self._confirmed(remote, digest)
        status = CacheStatus("miss", forward_status=200)
        return BlobAnswer(digest, size, None, status, "none")

    async def _confirmed(self, remote: Remote, digest: Digest) -> int | None:
        """That the repository holds the blob, by upstream's word; and the size, if it says so.

        The size is passed on and not kept: nothing has verified it, and what is kept is held
        against the blob for ever.
        """

        async def confirm() -> int | None:
            size = await remote.upstream.head_blob(remote.repository, digest)
            await self._metadata.add_links(remote.repository, {digest: Link()})
            return size

        size, _ = await self._confirming.join((remote.repository, digest), confirm)
        return size

    async def _filled(self, remote: Remote, asked: PullBlob, link: Link | None) -> BlobAnswer:
        """Follow the download, which is begun if there is none."""
        flying = self._fills.get(asked.digest)
        fill = flying or self._start(remote, asked.digest, link)
        outcome: Outcome = "miss" if flying is None else "joined"
        try:
            with fill.attended():
                return await self._attended(fill, remote, asked, outcome)
        except StorageError:
            return await self._past_the_disk(fill.origin, asked.range)
        except CacheproxyError:
            if flying is None or flying.origin.repository == remote.repository:
                raise
            # It failed for another repository, which says nothing of ours.
            return await self.pull(remote, asked, head=False)

    async def _attended(
        self, fill: Fill, remote: Remote, asked: PullBlob, outcome: Outcome
    ) -> BlobAnswer:
        size = await fill.open()
        if not fill.origin.linked:
            # That upstream began to send it under this repository is its word for it.
            await self._metadata.add_links(fill.origin.repository, {asked.digest: Link()})
        part = _part(asked.range, size)
        if part is not None and self._is_far(fill, asked.range, part):
            return await self._relayed(fill.origin, part)
        return await self._followed(fill, remote, asked, outcome)

    def _is_far(self, fill: Fill, wanted: RequestedRange | None, part: ByteRange) -> bool:
        """Whether a part is so far ahead that to wait for it would be mere silence.

        Some clients want the end of a large blob first, and say where that ends. A range that
        is open belongs to a client that takes the whole blob in pieces, or goes on with one:
        it gets all of them from the one download.
        """
        is_open = isinstance(wanted, RangeFrom) and wanted.last is None
        return not is_open and part.start - fill.state.received > self._context.relay_ahead

    async def _followed(
        self, fill: Fill, remote: Remote, asked: PullBlob, outcome: Outcome
    ) -> BlobAnswer:
        status = CacheStatus(outcome, stored=True)
        file = fill.reader()
        if file is None:
            # It is over, and in the store by now; unless that had to let it go again already.
            # Who has begun a download has used it: the store counts that with the blob.
            stored = self._store.open(asked.digest, is_use=outcome == "joined")
            if stored is None:
                return await self.pull(remote, asked, head=False)
            return BlobAnswer(asked.digest, stored.size, stored, status, fill.source)
        if outcome == "joined":
            self._store.use(asked.digest)
        content = Follower(fill, file, self._tasks)
        return BlobAnswer(asked.digest, fill.state.size, content, status, fill.source)

    async def _relayed(self, origin: Origin, part: ByteRange) -> BlobAnswer:
        """A part from far ahead, past the download that goes on."""
        relay = Relay(origin, part.start, part.stop, None, self._tasks)
        return await self._opened(origin, relay, CacheStatus("bypass", detail="range"), part.size)

    async def _past_the_disk(self, origin: Origin, wanted: RequestedRange | None) -> BlobAnswer:
        """The disk does not take it, and that is not the client's error."""
        part = _part(wanted, origin.size)
        start, stop = (part.start, part.stop) if part else (0, origin.size)
        hasher = origin.digest.hasher() if part is None else None
        relay = Relay(origin, start, stop, hasher, self._tasks)
        return await self._opened(origin, relay, CacheStatus("bypass", detail="disk"), origin.size)

    async def _opened(
        self, origin: Origin, relay: Relay, status: CacheStatus, size: int | None
    ) -> BlobAnswer:
        try:
            said = await relay.open()
        except BaseException:
            relay.close()
            raise
        return BlobAnswer(
            origin.digest, size if size is not None else said, relay, status, "upstream"
        )

    def _start(self, remote: Remote, digest: Digest, link: Link | None) -> Fill:
        size = link.size if link is not None else None
        origin = Origin(
            remote.upstream, remote.repository, digest, size, link is not None, remote.retry
        )
        fill = Fill(origin, self._context)
        self._fills[digest] = fill
        task = self._tasks.start(fill.run(), f"fill {digest}")
        task.add_done_callback(lambda _: self._fills.pop(digest))
        return fill


def _part(wanted: RequestedRange | None, size: int | None) -> ByteRange | None:
    return None if wanted is None or size is None else wanted.resolve(size)
