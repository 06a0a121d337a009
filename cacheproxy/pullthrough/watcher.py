"""Following the file of another writer: another worker of this machine, or one that is ending."""

import contextlib

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, StorageError
from cacheproxy.ports import PartialBlob
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.origin import Origins
from cacheproxy.pullthrough.progress import Progress

# How often to look at a file that another process writes: well below what a client notices.
_WATCH_SECONDS = 0.005
# How many looks until the lock is tried, in case its holder has died.
_LOOKS_PER_TRY = 40
# How many writers may give up in a row, before it is taken for granted that the disk refuses.
_LOST_WRITERS = 3


class Watcher:
    """Tells the progress of a blob that somebody else writes."""

    def __init__(
        self, digest: Digest, origins: Origins, progress: Progress, context: FillContext
    ) -> None:
        self._digest = digest
        self._origins = origins
        self._progress = progress
        self._context = context
        self._told_size: int | None = None
        self._has_asked = False
        self._lost = 0

    async def watch(self) -> None:
        """Follow the file until it is gone, or until its lock may be free.

        Raises:
            NotFound, Denied, UpstreamError: the repository does not hold the blob.
            StorageError: writers give it up, one after the other.
        """
        partial = self._context.store.watch(self._digest)
        if partial is None:
            return
        with contextlib.closing(partial):
            await self._ask()
            await self._look_on(partial)

    async def _look_on(self, partial: PartialBlob) -> None:
        is_current = False
        for _ in range(_LOOKS_PER_TRY):
            # Before the look at the name: what is in the file now, its writer has written.
            received = partial.received()
            if partial.is_gone():
                await self._end()
                return
            if is_current:
                self._progress.grow(max(received, self._progress.state.received))
            elif received:
                self._progress.begin(self._size(), partial.reader(), received)
                is_current = True
            await self._context.clock.sleep(_WATCH_SECONDS)

    async def _end(self) -> None:
        """Take the blob from the store; else let the next election find another writer."""
        stored = await self._context.store.prove(self._digest)
        if stored is not None:
            with contextlib.closing(stored):
                self._progress.land(stored)
            return
        self._lost += 1
        if self._lost >= _LOST_WRITERS:
            raise StorageError("other workers have given this download up")

    async def _ask(self) -> None:
        """Ask upstream what the writer does not tell: may we have it, and how long is it?

        Others fetch these bytes, for a repository of theirs. And clients want to know the size
        before the end; the writer has heard it, and keeps nothing that is not verified.
        """
        size = await self._origins.confirm(self._progress.notify)
        if size is not None:
            self._told_size = size
        origin = self._origins.next()
        if self._size() is None and origin is not None and not self._has_asked:
            self._has_asked = True
            with contextlib.suppress(CacheproxyError):
                self._told_size = await origin.confirm()

    def _size(self) -> int | None:
        size = self._origins.size
        return size if size is not None else self._told_size
