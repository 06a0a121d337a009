"""The one writer of a blob: it fetches, verifies and commits."""

import contextlib

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import (
    CacheproxyError,
    ContentInvalid,
    Denied,
    NotFound,
    StorageError,
    UpstreamError,
    UpstreamUnavailable,
)
from cacheproxy.domain.events import FillEnded, FillStarted
from cacheproxy.ports import Ingest, StoredBlob
from cacheproxy.pullthrough.context import FillContext
from cacheproxy.pullthrough.download import Download
from cacheproxy.pullthrough.origin import Origin, Origins
from cacheproxy.pullthrough.progress import Progress


class Leader:
    """Fills the store with one blob, while it holds the lock of the ingest."""

    def __init__(
        self, digest: Digest, origins: Origins, progress: Progress, context: FillContext
    ) -> None:
        self._digest = digest
        self._origins = origins
        self._progress = progress
        self._context = context
        self._registry = ""
        self._has_restarted = False
        self.began: float | None = None

    async def lead(self, ingest: Ingest) -> None:
        """Bring the blob into the store, or let the progress fail.

        Returns without an end where the bytes of an earlier attempt were wrong: they are
        dropped, and the next election begins with a new file.
        """
        try:
            await self._lead(ingest)
        except CacheproxyError as error:
            # In this step: nobody may join what has failed, while its ingest is being closed.
            self._progress.fail(error)

    async def _lead(self, ingest: Ingest) -> None:
        stored = await self._context.store.prove(self._digest)
        if stored is not None:
            # It was committed before the lock was ours.
            with contextlib.closing(stored):
                await self._use(stored, ingest)
            return
        self._report_start()
        try:
            await self._fetch(ingest)
            ingest.verify()
        except ContentInvalid as error:
            await self._drop(ingest, error)
        except StorageError as error:
            # Followers go on without the disk at once; the room is needed for others.
            self._progress.fail(error)
            await ingest.discard()
        else:
            await self._commit(ingest)

    def report_end(self) -> None:
        """Say what it came to; a download is one for all processes, so only its leader does."""
        if self.began is None:
            return
        progress, clock = self._progress, self._context.clock
        reason = None if progress.error is None else str(progress.error)
        self._context.observer.observe(
            FillEnded(
                self._registry,
                self._digest,
                reason,
                progress.state.received,
                clock.monotonic() - self.began,
                progress.source,
            )
        )

    def _report_start(self) -> None:
        origin = self._origins.next()
        if self.began is None and origin is not None:
            self.began = self._context.clock.monotonic()
            self._registry = origin.repository.registry
            self._context.observer.observe(FillStarted(self._registry, self._digest))

    async def _use(self, stored: StoredBlob, ingest: Ingest) -> None:
        await self._origins.confirm(self._progress.notify)
        if ingest.offset:
            await ingest.discard()
        self._progress.land(stored)

    async def _fetch(self, ingest: Ingest) -> None:
        """Download the blob from the first repository that gives it."""
        error: CacheproxyError = UpstreamUnavailable("nobody gets this blob any more")
        while (origin := self._origins.next()) is not None:
            try:
                await self._download(origin, ingest)
            except (NotFound, Denied, UpstreamError) as failure:
                error = failure
                self._origins.fail(origin, failure)
                self._progress.notify()
            else:
                return
        raise error

    async def _download(self, origin: Origin, ingest: Ingest) -> None:
        download = Download(origin, ingest, self._progress, self._context)
        await download.run(lambda: self._origins.prove(origin))

    async def _drop(self, ingest: Ingest, error: ContentInvalid) -> None:
        """Drop wrong bytes: nothing that upstream sent with them is worth taking up again."""
        is_leftover = bool(ingest.resumed_at) and not self._has_restarted
        await ingest.discard()
        if is_leftover:
            # What an earlier process left may be what was wrong, say after a power cut.
            self._has_restarted = True
        else:
            for origin in self._origins:
                origin.upstream.distrust(self._digest)
            self._progress.fail(error)

    async def _commit(self, ingest: Ingest) -> None:
        # Followers may have the end now; that it gets a name is nothing to wait for.
        self._progress.verify()
        try:
            await ingest.commit()
        except StorageError as error:
            self._progress.fail(error)
            await ingest.discard()
        else:
            self._progress.commit()
