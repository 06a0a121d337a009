"""One blob's download: one upstream stream, one ingest, many followers.

A fill belongs to the core and to no request. The disk is the buffer: followers read the
growing file, each at its own speed, and none of them holds up the download or the others.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import CacheproxyError, ContentInvalid, UpstreamUnavailable
from cacheproxy.domain.events import FillEnded, FillStarted, Unexpected
from cacheproxy.domain.fill_state import FillState, Phase
from cacheproxy.domain.reference import Repository
from cacheproxy.ports import BlobStore, BlobStream, Clock, Ingest, Observer, Readable, Upstream


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a blob is fetched from.

    Attributes:
        upstream: the registry.
        repository: that holds the blob.
        digest: of the blob.
        size: in bytes, where a manifest's descriptor says so: it is then the blob's size,
            whatever upstream says.
    """

    upstream: Upstream
    repository: Repository
    digest: Digest
    size: int | None


class Fill:
    """A download in flight. `run` is its life; everything else is for its followers."""

    def __init__(self, origin: Origin, store: BlobStore, observer: Observer, clock: Clock) -> None:
        self.origin = origin
        self._store = store
        self._observer = observer
        self._clock = clock
        self._state = FillState()
        self._error: CacheproxyError | None = None
        self._ingest: Ingest | None = None
        self._changed = asyncio.Event()

    @property
    def state(self) -> FillState:
        """How far it is."""
        return self._state

    async def run(self) -> None:
        """Download, verify and commit. Ends quietly: the outcome is in the state."""
        begun = self._clock.monotonic()
        registry, digest = self.origin.repository.registry, self.origin.digest
        self._observer.observe(FillStarted(registry, digest))
        try:
            async with self._store.ingest(digest) as ingest:
                self._ingest = ingest
                await self._fetch(ingest)
        except CacheproxyError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  # followers must not wait for ever
            self._observer.observe(Unexpected(error))
            self._error = UpstreamUnavailable("the download broke")
        except BaseException:
            # Cancelled, at shutdown: followers must not wait for what never comes.
            self._error = UpstreamUnavailable("the download was given up")
            raise
        finally:
            if self._error is not None:
                self._move(self._state.failed())
            seconds = self._clock.monotonic() - begun
            reason = None if self._error is None else str(self._error)
            self._observer.observe(
                FillEnded(registry, digest, reason, self._state.received, seconds)
            )

    async def opened(self) -> int | None:
        """Wait until upstream has answered; the blob's size where it is known.

        Raises:
            CacheproxyError: it could not be had.
        """
        while self._state.phase is Phase.OPENING:
            await self._change()
        self._raise_if_failed()
        return self._state.size

    def follow(self) -> "Follower | None":
        """Read the blob while it comes in; None once it is over and can be had from the store.

        Only after `opened`.
        """
        if self._ingest is None or self._state.phase in (Phase.COMMITTED, Phase.FAILED):
            return None
        return Follower(self, self._ingest.reader())

    async def readable_beyond(self, offset: int) -> int:
        """Wait until there is something behind `offset`; how far it then goes.

        The blob's end is the only other way out: then it is `offset` or less.

        Raises:
            CacheproxyError: the rest will never come.
        """
        while self._state.readable <= offset and not self._state.over:
            await self._change()
        if self._state.readable <= offset:
            self._raise_if_failed()
        return self._state.readable

    async def _fetch(self, ingest: Ingest) -> None:
        try:
            await self._download(ingest)
        except ContentInvalid:
            # Nothing of what a lying upstream sent is worth taking up again.
            await ingest.discard()
            raise

    async def _download(self, ingest: Ingest) -> None:
        origin = self.origin
        async with origin.upstream.get_blob(
            origin.repository, origin.digest, ingest.offset, origin.size
        ) as stream:
            size = self._size(stream)
            self._move(self._state.opened(size, ingest.offset))
            await self._copy(stream, ingest)
        await self._finish(ingest, size)

    def _size(self, stream: BlobStream) -> int | None:
        known = self.origin.size
        if known is not None and stream.size is not None and known != stream.size:
            raise ContentInvalid(
                f"upstream has {stream.size} bytes for a blob that its manifest says has {known}"
            )
        return known if known is not None else stream.size

    async def _copy(self, stream: BlobStream, ingest: Ingest) -> None:
        skip = ingest.offset - stream.start  # where upstream ignored the range
        async with aclosing(stream.chunks()) as chunks:
            async for received in chunks:
                chunk, skip = received[skip:], max(0, skip - len(received))
                if not chunk:
                    continue
                # Before it is written: what is too much is never on disk.
                grown = self._state.grown(ingest.offset + len(chunk))
                await ingest.append(chunk)
                self._move(grown)

    async def _finish(self, ingest: Ingest, size: int | None) -> None:
        if size is not None and ingest.offset < size:
            raise UpstreamUnavailable(f"upstream sent {ingest.offset} of {size} bytes")
        ingest.verify()
        # Followers may have the end now; that it gets a name is nothing to wait for.
        self._move(self._state.verified())
        await ingest.commit()
        self._move(self._state.committed())

    def _move(self, state: FillState) -> None:
        self._state = state
        # A new event for each step wakes all who wait for this one, and none twice.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)


class Follower:
    """One reader of a fill (`Readable`)."""

    def __init__(self, fill: Fill, file: Readable) -> None:
        self._fill = fill
        self._file = file

    def close(self) -> None:
        """Stop reading; the fill does not notice."""
        self._file.close()

    def try_read(self, offset: int, length: int) -> bytes | None:
        """What is readable already, and in memory."""
        length = min(length, self._fill.state.readable - offset)
        return self._file.try_read(offset, length) if length > 0 else None

    async def read(self, offset: int, length: int) -> bytes:
        """What is at `offset`, once it is there; empty at the end of a verified blob."""
        readable = await self._fill.readable_beyond(offset)
        if readable <= offset:
            return b""
        return await self._file.read(offset, min(length, readable - offset))
