"""Pulling a blob: from the store, from a download in flight, or by starting one."""

from cacheproxy.domain.cache_status import HIT, CacheStatus, Outcome
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.domain.records import Link
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import BlobStore, Clock, Metadata, Observer
from cacheproxy.pullthrough.answers import BlobAnswer
from cacheproxy.pullthrough.fill import Fill, Origin
from cacheproxy.pullthrough.remote import Remote


class Blobs:
    """Blobs of all upstreams: one copy by content, one download at a time for each."""

    def __init__(
        self,
        store: BlobStore,
        metadata: Metadata,
        *,
        observer: Observer,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._observer = observer
        self._clock = clock
        self._tasks = tasks
        self._fills: dict[Digest, Fill] = {}

    @property
    def in_flight(self) -> int:
        """How many downloads there are."""
        return len(self._fills)

    async def pull(self, remote: Remote, digest: Digest, *, head: bool) -> BlobAnswer:
        """A blob, if it is one of this repository's.

        Args:
            remote: the repository.
            digest: of the blob.
            head: only its size is asked for; its body is not fetched.

        Raises:
            NotFound, Denied, UpstreamError, ContentInvalid, StorageError: it could not be had.
        """
        link = await self._metadata.link(remote.repository, digest)
        if link is None and self._is_here(digest):
            # By way of another repository. A digest is no licence to read: is it in this one?
            link = await self._confirmed(remote, digest)
        stored = self._store.open(digest)
        if stored is not None and link is not None:
            return BlobAnswer(digest, stored.size, stored, HIT, "store")
        if stored is not None:
            stored.close()  # it landed while we looked: look again, now that it is here
            return await self.pull(remote, digest, head=head)
        if head:
            link = link if link is not None and link.size is not None else None
            link = link or await self._confirmed(remote, digest)
            return BlobAnswer(digest, link.size, None, CacheStatus("hit", detail="size"), "none")
        return await self._filled(remote, digest, link)

    def _is_here(self, digest: Digest) -> bool:
        if digest in self._fills:
            return True
        stored = self._store.open(digest)
        if stored is not None:
            stored.close()
        return stored is not None

    async def _confirmed(self, remote: Remote, digest: Digest) -> Link:
        """That the repository holds the blob, by upstream's word."""
        link = Link(await remote.upstream.head_blob(remote.repository, digest))
        await self._metadata.add_links(remote.repository, {digest: link})
        return link

    async def _filled(self, remote: Remote, digest: Digest, link: Link | None) -> BlobAnswer:
        """Follow the download, which is begun if there is none."""
        flying = self._fills.get(digest)
        fill = flying or self._start(remote, digest, link)
        try:
            size = await fill.opened()
        except CacheproxyError:
            if flying is None or flying.origin.repository == remote.repository:
                raise
            # It failed for another repository, which says nothing of ours.
            return await self.pull(remote, digest, head=False)
        if link is None:
            # That upstream began to send it under this repository is its word for it.
            await self._metadata.add_links(remote.repository, {digest: Link(size)})
        content = fill.follow() or self._store.open(digest)
        if content is None:
            return await self.pull(remote, digest, head=False)
        outcome: Outcome = "miss" if flying is None else "joined"
        return BlobAnswer(digest, size, content, CacheStatus(outcome, stored=True), "fill")

    def _start(self, remote: Remote, digest: Digest, link: Link | None) -> Fill:
        size = link.size if link is not None else None
        origin = Origin(remote.upstream, remote.repository, digest, size)
        fill = Fill(origin, self._store, self._observer, self._clock)
        self._fills[digest] = fill
        task = self._tasks.start(fill.run(), f"fill {digest}")
        task.add_done_callback(lambda _: self._fills.pop(digest))
        return fill
